"""The script of bridges writes what was measured, judges the goals, and leaves out what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import bridges, bridges_cost, bridges_page
from tests.viz.test_bridge_charts import report, steering, transfer

TASK = "single_double_quote"


def put(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    page = tmp_path / "page.md"
    page.write_text(
        f"before\n\n<!-- figures: written by {bridges_page.SCRIPT} -->\n<!-- end of figures -->\n\nafter\n"
    )
    monkeypatch.setattr(bridges_page, "PAGE", page)
    monkeypatch.setattr(bridges_page, "RESULT", tmp_path / "bridges.json")
    monkeypatch.setattr(
        bridges_page, "PICTURES", {name: tmp_path / f"{name}.png" for name in bridges_page.PICTURES}
    )
    return tmp_path / "runs"


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((folder / "bridges.json").read_text())["figures"]
    return {row["name"]: row for row in found}


def test_figures_and_page(runs: Path, tmp_path: Path):
    for seed, (mean, worst) in enumerate(((0.01, 0.25), (0.03, 0.05))):
        told = report(1) | {"mean_excess": mean, "largest_excess": worst, "unbridged": 1.98}
        put(runs / "bridged" / f"seed{seed}" / "bridge" / "report.json", told)
    own = runs / "bridged" / "seed0"
    put(own / "bridge" / "steering" / f"{TASK}.json", steering(TASK))
    put(own / "bridge" / "sides" / f"{TASK}-left.json", {**steering(TASK), "side": "left"})
    flips = {name: {"estimate": 0.5} for name in ("circuit", "random")}
    put(own / "bridge" / "transfer" / f"{TASK}.json", {**transfer(TASK), "flips": flips})
    put(own / "circuits" / TASK / "circuit.json", {"nodes": ["a", "b"]})
    cost = {"alone": [0.1, 10.0], "bridged": [0.9, 40.0], "mixtures": [1.2, 40.0], "one graph": [0.9, 160.0]}
    put(runs / "cost.json", {"2": cost})
    put(runs / "resume.json", {"good": 19, "cases": 20})
    bridges_page.write(bridges.ARMS, runs)
    found = rows(tmp_path)
    judged = {name: (row["value"], row["goal"]) for name, row in found.items() if row["goal"] is not None}
    two, one = "bridged, 2 seeds", f"bridged, seed 0: {TASK}, left prompts: P(other answer)"
    assert judged == {
        f"{two}: hybrids' loss above the worse model, mean over crossings": (pytest.approx(0.02), 0.05),
        f"{two}: the same at the worst crossing of any seed": (0.25, 0.1),
        f"{two}: sparse loss above the same trained alone": (pytest.approx(0.02), 0.05),
        f"{one}, unsteered": (0.0, 0.05),
        f"{one}, at strength 1": (0.9, 0.5),
        f"{one} of the two, unsteered": (0.0, 0.05),
        f"{one} of the two, at strength 1": (0.9, 0.5),
        "resumed after random stops, bitwise equal": (19, 20),
    }  # fmt: skip
    assert found["2 layers: time of a step's gradients over the sparse model alone"][
        "value"
    ] == pytest.approx(9)
    assert found["2 layers: memory over all hybrids in one graph"]["value"] == 0.25
    page = (tmp_path / "page.md").read_text()
    for words in (
        "before",
        "after",
        "Short of its goal, 2 of 8",
        "`0.attn.act_in.3`",
        "| 2 nodes | 1 | 80.0% |",
    ):
        assert words in page, words
    for name in bridges_page.PICTURES:
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000


def test_nothing_measured_yet(runs: Path, tmp_path: Path):
    bridges_page.write(bridges.ARMS, runs)
    assert rows(tmp_path) == {}


def test_both_ways_of_taking_gradients_are_of_the_same_sum():
    """What is held against each other does the same work."""
    made, found = {}, {}
    for way in ("bridged", "one graph"):
        torch.manual_seed(0)
        step = bridges_cost.step_of(1, way)
        tokens = bridges_cost._tokens(bridges.demo().model)[:2, :9]
        step(tokens)
        cells = [cell.cell_contents for cell in step.__closure__ or ()]
        made[way] = next(cell for cell in cells if isinstance(cell, bridges_cost.Bridge))
        found[way] = {name: one.grad for name, one in made[way].named_parameters()}
    scale = bridges.BridgeConfig().encode
    for name, gradient in found["one graph"].items():
        torch.testing.assert_close(found["bridged"][name], scale * gradient, rtol=1e-3, atol=1e-6)
