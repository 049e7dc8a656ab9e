"""The measuring script of pruning: means, ratios and tables of made-up prunings, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import pruning_report as pruning
from benchmarks.pruning_report import DENSE, SPARSE


def row(task: str, run: str = SPARSE, *, edges: int = 4, after: int = 2, **more: Any) -> dict[str, Any]:
    """A pruning with ``edges`` and as many nodes, and what edge removal left of both."""
    needed = {"accuracy": 0.5, "refitted_accuracy": 0.7, "necessary": False}
    sizes = {"nodes": edges, "edges": edges, "mean": 0.1, "worst": 0.2}
    told = {"task": task, "run": run, "method": "task", "met": True, "error": None, "necessity": needed}
    return {**told, "nodes": after, "edges": after, "before_edges": sizes, **more}


def failed(task: str, run: str = SPARSE) -> dict[str, Any]:
    return {"task": task, "run": run, "method": "task", "error": "no set of nodes reaches the target"}


ROWS = [
    *(row("a", edges=2, after=1), row("a", DENSE, edges=32, after=9)),
    *(row("b", edges=8, after=4), row("b", DENSE, edges=128, after=16)),
    *(row("c", edges=0, after=0), row("c", DENSE, edges=0, after=0)),
    *(row("d"), failed("d", DENSE)),
    *(row("e", met=False), row("e", DENSE, edges=999)),
]


def test_a_circuit_without_edges_counts_as_one() -> None:
    assert pruning.geomean([0, 4, 16]) == pytest.approx(4)


def test_ratios_are_of_the_tasks_with_a_circuit_on_both_sides() -> None:
    told = pruning.ratios(ROWS)
    assert told["tasks"] == 3
    assert told["edges"] == pytest.approx((16 * 16 * 1) ** (1 / 3))
    assert told["edges_after"] == pytest.approx((9 * 4 * 1) ** (1 / 3))
    assert told["nodes"] == told["edges"]


def test_what_was_removed_is_of_the_sparse_model() -> None:
    share = pruning.cleaned([*ROWS[:4], failed("z")])  # 2 -> 1, 8 -> 4
    assert share == {"edges": pytest.approx(1 / 2), "nodes": pytest.approx(1 / 2)}


def test_the_price_is_over_the_tasks_that_all_have() -> None:
    worse = {"nodes": 3, "edges": 3, "mean": 0.2, "worst": 0.5}
    found = {
        "task": [row("a"), row("b"), row("d")],
        "faithful": [row("a", before_edges=worse), row("b"), failed("d")],
    }
    told = pruning.price(found)
    assert told["task"]["tasks"] == told["faithful"]["tasks"] == 2
    assert told["faithful"]["nodes"] == pytest.approx((3 * 4) ** 0.5)
    assert told["faithful"]["mean"] == pytest.approx(0.15)
    assert (told["faithful"]["within mean"], told["faithful"]["within worst"]) == (1, 1)
    assert (told["task"]["within mean"], told["task"]["within worst"]) == (2, 2)
    assert told["task"]["raw"] == pytest.approx(0.5)
    text = pruning.price_table(told)
    assert "| `task` | 4.0 | 4.0 | 0.100 | 2 of 2 | 0.20 | 2 of 2 | 50.0% | 70.0% | 0 of 2 |" in text


def test_attribution_is_compared_target_by_target() -> None:
    def point(task: str, method: str, target: float, edges: int, *, met: bool = True) -> dict[str, Any]:
        return {"task": task, "method": method, "target": target, "edges": edges, "met": met, "error": None}

    first, second = pruning.TARGETS[:2]
    rows = [point("a", "task", first, 5), point("a", "attribution", first, 50)]
    rows += [point("b", "task", first, 5), point("b", "attribution", first, 5, met=False)]
    rows += [point("a", "task", second, 2), point("a", "attribution", second, 6)]
    told = pruning.against_attribution(rows)
    assert told[first] == pytest.approx({"tasks": 1, "task": 5, "attribution": 50, "ratio": 10})
    assert told[second]["ratio"] == pytest.approx(3)
    assert "10.0×" in pruning.curves_table(rows)


def test_targets_without_circuits_have_no_ratio() -> None:
    assert pruning.against_attribution([]) == {}


def test_the_smallest_of_the_first_prunings() -> None:
    assert pruning.smallest([None, 9, 7, 3], 3) == 7
    assert pruning.smallest([None], 1) == float("inf")


def test_sizes_tell_what_is_missing() -> None:
    text = pruning.sizes_table(
        [{**one, "task": "for_while"} for one in (row("x", after=3), failed("x", DENSE))]
    )
    assert "| `for_while` | 4 / 4 → 3 / 3 | none | not run | not run |" in text
    missed = pruning.sizes_table([row("for_while", met=False)])
    assert "missed: 4 / 4 → 2 / 2" in missed
