"""The measuring script of report cards: shares, ratios and tables of made-up cards, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import truth_report as truth


def matched(
    task: str, *, nodes: int, added: int, minimal: float | None, passed: bool = True
) -> dict[str, Any]:
    """One circuit whose inside was matched."""
    return {
        "run": "small",
        "task": task,
        "nodes": nodes,
        "added": added,
        "passed": passed,
        "minimal_before": 0.9,
        "minimal": minimal,
        "others": {"T3": True, "T4": True},
    }


def card(task: str, *, sufficient: str = "yes", controlled: str = "open", **tests: Any) -> dict[str, Any]:
    """A card with some tests' estimates, all passed; ``None``: out of reach."""
    states = dict.fromkeys(("Sufficient", "Robust", "Controlled", "Faithful", "Verified"), "no")
    states |= {"Sufficient": sufficient, "Controlled": controlled, "Verified": "open"}
    real = {"kind": "real", "nodes": 10}
    return {
        "task": task,
        "level": "full",
        "about": {"nodes": 10, "edges": 1234},
        "verdicts": [{"name": name, "state": state} for name, state in states.items()],
        "tests": [
            {
                "test": test,
                "estimate": value,
                "passed": value is None or value < 100,
                "word": "pass",
                "figures": {"worst": 0.3, "real": real, "controls": [{"kind": "nonsense-pair", "nodes": 40}]},
            }
            for test, value in tests.items()
        ],
    }


CALIBRATION = {
    "models": 45,
    "false_fails": [
        {"name": "T1", "wrong": 0, "count": 45, "share": 0.0},
        {"name": "T4", "wrong": 1, "count": 40, "share": 0.025},
        {"name": "any of them", "wrong": 2, "count": 45, "share": 2 / 45},
    ],
    "bare": [{"name": "T4", "wrong": 6, "count": 45, "share": 6 / 45}],
    "false_passes": [{"name": "half pair: passes T1 and T4", "wrong": 0, "count": 30, "share": 0.0}],
}
FOUND = {
    "calibration": CALIBRATION,
    "cards": {
        "demo faithful": [
            card("a", controlled="yes", T1=0.1, T4=0.1, T8=None, T9=20.0, T24=0.0),
            card("b", controlled="no", T1=0.1, T4=200.0, T8=4.0, T9=None, T24=2e-6),
        ],
        "small faithful": [card("c", sufficient="open", T8=12.0)],
        "demo paper": [card("a", sufficient="no")],
        "small paper": [],
    },
    "matching": [
        matched("a", nodes=10, added=30, minimal=0.25),
        matched("b", nodes=10, added=0, minimal=1.0),
        matched("c", nodes=10, added=90, minimal=0.5, passed=False),
        matched("else_elif", nodes=0, added=0, minimal=None),
    ],
    "cost": {"quick": 9.0, "standard": 200.0},
}


def test_figures_by_hand() -> None:
    rows = {row["name"]: (row["value"], row["goal"]) for row in truth.figures(FOUND)}
    assert rows["calibration: true circuits that fail any test"] == (2 / 45, 0.05)
    assert rows["calibration: false fails, worst test"] == (0.025, 0.05)
    assert rows["faithful: circuits of demo and small"] == (3, None)
    assert rows["faithful: share Sufficient, of 2 judged"] == (1.0, 1.0)
    assert rows["faithful: share Controlled, of 2 judged"] == (0.5, 0.5)
    assert rows["paper: share Sufficient, of 1 judged"] == (0.0, None)
    assert rows["nonsense tasks: share of tasks with ratio >= 10, or out of reach"] == (2 / 3, 1)
    assert rows["nonsense tasks: smallest ratio of nodes, median over tasks"] == (8.0, 10)
    assert rows["random weights: smallest ratio of nodes"] == (20.0, 10)
    assert rows["replay: largest change of a loss"] == (2e-6, 1e-5)
    assert rows["inside matched with more nodes: share, of 3"] == (pytest.approx(2 / 3), None)
    assert rows["inside matched: nodes, times, geometric mean"] == (pytest.approx(2.0), None)  # 4 and 1
    assert rows["inside matched: share with T3, T4 and T13"] == (pytest.approx(2 / 3), None)
    assert rows["inside matched: share with T3, T4, T13 and T16"] == (pytest.approx(1 / 3), None)
    assert rows["inside matched: nodes that are not idle, median"] == (0.625, None)
    assert rows["cost, one demo circuit, standard: seconds"] == (200.0, 180)


def test_tables_and_pictures_are_of_the_cards(tmp_path: Path) -> None:
    result = {"command": "x", "commit": "1234567", "machine": "m", "figures": truth.figures(FOUND)}
    block = truth.tables(result, FOUND)
    assert "| `b` | full | 10 | 1,234 | yes | no | no | no | open | T4 |" in block
    assert (
        "| true without the pair that cancels (not judged), fails T4 stochastic ablation | 6 | 45 | 13.3% |"
        in block
    )
    assert "| T8 nonsense tasks" in block
    assert "| small | `c` | 10 | 90 | fail | pass, pass | 90% | 50% |" in block
    assert "0 of 2, median 4" in block
    truth.pictures(FOUND, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "cards_demo.png",
        "cards_small.png",
        "controls.png",
        "restored_demo.png",
        "restored_small.png",
    ]
    told = truth.summary(FOUND)
    assert told["circuits"]["demo faithful"][1]["failed"] == ["T4"]
    assert told["calibration"]["bare"] == CALIBRATION["bare"]
    assert truth.share([], "Robust") == pytest.approx(0)
