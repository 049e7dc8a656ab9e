"""Pictures show the numbers they are given, and are the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from sparsecircuits.study.charts import size_ticks, sweep_figure, tuning_figure
from sparsecircuits.viz.style import save_chart


def point(task: str, target: float, size: int | None, met: bool | None = True) -> dict[str, Any]:
    nodes = None if size is None else 2 * size
    return {"task": task, "target": target, "edges": size, "nodes": nodes, "met": met}


def listed(values: Any) -> list[Any]:
    return np.asarray(values).tolist()


POINTS = [point("a", 0.6, 0), point("a", 0.05, 40), point("b", 0.05, None, None), point("b", 0.6, 7, False)]
TRIALS = [
    {"edges": 30, "met": True},
    {"edges": None, "met": False},
    {"edges": 40, "met": True},
    {"edges": 5, "met": False},
    {"edges": 10, "met": True},
]


def test_sweep_lines_by_target() -> None:
    edges, nodes = sweep_figure(POINTS, "run $\\frac{$").axes
    assert [listed(line.get_xydata()) for line in edges.lines] == [[[0.05, 40], [0.6, 0.5]], [[0.6, 7]]]
    assert [listed(line.get_xydata()) for line in nodes.lines] == [[[0.05, 80], [0.6, 0.5]], [[0.6, 14]]]
    assert edges.get_xscale() == edges.get_yscale() == "log"
    legend = edges.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    met, missed = edges.collections
    assert isinstance(met, PathCollection)
    assert isinstance(missed, PathCollection)
    assert listed(met.get_facecolor())[0] == listed(met.get_edgecolor())[0]
    assert listed(missed.get_facecolor())[0] == [1, 1, 1, 1]


def test_tuning_shows_the_smallest_so_far() -> None:
    """A circuit that misses the target counts for nothing."""
    axes = tuning_figure("a", TRIALS).axes[0]
    (best,) = axes.lines
    assert listed(best.get_xydata()) == [[1, 30], [2, 30], [3, 30], [4, 30], [5, 10]]
    found, missed, nothing = axes.collections
    assert listed(found.get_offsets()) == [[1, 30], [3, 40], [5, 10]]
    assert listed(missed.get_offsets()) == [[4, 5]]
    assert [x for x, _ in listed(nothing.get_offsets())] == [2]


def test_nothing_at_all_can_be_drawn(tmp_path: Path) -> None:
    save_chart(sweep_figure([POINTS[2]]), tmp_path / "a.png")
    save_chart(tuning_figure("a", [TRIALS[1]]), tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("sizes", "ticks"),
    [((11, 160), [10, 20, 50, 100, 200]), ((0, 3), [0.5, 1, 2, 5]), ((10,), [10, 20]), ((), [1, 2])],
)
def test_ticks(sizes: tuple[float, ...], ticks: list[float]) -> None:
    assert size_ticks(sizes) == ticks


def test_the_same_file_every_time(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        save_chart(sweep_figure(POINTS), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_runs_have_dashes_and_markers_of_their_own() -> None:
    rows = [{**point("a", 0.05, 40), "run": "x"}, {**point("a", 0.05, 10), "run": "y"}]
    edges, _ = sweep_figure(rows).axes
    drawn = [line for line in edges.lines if len(listed(line.get_xdata()))]
    assert [listed(line.get_xydata()) for line in drawn] == [[[0.05, 40]], [[0.05, 10]]]
    assert drawn[0].get_color() == drawn[1].get_color()
    assert drawn[0].get_linestyle() != drawn[1].get_linestyle()
    legend = edges.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "x", "y"]


def test_of_many_tasks_runs_are_compared_by_their_geometric_mean() -> None:
    """Where a task has no circuit there is no mean."""
    tasks = [f"task {number}" for number in range(8)]
    rows = [{**point(task, 0.05, 4 if i % 2 else 16), "run": "x"} for i, task in enumerate(tasks)]
    rows += [{**point(task, 0.5, 2), "run": "x"} for task in tasks]
    rows += [{**point(task, 0.05, None if i == 3 else 9), "run": "y"} for i, task in enumerate(tasks)]
    edges, _ = sweep_figure(rows).axes
    thick = [line for line in edges.lines if line.get_linewidth() > 2]
    (of_x, of_y) = (np.asarray(line.get_xydata()) for line in thick)
    np.testing.assert_allclose(of_x, [[0.05, 8], [0.5, 2]])
    assert of_y.size == 0
    assert len(edges.lines) == 2 + 8 + 8


def test_many_names_stand_beside_the_lines() -> None:
    figure = sweep_figure([point(f"task {number}", 0.05, 10 + number) for number in range(8)])
    assert figure.axes[0].get_legend() is None
    assert [len(legend.get_texts()) for legend in figure.legends] == [8]
