"""Curves of a training and of a pruning: pure functions from rows to figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from sparsecircuits.viz.style import BLUE, INK, ORANGE, new_figure, plain_axes, series_style

_AT_END: Mapping[str, Any] = {"ls": "none", "marker": "*", "ms": 10, "mec": "white", "mew": 0.8, "zorder": 4}


def training_figure(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], unfinished: Collection[str] = ()
) -> Figure:
    """Loss and validation loss, and below them density, over the tokens seen; one colour a run.

    The validation at the end of training is on eight times the text of those before, so it stands apart.

    Args:
        runs: name -> its metrics (:meth:`~sparsecircuits.train.Run.metrics`): rows with ``tokens``, ``loss``,
            ``density`` and now and then ``val_loss``.
        unfinished: names of those whose training has not come to its end.
    """
    figure = new_figure(7.2, 5.2)
    losses, density = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    ended = False
    for index, (name, rows) in enumerate(runs.items()):
        colour, marker = series_style(index)
        losses.plot(*_points(rows, "loss"), color=colour, lw=0.8, alpha=0.45, zorder=2)
        during, end = rows, rows[:0]
        if rows and name not in unfinished and rows[-1].get("val_loss") is not None:
            during, end = rows[:-1], rows[-1:]
        validated = _points(during, "val_loss")
        losses.plot(*validated, color=colour, lw=1.6, marker=marker, ms=4, zorder=3, label=name)
        if end:
            losses.plot(*_points(end, "val_loss"), color=colour, **_AT_END)
            ended = True
        density.plot(*_points(rows, "density"), color=colour, lw=1.6, zorder=2)
    if ended:  # one entry for all runs
        losses.plot([], [], color=INK, label="at the end, on more text", **_AT_END)
    losses.set_ylabel("loss (nats a token)\nthin: training; marked: validation", color=INK)
    losses.set_ylim(*_losses(runs))
    density.set_yscale("log")
    density.set_ylabel("density of\nthe matrices", color=INK)
    density.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    density.set_xlabel("tokens seen", color=INK)
    density.xaxis.set_major_formatter(EngFormatter(sep=""))
    losses.legend(fontsize=8, frameon=False, labelcolor=INK)
    for axes in (losses, density):
        plain_axes(axes, "y")
        axes.margins(x=0.02)
    return figure


def pruning_figure(
    curve: Sequence[Mapping[str, float]], title: str = "", target: float | None = None
) -> Figure:
    """Kept nodes and the task loss of each batch over the mask steps of one pruning.

    Args:
        curve: rows with ``step``, ``nodes`` and ``loss``.
        title: such as the task's name.
        target: loss that was asked for, in nats.
    """
    figure = new_figure(7.2, 4.8, title)
    nodes, loss = figure.subplots(2, 1, sharex=True)
    steps = [row["step"] for row in curve]
    nodes.plot(steps, [row["nodes"] for row in curve], color=BLUE, lw=1.6)
    nodes.set_yscale("log")
    nodes.set_ylabel("nodes kept", color=INK)
    loss.plot(steps, [row["loss"] for row in curve], color=ORANGE, lw=1.2)
    if target is not None:
        loss.axhline(target, color=INK, lw=1, ls=":", label=f"target {target:g}")
        loss.legend(fontsize=8, frameon=False, labelcolor=INK)
    loss.set_ylabel("task loss (nats)", color=INK)
    loss.set_ylim(bottom=0)
    loss.set_xlabel("mask steps", color=INK)
    for axes in (nodes, loss):
        plain_axes(axes, "y")
        axes.margins(x=0.02)
    return figure


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    found = [(row["tokens"], row[key]) for row in rows if row.get(key) is not None]
    return [x for x, _ in found], [y for _, y in found]


def _losses(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[float, float]:
    """From below the smallest loss to above the largest one after the first twentieth of training."""
    every = [row["loss"] for rows in runs.values() for row in rows]
    late = [row["loss"] for rows in runs.values() for row in rows[len(rows) // 20 :]]
    validated = [y for rows in runs.values() for y in _points(rows, "val_loss")[1]]
    low, high = min(every + validated), max(late + validated)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room
