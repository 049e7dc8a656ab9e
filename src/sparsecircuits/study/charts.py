"""Pictures of studies: circuit size against target loss (Gao et al. 2025, Fig 2), and how a tuning went.

Pure functions of rows; sizes are on logarithmic scales, a size of 0 is drawn at one half.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from sparsecircuits.viz.style import COLOURS, DASHES, INK, PAPER, SOFT, new_figure, plain_axes, series_style

_NOTHING = 0.5


def sweep_figure(points: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Edges and nodes against the target loss, one line a task and run.

    Args:
        points: rows with ``task``, ``target`` (nats), ``edges``, ``nodes`` and ``met``; rows without a
            circuit have None for the sizes and are left out. Circuits that miss the target are drawn hollow.
            Where rows have different ``run``, a task has one colour and each run dashes of its own.
        title: of the whole, such as the run's name.
    """
    figure = new_figure(10, 4.4, title)
    tasks = list(dict.fromkeys(point["task"] for point in points))
    runs = list(dict.fromkeys(point.get("run") for point in points))
    axes = figure.subplots(1, 2)
    for part, size in zip(axes, ("edges", "nodes"), strict=True):
        _prepare(part, f"{size} of the circuit", [p[size] for p in points if p[size] is not None])
        for task, run in itertools.product(tasks, runs):
            rows = [p for p in points if (p["task"], p.get("run")) == (task, run) and p[size] is not None]
            rows.sort(key=lambda p: p["target"])
            x, y = [p["target"] for p in rows], [max(p[size], _NOTHING) for p in rows]
            (colour, marker), dashes = series_style(tasks.index(task)), DASHES[runs.index(run) % len(DASHES)]
            if rows:
                part.plot(x, y, color=colour, lw=1.6, zorder=2, ls=dashes)
            faces = [colour if p["met"] else PAPER for p in rows]
            label = task if rows and (size, run) == ("edges", _first_run(points, task)) else None
            part.scatter(x, y, c=faces, edgecolors=colour, marker=marker, s=30, zorder=3, label=label)
        part.set_xscale("log")
        targets = sorted({p["target"] for p in points})
        part.set_xticks(targets, [f"{target:g}" for target in targets])
        part.set_xlim(targets[0] / 1.2, targets[-1] * 1.2)
        part.xaxis.set_minor_formatter(NullFormatter())
        part.tick_params(axis="x", which="minor", length=0)
        part.set_xlabel("target loss (nats)", color=INK)
    if len(runs) > 1:
        for run, dashes in zip(runs, itertools.cycle(DASHES), strict=False):
            axes[1].plot([], [], color=SOFT, lw=1.6, ls=dashes, label=run)
    for part in axes:
        if part.get_legend_handles_labels()[1]:
            part.legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _first_run(points: Sequence[Mapping[str, Any]], task: str) -> Any:
    """The run whose line names the task in the legend."""
    return next((p.get("run") for p in points if p["task"] == task and p["edges"] is not None), None)


def tuning_figure(task: str, trials: Sequence[Mapping[str, Any]]) -> Figure:
    """The smallest circuit found against prunings done, and the circuit of each pruning.

    Args:
        task: goes into the title.
        trials: rows in order with ``edges`` (None where there is no circuit) and ``met``. Crosses at the top
            are prunings that gave none, or were given up.
    """
    figure = new_figure(6.4, 4.2)
    axes = figure.add_subplot()
    _prepare(axes, "edges of the circuit", [t["edges"] for t in trials if t["edges"] is not None])
    numbered = list(enumerate(trials, 1))
    found = [(i, max(t["edges"], _NOTHING)) for i, t in numbered if t["edges"] is not None and t["met"]]
    missed = [(i, max(t["edges"], _NOTHING)) for i, t in numbered if t["edges"] is not None and not t["met"]]
    nothing = [i for i, t in numbered if t["edges"] is None]
    best = [(i, min(size for j, size in found if j <= i)) for i, _ in numbered if found and i >= found[0][0]]
    axes.scatter(*_columns(found), color=SOFT, s=24, zorder=3, label="a pruning")
    if missed:
        axes.scatter(
            *_columns(missed), facecolors=PAPER, edgecolors=SOFT, s=24, zorder=3, label="misses the target"
        )
    axes.step(*_columns(best), where="post", color=COLOURS[0], lw=2, zorder=2, label="smallest so far")
    if nothing:
        axes.scatter(
            nothing,
            [0.98] * len(nothing),
            color=COLOURS[1],
            marker="x",
            s=24,
            zorder=3,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label="given up, or no circuit",
        )
    axes.set_xlim(0.5, max(2, len(trials)) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("prunings", color=INK)
    axes.set_title(task, loc="left", color=INK, size=11, parse_math=False)
    axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


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
    axes.set_ylabel(label, color=INK)
    plain_axes(axes, "y")
