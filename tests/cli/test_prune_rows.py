"""Rows of circuits and of tasks without one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.cli.prune_rows import circuit_row, no_circuit

FIGURES = {"nodes": 3, "edges": 2, "loss": 0.1, "raw_loss": 0.2, "accuracy": 1.0, "full_loss": 0.05}
NECESSITY: dict[str, Any] = {
    "accuracy": 0.5,
    "loss": 0.7,
    "refitted_accuracy": 0.6,
    "refitted_loss": 0.69,
    "full_loss": 0.05,
    "random_loss": 0.06,
    "random_worst": 0.07,
    "draws": 20,
}


@pytest.mark.parametrize(("refitted", "label"), [(0.6, "necessary"), (0.61, "redundant")])
def test_a_circuit(refitted: float, label: str) -> None:
    needed = {**NECESSITY, "refitted_accuracy": refitted}
    info = {**FIGURES, "met": False, "necessity": needed, "tests": {"x": 1}}
    row = circuit_row(Circuit("for_while", frozenset(), {"0.attn.v": torch.zeros(2)}, 1.0, info), "note")
    assert row == {
        "name": "for_while",
        "state": "missed",
        **FIGURES,
        "necessity": {**needed, "label": label},
        "tests": {"x": 1},
        "note": "note",
    }


def test_none() -> None:
    score = {"name": "coin", "fits": True, "loss": 0.6931, "accuracy": 0.5, "note": None}
    assert no_circuit(score)["note"] == "the model does not do it: loss 0.693, accuracy 50.0%"
    assert no_circuit(score, "why")["note"] == "why"
    unfit = no_circuit({**score, "fits": False, "note": "no room"})
    assert (unfit["state"], unfit["note"], unfit["nodes"]) == ("does not fit", "no room", None)
