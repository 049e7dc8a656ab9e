"""Curves of trainings show the numbers that they are given, and say what they were not given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsecircuits.viz.training_charts import PANELS, smoothed, training_figure

SPARSE = [
    {"tokens": 10, "loss": 5.0, "density": 1.0},
    {"tokens": 20, "loss": 4.0, "density": 0.5, "val_loss": 4.25, "dead_neurons": 0.1, "kurtosis": None},
    {"tokens": 30, "loss": 3.5, "density": 0.1, "val_loss": 3.75, "dead_neurons": 0.2, "kurtosis": 9.0},
]
DENSE = [{"tokens": 10, "loss": 4.5, "density": 1.0, "val_loss": 4.5}]


def lines(axes: Axes) -> list[list[list[float]]]:
    return [np.asarray(line.get_xydata()).tolist() for line in axes.lines]


def panel(figure: Figure, label: str) -> Axes:
    (found,) = [axes for axes in figure.axes if axes.get_title(loc="left") == label]
    return found


def legend(axes: Axes) -> list[str]:
    shown: Any = axes.get_legend()
    return [text.get_text() for text in shown.get_texts()]


def test_losses_by_tokens_thin_and_smoothed_and_validated() -> None:
    losses = training_figure({"sparse": SPARSE, "dense": DENSE}).axes[0]
    # Three lines: each value counts half as much as the next.
    means = [5.0, (2.5 + 4) / 1.5, (1.25 + 2 + 3.5) / 1.75]
    assert lines(losses) == [
        [[10, 5.0], [20, 4.0], [30, 3.5]],
        [[10, pytest.approx(means[0])], [20, pytest.approx(means[1])], [30, pytest.approx(means[2])]],
        [[20, 4.25]],
        [[30, 3.75]],
        [[10, 4.5]],
        [[10, 4.5]],
        [],
        [[10, 4.5]],
        [],
    ]
    assert legend(losses) == ["sparse", "dense", "at the end, on more text"]
    assert losses.lines[0].get_color() == losses.lines[2].get_color() != losses.lines[4].get_color()
    assert losses.lines[2].get_marker() == "o"


def test_a_panel_for_every_series_that_somebody_has() -> None:
    figure = training_figure({"sparse": SPARSE, "dense": DENSE})
    assert len(figure.axes) == 1 + 3
    assert lines(panel(figure, "density of the matrices")) == [[[10, 1], [20, 0.5], [30, 0.1]], [[10, 1]]]
    dead = panel(figure, "dead MLP neurons")
    assert lines(dead) == [[[20, 0.1], [30, 0.2]]]
    assert dead.get_title(loc="right") == "not logged by dense"
    assert lines(panel(figure, "kurtosis of the last residual stream")) == [[[30, 9.0]]]
    (note,) = [text.get_text() for text in figure.texts]
    assert (
        note
        == "not logged: nonzero weights (L0), learning rate, gradient RMS, tokens a second, wait for data"
    )


def test_with_everything_logged_there_is_nothing_to_note() -> None:
    row = {"tokens": 10, "loss": 2.0, **{each.key: 0.5 for each in PANELS}}
    figure = training_figure({"a": [row, {**row, "tokens": 20}]})
    assert len(figure.axes) == 1 + len(PANELS)
    assert figure.texts == []


def test_the_last_validation_stands_apart_once_training_has_ended() -> None:
    losses = training_figure({"sparse": SPARSE}).axes[0]
    end = losses.lines[3]
    assert (end.get_linestyle(), end.get_marker()) == ("None", "*")
    assert end.get_color() == losses.lines[1].get_color()
    losses = training_figure({"sparse": SPARSE}, unfinished=["sparse"]).axes[0]
    assert lines(losses)[2:] == [[[20, 4.25], [30, 3.75]]]
    assert legend(losses) == ["sparse"]


def test_early_losses_do_not_flatten_the_rest() -> None:
    rows = [{"tokens": 1, "loss": 900.0, "density": 1.0}]
    rows += [{"tokens": n, "loss": 2 + 1 / n, "density": 1.0} for n in range(2, 101)]
    low, high = training_figure({"a": rows}).axes[0].get_ylim()
    assert 1.9 < low < 2.01
    assert high < 3


def test_one_point_has_room() -> None:
    losses = training_figure({"a": [{"tokens": 1, "loss": 2.0, "density": 1.0}]}).axes[0]
    assert losses.get_ylim() == (1.5, 2.5)


def test_lines_that_coincide_can_be_told_apart() -> None:
    figure = training_figure({"one": SPARSE, "same": SPARSE})
    for axes in (panel(figure, "density of the matrices"), panel(figure, "dead MLP neurons")):
        assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]
    assert [figure.axes[0].lines[number].get_linestyle() for number in (1, 5)] == ["-", "--"]
    other = [{**row, "density": 0.9 * row["density"], "loss": 9.0} for row in SPARSE]
    figure = training_figure({"one": SPARSE, "other": other})
    assert [line.get_linestyle() for line in panel(figure, "density of the matrices").lines] == ["-", "-"]
    assert [figure.axes[0].lines[number].get_linestyle() for number in (1, 5)] == ["-", "-"]


def test_points_at_the_end_of_an_axis_are_whole() -> None:
    figure = training_figure({"one": [*SPARSE[:1], {**SPARSE[1], "dead_neurons": 0.0}, *SPARSE[:1]]})
    dead = panel(figure, "dead MLP neurons")
    assert dead.get_ylim()[0] == 0  # where the point is
    assert (dead.lines[0].get_marker(), dead.lines[0].get_clip_on()) == ("o", False)


def test_a_short_run_beside_a_long_one_is_no_smudge() -> None:
    long = [*SPARSE, {"tokens": 81, "loss": 3.0, "density": 0.1}]
    figure = training_figure({"long": long, "short": DENSE})
    assert [axes.get_xscale() for axes in figure.axes] == ["log"] * 4
    assert figure.axes[-1].get_xlabel() == "tokens seen, on a log scale"
    long[-1]["tokens"] = 80
    figure = training_figure({"long": long, "short": DENSE})
    assert figure.axes[0].get_xscale() == "linear"
    assert figure.axes[-1].get_xlabel() == "tokens seen"


def test_smoothing_forgets_half_within_a_hundredth() -> None:
    step = [0.0] * 500 + [1.0] * 500  # of 1,000 values a hundredth is ten
    assert smoothed(step)[509] == pytest.approx(0.5, abs=1e-6)
    assert smoothed(step)[-1] == pytest.approx(1, abs=1e-6)
    assert smoothed([]) == []
