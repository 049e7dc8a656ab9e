"""Points from sweeps, circuits and studies, under names that tell runs apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.circuit import Circuit, save_circuit
from sparsecircuits.errors import CheckpointError
from sparsecircuits.study.points import POINT, short_names, size_points
from sparsecircuits.train.run import RUN_FILE
from tests.circuit import toy


def row(run: str, edges: int | None, **more: Any) -> dict[str, Any]:
    nodes = None if edges is None else 2 * edges
    met = None if edges is None else True
    base = {"run": run, "task": "a", "target": 0.15, "method": "task", "seed": 0}
    return {**base, "edges": edges, "nodes": nodes, "loss": 0.1, "met": met, **more}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def keys(points: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(point[name] for name in names) for point in points]


def test_seeds_are_one_point_by_their_geometric_mean(tmp_path: Path) -> None:
    rows = [row("runs/x", 10), row("runs/x", 40, seed=1), row("runs/x", 5, target=0.5)]
    (both, one) = size_points([write(tmp_path / "results.jsonl", rows)])
    assert set(both) == set(POINT)
    assert (both["run"], both["seeds"], both["met"]) == ("x", 2, True)
    assert both["edges"] == pytest.approx(20)
    assert both["nodes"] == pytest.approx(40)
    assert (one["edges"], one["seeds"]) == (5, 1)


def test_a_seed_without_a_circuit_is_not_met(tmp_path: Path) -> None:
    file = write(tmp_path / "results.jsonl", [row("x", 10), row("x", None, seed=1)])
    (point,) = size_points([file])
    assert (point["edges"], point["met"], point["seeds"]) == (pytest.approx(10), False, 2)


def test_methods_and_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "results.jsonl", [row("/a/x", 1), row("/a/x", 2, method="paper")])
    other = write(tmp_path / "other" / "results.jsonl", [row("/b/x", 3)])
    found = size_points([one.parent, other])
    assert keys(found, "run", "edges") == [("a/x, task", 1), ("a/x, paper", 2), ("b/x, task", 3)]


def test_a_runs_sweep_and_then_its_circuits(tmp_path: Path) -> None:
    run = tmp_path / "mine"
    sweep = [row("", 30), row("", 20), row("", 8, target=0.5)]
    write(run / "sweeps" / "a.jsonl", [{k: v for k, v in one.items() if k != "run"} for one in sweep])
    (run / RUN_FILE).write_text("{}")
    info = {"target": 0.15, "edges": 4, "nodes": 5, "loss": 0.1, "met": True}
    for task in ("a", "b"):
        circuit = Circuit(task, toy.nodes("0.attn.v.1"), toy.values(), info=info)
        save_circuit(circuit, run / "circuits" / task)
    found = size_points([run])
    assert keys(found, "run", "task", "target", "edges") == [
        ("mine", "a", 0.15, 20),  # the last of its target, not the circuit
        ("mine", "a", 0.5, 8),
        ("mine", "b", 0.15, 4),
    ]


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither a run, nor a study, nor a results.jsonl"):
        size_points([tmp_path])
    (tmp_path / RUN_FILE).write_text("{}")
    with pytest.raises(CheckpointError, match="no circuits; sparsecircuits prune RUN TASK --sweep"):
        size_points([tmp_path])


def test_names_are_as_short_as_can_be() -> None:
    assert short_names(["a/b", "c/b", "d", "a/b"]) == {"a/b": "a/b", "c/b": "c/b", "d": "d"}
