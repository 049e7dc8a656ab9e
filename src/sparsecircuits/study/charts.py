"""Pictures of studies: circuit size against target loss (Gao et al. 2025, Fig 2), and how a tuning went.

Pure functions of rows; sizes are on logarithmic scales, a size of 0 is drawn at one half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

_PAPER, _INK, _SOFT, _LINE = "#ffffff", "#1c1d20", "#5d6068", "#d9d7d1"
#: Colours that stay apart for those who see no red and green; then other markers begin.
_COLOURS = ("#1565ad", "#c2540a", "#2a8a57", "#8a4fa3", "#b08900", "#4a4d55", "#c7478b")
_MARKERS = "osD^v"
_NOTHING = 0.5


def save_chart(figure: Figure, path: Path | str, *, dpi: float = 160) -> None:
    """Write a figure; the ending chooses the format: ``.png``, ``.svg`` or ``.pdf``.

    No date inside, and names that chance does not choose: the same figure gives the same file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
    with rc_context({"svg.hashsalt": "sparsecircuits"}):
        figure.savefig(path, dpi=dpi, facecolor=_PAPER, metadata=metadata)


def sweep_figure(points: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Edges and nodes against the target loss, one line a task.

    Args:
        points: rows with ``task``, ``target`` (nats), ``edges``, ``nodes`` and ``met``; rows without a
            circuit have None for the sizes and are left out. Circuits that miss the target are drawn hollow.
        title: of the whole, such as the run's name.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    tasks = list(dict.fromkeys(point["task"] for point in points))
    axes = figure.subplots(1, 2)
    if title:
        figure.suptitle(title, x=0.01, ha="left", color=_INK, size=11, parse_math=False)
    for part, size in zip(axes, ("edges", "nodes"), strict=True):
        _prepare(part, f"{size} of the circuit", [p[size] for p in points if p[size] is not None])
        for index, task in enumerate(tasks):
            rows = sorted(
                (p for p in points if p["task"] == task and p[size] is not None), key=lambda p: p["target"]
            )
            x, y = [p["target"] for p in rows], [max(p[size], _NOTHING) for p in rows]
            colour, marker = _style(index)
            part.plot(x, y, color=colour, lw=1.6, zorder=2)
            faces = [colour if p["met"] else _PAPER for p in rows]
            part.scatter(
                x, y, c=faces, edgecolors=colour, marker=marker, s=30, zorder=3, label=task if x else None
            )
        part.set_xscale("log")
        targets = sorted({p["target"] for p in points})
        part.set_xticks(targets, [f"{target:g}" for target in targets])
        part.set_xlim(targets[0] / 1.2, targets[-1] * 1.2)
        part.xaxis.set_minor_formatter(NullFormatter())
        part.tick_params(axis="x", which="minor", length=0)
        part.set_xlabel("target loss (nats)", color=_INK)
    if axes[0].get_legend_handles_labels()[1]:
        axes[0].legend(fontsize=8, frameon=False, labelcolor=_INK)
    return figure


def tuning_figure(task: str, trials: Sequence[Mapping[str, Any]]) -> Figure:
    """The smallest circuit found against prunings done, and the circuit of each pruning.

    Args:
        task: goes into the title.
        trials: rows in order with ``edges`` (None where there is no circuit) and ``met``. Crosses at the top
            are prunings that gave none, or were given up.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _prepare(axes, "edges of the circuit", [t["edges"] for t in trials if t["edges"] is not None])
    numbered = list(enumerate(trials, 1))
    found = [(i, max(t["edges"], _NOTHING)) for i, t in numbered if t["edges"] is not None and t["met"]]
    missed = [(i, max(t["edges"], _NOTHING)) for i, t in numbered if t["edges"] is not None and not t["met"]]
    nothing = [i for i, t in numbered if t["edges"] is None]
    best = [(i, min(size for j, size in found if j <= i)) for i, _ in numbered if found and i >= found[0][0]]
    axes.scatter(*_columns(found), color=_SOFT, s=24, zorder=3, label="a pruning")
    if missed:
        axes.scatter(
            *_columns(missed), facecolors=_PAPER, edgecolors=_SOFT, s=24, zorder=3, label="misses the target"
        )
    axes.step(*_columns(best), where="post", color=_COLOURS[0], lw=2, zorder=2, label="smallest so far")
    if nothing:
        axes.scatter(
            nothing,
            [0.98] * len(nothing),
            color=_COLOURS[1],
            marker="x",
            s=24,
            zorder=3,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label="given up, or no circuit",
        )
    axes.set_xlim(0.5, max(2, len(trials)) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("prunings", color=_INK)
    axes.set_title(task, loc="left", color=_INK, size=11, parse_math=False)
    axes.legend(fontsize=8, frameon=False, labelcolor=_INK)
    return figure


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _style(index: int) -> tuple[str, str]:
    return _COLOURS[index % len(_COLOURS)], _MARKERS[index // len(_COLOURS) % len(_MARKERS)]


def size_ticks(sizes: Sequence[float]) -> list[float]:
    """Ticks 1, 2, 5, 10, ... from the last one below all sizes to the first above; 0 is at one half.

    >>> size_ticks([11, 160]), size_ticks([0])
    ([10, 20, 50, 100, 200], [0.5, 1])
    """
    low, high = min(sizes, default=1), max(sizes, default=1)
    steps = [_NOTHING, *(digit * 10**power for power in range(13) for digit in (1, 2, 5))]
    first = max(i for i, tick in enumerate(steps) if tick <= max(low, _NOTHING))
    last = next(i for i, tick in enumerate(steps) if tick > high)
    return steps[first : last + 1]


def _prepare(axes: Any, label: str, sizes: Sequence[float]) -> None:
    axes.set_yscale("log")
    ticks = size_ticks(sizes)
    axes.set_ylim(ticks[0] * 0.9, ticks[-1] * 1.1)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "0" if value == _NOTHING else f"{value:,.0f}")
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(label, color=_INK)
    axes.grid(axis="y", color=_LINE, lw=0.6)
    axes.tick_params(colors=_SOFT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(_LINE)
