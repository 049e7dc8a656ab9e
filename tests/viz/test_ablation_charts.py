"""Pictures of ablations: dots and lines stand where the numbers say."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from sparsecircuits.viz.ablation_charts import EDGE, differences_figure, rates_figure

ROWS = [
    {"name": "a", "by_seed": {"0": 0.1, "1": 0.2}, "outcome": "worse"},
    {"name": "b", "by_seed": {"0": -0.1}, "outcome": None},
    {"name": "c", "by_seed": {"0": 0.3, "1": None}, "outcome": "worse"},
]


def points(line: Line2D) -> list[list[float]]:
    return np.asarray(line.get_xydata()).tolist()


def test_the_best_stands_on_top_and_what_diverged_at_the_edge() -> None:
    (axes,) = differences_figure(ROWS, limit=0.02).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "a", "b"]
    markers = [line for line in axes.lines if line.get_marker() in ("o", ">")]
    dots = sorted((row, value, line.get_marker()) for line in markers for value, row in points(line))
    assert dots == [(0, 0.3, "o"), (0, EDGE, ">"), (1, 0.1, "o"), (1, 0.2, "o"), (2, -0.1, "o")]
    (band,) = axes.patches
    assert isinstance(band, Rectangle)
    assert (band.get_x(), band.get_width()) == pytest.approx((-0.02, 0.04))


def test_a_line_a_change_over_rates() -> None:
    rows = [
        {"name": "baseline", "by_rate": {1.0: 2.0, 1 / 3: 2.1, 3.0: 2.05}},
        {"name": "eps_1", "by_rate": {1.0: 2.3, 10.0: None}},
    ]
    (axes,) = rates_figure(rows, highest=2.4).axes
    first, second = axes.lines
    assert points(first) == [[1 / 3, 2.1], [1.0, 2.0], [3.0, 2.05]]
    assert points(second) == [[1.0, 2.3]]
    assert axes.get_ylim() == pytest.approx((1.98, 2.4))
