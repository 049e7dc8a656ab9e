"""Pictures of studies: circuit size against target loss (Gao et al. 2025, Fig 2), and how a tuning went.

Pure functions of rows; sizes are on logarithmic scales, a size of 0 is drawn at one half.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from sparsecircuits.viz.style import (
    COLOURS,
    DASHES,
    INK,
    MARKERS,
    PAPER,
    SOFT,
    new_figure,
    plain_axes,
    series_style,
)

_NOTHING = 0.5


def sweep_figure(points: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Edges and nodes against the target loss, one line a task and run.

    Where rows have different ``run``, a task has one colour, and each run dashes and a marker. Of more tasks
    than there are colours each run has one instead: lines of tasks are thin, and the thick one is their
    geometric mean at those targets at which every task of the run has a circuit.

    Args:
        points: rows with ``task``, ``target`` (nats), ``edges``, ``nodes`` and ``met``; rows without a
            circuit have None for the sizes and are left out. Circuits that miss the target are drawn hollow.
        title: of the whole, such as the run's name.
    """
    figure = new_figure(10, 4.4, title)
    tasks = list(dict.fromkeys(point["task"] for point in points))
    runs = list(dict.fromkeys(point.get("run") for point in points))
    axes = figure.subplots(1, 2)
    for part, size in zip(axes, ("edges", "nodes"), strict=True):
        _prepare(part, f"{size} of the circuit", [p[size] for p in points if p[size] is not None])
        if len(runs) > 1 and len(tasks) > len(COLOURS):
            _draw_means(part, points, size, runs)
        else:
            _draw_tasks(part, points, size, tasks, runs)
        part.set_xscale("log")
        targets = sorted({p["target"] for p in points})
        part.set_xticks(targets, [f"{target:g}" for target in targets])
        part.set_xlim(targets[0] / 1.2, targets[-1] * 1.2)
        part.xaxis.set_minor_formatter(NullFormatter())
        part.tick_params(axis="x", which="minor", length=0)
        part.set_xlabel("target loss (nats)", color=INK)
    keys, labels = axes[0].get_legend_handles_labels()
    look = {"fontsize": 8, "frameon": False, "labelcolor": INK}
    if len(labels) > len(COLOURS):  # too many to stand among the lines
        figure.legend(keys, labels, loc="outside right upper", **look)
    elif labels:
        axes[0].legend(**look)
    return figure


def _draw_tasks(
    axes: Any, points: Sequence[Mapping[str, Any]], size: str, tasks: Sequence[str], runs: Sequence[Any]
) -> None:
    named: set[str] = set()
    for task, run in itertools.product(tasks, runs):
        rows = _line(points, size, task, run)
        if not rows:
            continue
        x, y = [p["target"] for p in rows], [max(p[size], _NOTHING) for p in rows]
        colour, marker = series_style(tasks.index(task))
        which = runs.index(run)
        if len(runs) > 1:
            marker = MARKERS[which % len(MARKERS)]
        axes.plot(x, y, color=colour, lw=1.6, zorder=2, ls=DASHES[which % len(DASHES)])
        faces = [colour if p["met"] else PAPER for p in rows]
        label = None if task in named else task
        named.add(task)
        axes.scatter(x, y, c=faces, edgecolors=colour, marker=marker, s=30, zorder=3, label=label)
    for run, dashes, marker in zip(runs, itertools.cycle(DASHES), itertools.cycle(MARKERS), strict=False):
        if len(runs) > 1:
            axes.plot([], [], color=SOFT, lw=1.6, ls=dashes, marker=marker, label=run)


def _draw_means(axes: Any, points: Sequence[Mapping[str, Any]], size: str, runs: Sequence[Any]) -> None:
    for index, run in enumerate(runs):
        colour, dashes = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
        of_run = [p for p in points if p.get("run") == run]
        for task in dict.fromkeys(p["task"] for p in of_run):
            rows = _line(of_run, size, task, run)
            line = [p["target"] for p in rows], [max(p[size], _NOTHING) for p in rows]
            axes.plot(*line, color=colour, lw=0.8, alpha=0.35, ls=dashes, zorder=2)
        means = []
        for target in sorted({p["target"] for p in of_run}):
            sizes = [p[size] for p in of_run if p["target"] == target]
            if None not in sizes and len(sizes) == len({p["task"] for p in of_run}):
                means.append((target, math.exp(sum(math.log(max(n, _NOTHING)) for n in sizes) / len(sizes))))
        marker = MARKERS[index % len(MARKERS)]
        axes.plot(*_columns(means), color=colour, lw=2.4, ls=dashes, marker=marker, zorder=3, label=run)


def _line(points: Sequence[Mapping[str, Any]], size: str, task: str, run: Any) -> list[Mapping[str, Any]]:
    """The points of one line, by target."""
    rows = [p for p in points if (p["task"], p.get("run")) == (task, run) and p[size] is not None]
    return sorted(rows, key=lambda p: p["target"])


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
    ([10, 20, 50, 100, 200], [0.5])
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
