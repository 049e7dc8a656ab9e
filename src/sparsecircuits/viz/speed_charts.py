"""What training costs, as pictures: loss against seconds, of ways to train and of sparse and dense models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sparsecircuits.viz.style import DASHES, FAINT, INK, SOFT, new_figure, plain_axes, series_style

#: Losses so many times as far above the lowest sparse one as the highest sparse one is are left out.
HEADROOM = 1.15


def arms_figure(panels: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss against seconds, a panel a model: a dot a seed, a bar for the mean.

    Args:
        panels: with ``title`` and ``rows``, each with ``name`` (one colour each), ``equal`` ("tokens": full
            dots, "time": hollow ones), ``seconds`` and ``losses``, one a seed.
    """
    names = list(dict.fromkeys(row["name"] for panel in panels for row in panel["rows"]))
    figure = new_figure(4.2 * len(panels) + 1.6, 3.8)
    shown = {}
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        widest = max((row["seconds"] for row in panel["rows"]), default=1.0)
        for row in (one for one in panel["rows"] if one["losses"]):
            colour, _ = series_style(names.index(row["name"]))
            face = colour if row["equal"] == "tokens" else "none"
            (dots,) = axes.plot(
                [row["seconds"]] * len(row["losses"]),
                row["losses"],
                "o",
                color=colour,
                mfc=face,
                ms=5,
                zorder=3,
            )
            mean = sum(row["losses"]) / len(row["losses"])
            half = 0.025 * widest
            axes.plot(
                [row["seconds"] - half, row["seconds"] + half], [mean, mean], color=colour, lw=2, zorder=2
            )
            shown[row["name"] + ("" if row["equal"] == "tokens" else ", equal time")] = dots
        axes.set_xlim(0, 1.08 * widest)
        _label(axes, panel["title"], "seconds of one core", first=number == 0)
    _legend(figure, shown)
    return figure


def price_figure(panels: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss against what it costs, on a logarithmic axis: sparse models, and dense ones with their frontier.

    Args:
        panels: with ``title``, ``unit`` (below the axis), ``sparse`` (name to points), ``dense`` (points) and
            ``frontier`` (points); a point is (cost, loss). Names come in pairs of two colours, and each pair
            has a dash of its own.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel["sparse"]))
    figure = new_figure(4.4 * len(panels) + 1.8, 4.0)
    shown = {}
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        (dots,) = axes.plot(*_columns(panel["dense"]), ".", color=FAINT, ms=4, zorder=1)
        (line,) = axes.plot(*_columns(panel["frontier"]), "-", color=SOFT, lw=1.6, zorder=2)
        shown |= {"dense, each length's best rate": dots, "dense, the best": line}
        for name, points in panel["sparse"].items():
            colour, _ = series_style(names.index(name) % 2)
            style = DASHES[names.index(name) // 2 % len(DASHES)]
            (drawn,) = axes.plot(*_columns(points), style, color=colour, marker="o", ms=5, lw=1.4, zorder=3)
            shown[name] = drawn
        _limit(axes, [loss for points in panel["sparse"].values() for _, loss in points])
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _label(axes, panel["title"], panel["unit"], first=number == 0)
    _legend(figure, shown)
    return figure


def _label(axes: Axes, title: str, cost: str, *, first: bool) -> None:
    axes.set_title(title, color=INK, size=10, loc="left")
    axes.set_xlabel(cost, color=INK)
    if first:
        axes.set_ylabel("validation loss, nats", color=INK)
    plain_axes(axes, "both")


def _legend(figure: Figure, shown: Mapping[str, Any]) -> None:
    names, drawn = list(shown), list(shown.values())
    figure.legend(drawn, names, loc="outside right upper", fontsize=8, frameon=False, labelcolor=INK)


def _columns(points: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]


def _limit(axes: Any, losses: Sequence[float]) -> None:
    """Leave out what is far worse than the worst sparse model, so that the rest can be told apart."""
    bottom = axes.get_ylim()[0]
    axes.set_ylim(bottom, bottom + HEADROOM * (max(losses) - bottom))
