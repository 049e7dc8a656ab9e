"""What changes of the recipe do to the loss, as pictures: one dot a seed, or one line a change over rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from sparsecircuits.viz.style import (
    BAND,
    BLUE,
    FAINT,
    INK,
    ORANGE,
    SOFT,
    new_figure,
    plain_axes,
    series_style,
)

#: Differences beyond so many nats are drawn at the edge.
EDGE = 0.5
_COLOURS = {"worse": ORANGE, "better": BLUE, "not seen": SOFT, None: FAINT}


def differences_figure(rows: Sequence[Mapping[str, Any]], limit: float | None = None) -> Figure:
    """Loss minus baseline of every change, sorted: a dot a seed, a bar for the mean.

    Args:
        rows: with ``name``, ``by_seed`` (the differences; None: diverged, drawn at the right edge) and
            ``outcome``, which chooses the colour.
        limit: half the width of the band in which no difference is seen.
    """
    ordered = sorted(rows, key=_mean, reverse=True)
    figure = new_figure(7.5, 1.2 + 0.2 * len(ordered))
    axes = figure.add_subplot()
    if limit is not None:
        axes.axvspan(-limit, limit, color=BAND, zorder=0, lw=0)
    axes.axvline(0, color=FAINT, lw=1, zorder=1)
    for row, change in enumerate(ordered):
        colour = _COLOURS[change["outcome"]]
        mean = min(_mean(change), EDGE)
        axes.plot([0, mean], [row, row], color=colour, lw=3, alpha=0.35, solid_capstyle="butt", zorder=2)
        for value in change["by_seed"].values():
            shown = EDGE if value is None else min(value, EDGE)
            axes.plot(shown, row, "o" if shown < EDGE else ">", color=colour, ms=5, zorder=3)
    axes.set_yticks(range(len(ordered)), [change["name"] for change in ordered], fontsize=8)
    axes.set_ylim(-0.7, len(ordered) - 0.3)
    axes.set_xlabel(f"validation loss minus baseline, nats (▸ {EDGE:g} or more, or diverged)", color=INK)
    plain_axes(axes, "x")
    return figure


def _mean(row: Mapping[str, Any]) -> float:
    values = list(row["by_seed"].values())
    return EDGE if None in values else sum(values) / len(values)


def rates_figure(rows: Sequence[Mapping[str, Any]], highest: float) -> Figure:
    """Loss against the learning rate, a line a change.

    Args:
        rows: with ``name`` and ``by_rate``, from the factor on the rate to the loss (None: diverged); the
            first one is drawn thick.
        highest: losses above are left out of the picture.
    """
    figure = new_figure(7.5, 4.4)
    axes = figure.add_subplot()
    factors: set[float] = set()
    for index, row in enumerate(rows):
        points = sorted((rate, loss) for rate, loss in row["by_rate"].items() if loss is not None)
        factors |= {rate for rate, _ in points}
        colour, marker = (INK, "o") if index == 0 else series_style(index - 1)
        axes.plot(
            [rate for rate, _ in points],
            [loss for _, loss in points],
            color=colour,
            marker=marker,
            ms=4,
            lw=2.4 if index == 0 else 1.2,
            zorder=4 if index == 0 else 3,
            label=row["name"],
        )
    lowest = min(loss for row in rows for loss in row["by_rate"].values() if loss is not None)
    axes.set_ylim(lowest - 0.05 * (highest - lowest), highest)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(factors)))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:.3g}" if value >= 1 else f"{value:.2g}")
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("learning rate, as a factor of the baseline's", color=INK)
    axes.set_ylabel("validation loss, nats", color=INK)
    plain_axes(axes, "y")
    figure.legend(loc="outside right upper", fontsize=8, frameon=False, labelcolor=INK)
    return figure
