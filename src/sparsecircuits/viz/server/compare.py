"""Two circuits side by side: their figures, and, where they are of one model, which nodes they share."""

from __future__ import annotations

from typing import Any

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import SparseGPT

#: Nodes listed of each part.
MOST_NODES = 500


def side(model: SparseGPT, circuit: Circuit) -> dict[str, Any]:
    """A circuit's figures beside its model's: sizes counted here, losses as pruning stored them.

    What was not stored, or belongs to another number of nodes, is None.
    """
    info = circuit.info
    edges = circuit.edge_count(model)
    same = info.get("nodes") == len(circuit) and info.get("edges") == edges
    stored = {
        key: info.get(key) if same else None
        for key in ("loss", "raw_loss", "accuracy", "full_loss", "target", "met")
    }
    needed = (info.get("necessity") or {}) if same else {}
    config = model.config
    return {
        "task": circuit.task,
        "nodes": len(circuit),
        "edges": edges,
        **stored,
        "without": needed.get("accuracy"),
        "scale": circuit.scale,
        "n_layer": config.n_layer,
        "d_model": config.d_model,
        "nonzero": sum(
            int(tensor.count_nonzero()) for name, tensor in model.named_parameters() if name != "bigram_table"
        ),
    }


def overlap(model: SparseGPT, left: Circuit, right: Circuit) -> dict[str, Any]:
    """Nodes and edges of two circuits of one model: shared, only left, only right."""
    nodes = {
        "shared": left.nodes & right.nodes,
        "left": left.nodes - right.nodes,
        "right": right.nodes - left.nodes,
    }
    ends = [{(edge.source, edge.target) for edge in circuit.edges(model)} for circuit in (left, right)]
    edges = {"shared": ends[0] & ends[1], "left": ends[0] - ends[1], "right": ends[1] - ends[0]}
    union = len(left.nodes | right.nodes)
    return {
        "nodes": {part: [str(node) for node in sorted(some)[:MOST_NODES]] for part, some in nodes.items()},
        "counts": {part: {"nodes": len(nodes[part]), "edges": len(edges[part])} for part in nodes},
        "jaccard": len(nodes["shared"]) / union if union else None,
    }
