"""Curves show the numbers that they are given."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from sparsecircuits.viz.curve_charts import pruning_figure


def lines(axes: Axes) -> list[list[list[float]]]:
    return [np.asarray(line.get_xydata()).tolist() for line in axes.lines]


def test_a_pruning_by_its_steps() -> None:
    curve = [{"step": 1, "nodes": 900, "loss": 0.7}, {"step": 50, "nodes": 20, "loss": 0.1}]
    nodes, loss = pruning_figure(curve, "run: task", 0.15).axes
    assert lines(nodes) == [[[1, 900], [50, 20]]]
    assert lines(loss)[0] == [[1, 0.7], [50, 0.1]]
    assert [y for _, y in lines(loss)[1]] == [0.15, 0.15]
    assert len(lines(pruning_figure(curve).axes[1])) == 1
