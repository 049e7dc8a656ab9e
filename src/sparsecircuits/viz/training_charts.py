"""Curves of trainings, several runs over one another: a pure function from metrics to a figure.

Loss on top; below it a panel for everything else that at least one run has logged. What a run has not, such
as one of an older release, is left out, and the panel says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, FuncFormatter, LogLocator, NullFormatter

from sparsecircuits.viz.style import INK, SOFT, new_figure, plain_axes, series_style

Rows = Sequence[Mapping[str, Any]]

#: The smoothed loss is a mean over the past that forgets half within this share of a run's lines.
HALF_LIFE = 0.01
#: Where a run has seen so many times as many tokens as another, the axis of tokens is logarithmic.
FAR_APART = 8
#: Of a line, and of one that coincides with one, two, ... earlier ones; gaps are as wide as dashes or wider.
_DASHES = ("-", (0, (4, 4)), (0, (2, 6)), (0, (1, 7)))
_AT_END: Mapping[str, Any] = {"ls": "none", "marker": "*", "ms": 10, "mec": "white", "mew": 0.8, "zorder": 4}


@dataclass(frozen=True)
class Panel:
    """One series of the metrics."""

    key: str
    label: str
    log: bool = False
    number: Callable[[], Formatter] | None = None
    low: float | None = None
    """Where the axis begins, if not at the smallest value."""


def _percent() -> Formatter:
    return FuncFormatter(lambda value, _: f"{100 * value:g}%")


def _short() -> Formatter:
    return EngFormatter(sep="")


def _plain() -> Formatter:
    return FuncFormatter(lambda value, _: f"{value:g}")


PANELS = (
    Panel("density", "density of the matrices", log=True, number=_percent),
    Panel("l0", "nonzero weights (L0)", log=True, number=_short),
    Panel("lr", "learning rate", low=0),
    Panel("grad_rms", "gradient RMS", log=True, number=_plain),
    Panel("dead_neurons", "dead MLP neurons", number=_percent, low=0),
    Panel("kurtosis", "kurtosis of the last residual stream"),
    Panel("tokens_per_second", "tokens a second", number=_short, low=0),
    Panel("data_wait_share", "wait for data", number=_percent, low=0),
)


def training_figure(runs: Mapping[str, Rows], unfinished: Collection[str] = ()) -> Figure:
    """Loss and validation loss, and below them the other series, over the tokens seen; one colour a run.

    The validation at the end of training is on eight times the text of those before, so it stands apart. A
    line that coincides with an earlier run's is dashed, so that both are seen.

    Args:
        runs: name -> its metrics (:meth:`~sparsecircuits.train.Run.metrics`): rows with ``tokens``, ``loss``,
            and, some of them, what :data:`PANELS` and ``val_loss`` name.
        unfinished: names of those whose training has not come to its end.
    """
    panels = [panel for panel in PANELS if any(points(rows, panel.key)[0] for rows in runs.values())]
    lines = math.ceil(len(panels) / 2)
    figure = new_figure(9.6, 3.6 + 1.75 * lines)
    grid = figure.add_gridspec(1 + lines, 2, height_ratios=(3.2, *[1.75] * lines))
    losses = figure.add_subplot(grid[0, :])
    seen = "tokens seen"
    if _far_apart(runs):
        losses.set_xscale("log")
        seen += ", on a log scale"
    _draw_losses(losses, runs, unfinished)
    for number, panel in enumerate(panels):
        below = figure.add_subplot(grid[1 + number // 2, number % 2], sharex=losses)
        _draw_panel(below, panel, runs)
        if number < len(panels) - 2:
            below.tick_params(labelbottom=False)
        else:
            below.set_xlabel(seen, color=INK)
    if not panels:
        losses.set_xlabel(seen, color=INK)
    losses.xaxis.set_major_formatter(EngFormatter(sep=""))
    missing = [panel.label for panel in PANELS if panel not in panels]
    if missing:
        figure.text(0.01, 0.005, f"not logged: {', '.join(missing)}", fontsize=8, color=SOFT, va="bottom")
        figure.get_layout_engine().set(rect=(0, 0.03, 1, 0.97))  # type: ignore[union-attr]
    return figure


def points(rows: Rows, key: str) -> tuple[list[float], list[float]]:
    """Tokens seen and values of a series, where there are any."""
    found = [(row["tokens"], row[key]) for row in rows if row.get(key) is not None and "tokens" in row]
    return [x for x, _ in found], [y for _, y in found]


def smoothed(values: Sequence[float]) -> list[float]:
    """Means over the past in which a value counts half as much for every 1% of the series that it is back.

    >>> [round(value, 3) for value in smoothed([1.0, 3.0])]  # weights 1/2 and 1
    [1.0, 2.333]
    """
    keep = 0.5 ** (1 / max(1.0, HALF_LIFE * len(values)))
    total, weight, means = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        means.append(total / weight)
    return means


def _draw_losses(axes: Axes, runs: Mapping[str, Rows], unfinished: Collection[str]) -> None:
    ended = False
    dashes = _Dashes()
    for index, (name, rows) in enumerate(runs.items()):
        colour, marker = series_style(index)
        tokens, losses = points(rows, "loss")
        axes.plot(tokens, losses, color=colour, lw=0.6, alpha=0.3, zorder=2)
        axes.plot(tokens, smoothed(losses), color=colour, lw=1.2, zorder=3, ls=dashes.of(tokens, losses))
        during, end = rows, rows[:0]
        if rows and name not in unfinished and rows[-1].get("val_loss") is not None:
            during, end = rows[:-1], rows[-1:]
        style: dict[str, Any] = {"color": colour, "ls": "--", "lw": 1, "marker": marker, "ms": 4}
        axes.plot(*points(during, "val_loss"), zorder=3, label=name, **style)
        if end:
            axes.plot(*points(end, "val_loss"), color=colour, **_AT_END)
            ended = True
    if ended:  # one entry for all runs
        axes.plot([], [], color=INK, label="at the end, on more text", **_AT_END)
    axes.set_ylabel("loss, nats a token\nline: training, smoothed\nmarked: validation", color=INK)
    axes.set_ylim(*_range(runs))
    plain_axes(axes, "y")
    axes.margins(x=0.02)
    axes.legend(fontsize=8, frameon=False, labelcolor=INK, ncols=1 + len(runs) // 6)


def _draw_panel(axes: Axes, panel: Panel, runs: Mapping[str, Rows]) -> None:
    without = []
    dashes = _Dashes()
    for index, (name, rows) in enumerate(runs.items()):
        colour, marker = series_style(index)
        tokens, values = points(rows, panel.key)
        if not tokens:
            without.append(name)
            continue
        few = len(tokens) < len(rows) / 2 or len(tokens) == 1  # at validations only
        (line,) = axes.plot(tokens, values, color=colour, lw=1.2, ls=dashes.of(tokens, values), zorder=2)
        if few:
            line.set(marker=marker, markersize=3, clip_on=False)  # whole where the axis ends at a point
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if panel.number is not None:
        axes.yaxis.set_major_formatter(panel.number())
    plain_axes(axes, "y")
    axes.margins(x=0.02)
    if panel.low is not None:
        axes.set_ylim(bottom=panel.low)
    axes.set_title(panel.label, loc="left", fontsize=9, color=INK)
    if without:
        note = f"not logged by {', '.join(without)}"
        axes.set_title(note, loc="right", fontsize=7, color=SOFT)


class _Dashes:
    """The line styles of one panel, asked for in the order in which lines are drawn."""

    def __init__(self) -> None:
        self._lines: list[dict[float, float]] = []

    def of(self, tokens: Sequence[float], values: Sequence[float]) -> Any:
        """Solid; dashed where an earlier line has a quarter or more of the values at the same tokens."""
        line = dict(zip(tokens, values, strict=True))
        covered = sum(_coincide(line, earlier) for earlier in self._lines)
        self._lines.append(line)
        return _DASHES[min(covered, len(_DASHES) - 1)]


def _coincide(line: Mapping[float, float], other: Mapping[float, float]) -> bool:
    both = line.keys() & other.keys()
    return 4 * sum(math.isclose(line[x], other[x]) for x in both) >= len(both) > 0


def _far_apart(runs: Mapping[str, Rows]) -> bool:
    """Whether one run would be a smudge at the left beside another."""
    ends = [tokens[-1] for rows in runs.values() if (tokens := points(rows, "loss")[0])]
    return bool(ends) and max(ends) > FAR_APART * min(ends)


def _range(runs: Mapping[str, Rows]) -> tuple[float, float]:
    """From below the smallest loss to above the largest one after the first twentieth of training."""
    every = [y for rows in runs.values() for y in points(rows, "loss")[1]]
    late = [y for rows in runs.values() for y in points(rows[len(rows) // 20 :], "loss")[1]]
    validated = [y for rows in runs.values() for y in points(rows, "val_loss")[1]]
    low, high = min(every + validated), max(late + validated)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room
