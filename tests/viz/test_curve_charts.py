"""Curves show the numbers that they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from sparsecircuits.viz.curve_charts import pruning_figure, training_figure

SPARSE = [
    {"tokens": 10, "loss": 5.0, "density": 1.0},
    {"tokens": 20, "loss": 4.0, "density": 0.5, "val_loss": 4.25},
    {"tokens": 30, "loss": 3.5, "density": 0.1, "val_loss": 3.75},
]
DENSE = [{"tokens": 10, "loss": 4.5, "density": 1.0, "val_loss": 4.5}]


def lines(axes: Axes) -> list[list[list[float]]]:
    return [np.asarray(line.get_xydata()).tolist() for line in axes.lines]


def test_training_and_validation_loss_and_density_by_tokens() -> None:
    losses, density = training_figure({"sparse": SPARSE, "dense": DENSE}).axes
    assert lines(losses) == [
        [[10, 5.0], [20, 4.0], [30, 3.5]],
        [[20, 4.25]],
        [[30, 3.75]],
        [[10, 4.5]],
        [],
        [[10, 4.5]],
        [],
    ]
    assert lines(density) == [[[10, 1.0], [20, 0.5], [30, 0.1]], [[10, 1.0]]]
    legend: Any = losses.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["sparse", "dense", "at the end, on more text"]
    assert losses.lines[0].get_color() == losses.lines[1].get_color() != losses.lines[3].get_color()
    assert losses.lines[1].get_marker() == "o"


def test_the_last_validation_stands_apart_once_training_has_ended() -> None:
    losses, _ = training_figure({"sparse": SPARSE}).axes
    end = losses.lines[2]
    assert (end.get_linestyle(), end.get_marker()) == ("None", "*")
    assert end.get_color() == losses.lines[1].get_color()
    losses, _ = training_figure({"sparse": SPARSE}, unfinished=["sparse"]).axes
    assert lines(losses) == [[[10, 5.0], [20, 4.0], [30, 3.5]], [[20, 4.25], [30, 3.75]]]
    legend: Any = losses.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["sparse"]


def test_early_losses_do_not_flatten_the_rest() -> None:
    rows = [{"tokens": 1, "loss": 900.0, "density": 1.0}]
    rows += [{"tokens": n, "loss": 2 + 1 / n, "density": 1.0} for n in range(2, 101)]
    losses, _ = training_figure({"a": rows}).axes
    low, high = losses.get_ylim()
    assert 1.9 < low < 2.01
    assert high < 3


def test_one_point_has_room() -> None:
    losses, _ = training_figure({"a": [{"tokens": 1, "loss": 2.0, "density": 1.0}]}).axes
    assert losses.get_ylim() == (1.5, 2.5)


def test_a_pruning_by_its_steps() -> None:
    curve = [{"step": 1, "nodes": 900, "loss": 0.7}, {"step": 50, "nodes": 20, "loss": 0.1}]
    nodes, loss = pruning_figure(curve, "run: task", 0.15).axes
    assert lines(nodes) == [[[1, 900], [50, 20]]]
    assert lines(loss)[0] == [[1, 0.7], [50, 0.1]]
    assert [y for _, y in lines(loss)[1]] == [0.15, 0.15]
    assert len(lines(pruning_figure(curve).axes[1])) == 1
