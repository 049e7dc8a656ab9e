"""Outcomes of what is measured elsewhere: agreement of many prunings (T20), a truth that is known (T21)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsecircuits.circuit import Circuit
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.planted.plant import PlantedModel
from sparsecircuits.validate.planted.score import score_circuit
from sparsecircuits.validate.thresholds import THRESHOLDS

#: Fewer prunings than this say nothing yet.
FEWEST = 5


def outcome_of_stability(told: Mapping[str, Any], *, own: float | None = None) -> Outcome:
    """T20, from the ``info["stability"]`` of a consensus core. Control: random sets of the same sizes.

    Args:
        told: figures of many prunings' circuits.
        own: mean Jaccard index of the circuit that is tested and theirs; told beside.
    """
    few = told["circuits"] < FEWEST
    return Outcome(
        test="T20",
        estimate=told["jaccard"],
        control=told["random_jaccard"],
        passed=None if few else told["passed"],
        open=few,
        figures={
            **{key: told[key] for key in ("circuits", "core", "core_loss", "mean_loss")},
            "own_jaccard": own,
        },
        settings={"seeds": told["seeds"], "bootstraps": told["bootstraps"]},
        note=f"{told['circuits']} circuits; {FEWEST} are needed" if few else "",
    )


def outcome_of_truth(planted: PlantedModel, circuit: Circuit) -> Outcome:
    """T21: a circuit of a planted model against the nearest minimal truth."""
    found = score_circuit(planted.truth, circuit, planted.model)
    return Outcome(
        test="T21",
        estimate=found.nodes.f1,
        passed=found.nodes.f1 >= THRESHOLDS.node_f1 and found.edges.f1 >= THRESHOLDS.edge_f1,
        figures={
            "node_precision": found.nodes.precision,
            "node_recall": found.nodes.recall,
            "edge_f1": found.edges.f1,
            "completeness": found.completeness,
            "cancelling_errors": found.cancelling_errors,
        },
        settings={"program": planted.program.name, "seed": planted.seed, "level": planted.level},
    )
