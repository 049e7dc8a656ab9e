"""Curves are thinned without losing their ends or their means, and only of what is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from sparsecircuits.circuit import Circuit, save_circuit
from sparsecircuits.model import Node
from sparsecircuits.viz.curves import POINTS, pruning_curve, sweep_points, training_curves


def test_training_curves_are_means_and_keep_their_ends() -> None:
    rows = [{"step": i, "tokens": 100 * i, "loss": float(i), "density": 1 / i} for i in range(1, 1001)]
    rows[399]["val_loss"] = rows[799]["val_loss"] = 2.0
    curves = training_curves(rows)
    assert curves is not None
    # 1,000 rows in groups of four: the first is the mean of 1, 2, 3, 4 at the fourth's tokens.
    assert len(curves["loss"]) == 250 <= POINTS
    assert curves["loss"][0] == [400, 2.5]
    assert curves["loss"][-1] == [100_000, 998.5]
    assert curves["val_loss"] == [[40_000, 2], [80_000, 2]]
    assert (curves["density"][0], curves["density"][-1]) == ([100, 1], [100_000, 0.001])
    assert len(curves["density"]) <= POINTS + 1


def test_short_training_is_kept_whole() -> None:
    curves = training_curves([{"tokens": 8, "loss": 3.14159265, "density": 0.5}])
    assert curves == {"loss": [[8, 3.1416]], "val_loss": [], "density": [[8, 0.5]]}
    assert training_curves([]) is None


@pytest.fixture
def circuit() -> Circuit:
    info = {"model_sha256": "m", "target": 0.15, "nodes": 1, "edges": 0, "loss": 0.1, "met": True}
    return Circuit("quote", frozenset({Node.parse("0.attn.q.0")}), {"0.attn.q": torch.zeros(1)}, info=info)


def test_a_sweep_s_points_are_of_this_task_and_model(circuit: Circuit, tmp_path: Path) -> None:
    def put(folder: str, **changed) -> None:
        task = changed.pop("task", "quote")
        some = dataclasses.replace(circuit, task=task, info={**circuit.info, **changed})
        save_circuit(some, tmp_path / folder)

    put("quote/0.3", target=0.3, nodes=3, met=False)
    put("quote/0.05", target=0.05, nodes=9)
    put("quote/0.1", target=0.1, model_sha256="another")
    put("while/0.1", task="while", target=0.1)
    points = sweep_points(tmp_path, circuit)
    assert points == [
        {"target": 0.05, "nodes": 9, "edges": 0, "loss": 0.1, "met": True},
        {"target": 0.3, "nodes": 3, "edges": 0, "loss": 0.1, "met": False},
    ]
    assert sweep_points(tmp_path / "none", circuit) == []


def test_a_pruning_s_curve_is_there_if_it_was_stored(circuit: Circuit) -> None:
    curve = {"step": [1], "loss": [0.5], "nodes": [7]}
    assert pruning_curve(dataclasses.replace(circuit, info={"curve": curve})) == curve
    for info in ({}, {"curve": None}, {"curve": {"step": [], "loss": [], "nodes": []}}):
        assert pruning_curve(dataclasses.replace(circuit, info=info)) is None
