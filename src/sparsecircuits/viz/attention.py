"""Attention patterns of a circuit's heads, in the circuit and in the full model, on prompts of its task.

A head is shown if one of its q, k or v channels is kept. Rows are queries, columns the keys up to there, in
thousandths; with a sink the first column is what goes to it, so that every row adds up to 1000.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.tasks import TokenPairs
from sparsecircuits.validate.internal_match import Inside, heads_of, inside

_HEADED = ("attn.q", "attn.k", "attn.v")


@torch.no_grad()
def attention_patterns(
    model: SparseGPT,
    circuit: Circuit,
    pairs: TokenPairs,
    *,
    heads: int,
    effects: Mapping[Node, float | None] | None = None,
) -> list[dict[str, Any]]:
    """Patterns of at most ``heads`` heads, by layer and head.

    Args:
        model: the model that the circuit was cut out of.
        circuit: which heads are asked for, and what is frozen.
        pairs: prompts; both sides of each pair are shown.
        heads: how many; of more, those whose kept channels have the largest effects together.
        effects: of the circuit's nodes.
    """
    found = _heads(model, circuit)
    if not found:
        return []
    strength = {key: sum(abs((effects or {}).get(node) or 0.0) for node in found[key]) for key in found}
    chosen = sorted(sorted(found, key=lambda key: -strength[key])[:heads])
    kept = circuit.keeping(node for key in chosen for node in found[key])
    with circuit.installed(model):
        alone = inside(model, kept, pairs, installed=False)  # the whole circuit is, not these heads alone
    full = inside(model, kept, pairs, installed=False)
    places = heads_of(model, kept.nodes)

    def rows(found: Inside, layer: int, head: int, row: int) -> list[list[int]]:
        length = int(pairs.last[row]) + 1
        pattern = found.patterns[layer][row, places[layer].index(head), :length, :length]
        return thousandths(pattern, sink=model.config.sink)

    return [
        {
            "layer": layer,
            "head": head,
            "sink": model.config.sink,
            "nodes": [str(node) for node in found[layer, head]],
            "patterns": [
                {
                    "pair": row % len(pairs),
                    "side": "left" if row < len(pairs) else "right",
                    "circuit": rows(alone, layer, head, row),
                    "model": rows(full, layer, head, row),
                }
                for pair in range(len(pairs))
                for row in (pair, pair + len(pairs))
            ],
        }
        for layer, head in chosen
    ]


def _heads(model: SparseGPT, circuit: Circuit) -> dict[tuple[int, int], list[Node]]:
    """(layer, head) -> its kept channels, by layer and head."""
    found: dict[tuple[int, int], list[Node]] = {}
    for node in sorted(circuit.nodes):
        if node.site in _HEADED:
            found.setdefault((node.layer, node.index // model.config.d_head), []).append(node)
    return dict(sorted(found.items()))


def thousandths(pattern: Tensor, *, sink: bool) -> list[list[int]]:
    """[query, key] to rows of whole numbers: the sink's first, if there is one, then keys 0 to the query.

    >>> thousandths(torch.tensor([[0.75, 0.0], [0.5, 0.25]]), sink=True)
    [[250, 750], [250, 500, 250]]
    """
    rest = (1 - pattern.sum(-1, keepdim=True)).clamp(min=0)
    shares = torch.cat([rest, pattern], -1) if sink else pattern
    whole = (1000 * shares).round().int().tolist()
    return [row[: query + 1 + sink] for query, row in enumerate(whole)]
