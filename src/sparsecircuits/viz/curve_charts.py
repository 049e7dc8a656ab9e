"""The curve of a pruning: a pure function from rows to a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from sparsecircuits.viz.style import BLUE, INK, ORANGE, new_figure, plain_axes


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
