"""Two sides taken in turn, and what their times say: the arithmetic of ``benchmarks/ops.py``.

In go functions that do the same work; out comes a :class:`Row`: how many times as long one side takes as
the other, and the goal that this is held against. Sides alternate in one process, so that a busy moment
of the machine hits both; the ratio is the median over the pairs, and the lowest and highest pair say how
far to trust it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from benchmarks import report
from benchmarks.report import Sense


class Side(NamedTuple):
    """Work to time, and what must be done before it each time, untimed: fresh tokens, a fresh copy."""

    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


class Effort(NamedTuple):
    """How often a comparison is repeated."""

    repeats: int = 5
    """At least so many rounds."""
    seconds: float = 0.4
    """More rounds while a side has taken less than this, on average."""
    most: int = 30
    """At most so many rounds."""
    warmup: int = 2
    """Untimed rounds before."""


@dataclass(frozen=True)
class Row:
    """One figure, and the milliseconds that it comes from if it comes from any."""

    name: str
    value: float
    goal: float | None
    sense: Sense = "max"
    ours_ms: float | None = None
    other_ms: float | None = None
    lowest: float | None = None
    highest: float | None = None


class Point(NamedTuple):
    """How long a step takes at one width and density, and its two floors."""

    width: int
    density: float
    floor: int
    """Least number of weights of a neuron."""
    step_ms: float
    products_ms: float
    """Dense products for the gradients of all matrices."""
    bytes_ms: float
    """Parameters, gradients and two moments read and written once."""


class Measured(NamedTuple):
    """What one task finds."""

    rows: list[Row]
    points: list[Point] = []


def time_sides(sides: dict[str, Side], effort: Effort) -> dict[str, list[float]]:
    """Milliseconds of each side in each round; the sides of a round are taken one after the other."""
    for _ in range(effort.warmup):
        for side in sides.values():
            _time(side)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    rounds, begun = 0, time.perf_counter()
    while rounds < effort.repeats or (
        rounds < effort.most and time.perf_counter() - begun < effort.seconds * len(sides)
    ):
        for name, side in sides.items():
            taken[name].append(_time(side))
        rounds += 1
    return taken


def _time(side: Side) -> float:
    side.prepare()
    begun = time.perf_counter()
    side.run()
    return 1e3 * (time.perf_counter() - begun)


def compare(
    name: str, ours: list[float], other: list[float], goal: float | None, sense: Sense = "max"
) -> Row:
    """The row of two sides' times, pair by pair.

    Args:
        name: of the figure, without the number of threads.
        ours, other: milliseconds, one of each a round.
        goal: what the ratio is held against.
        sense: ``max`` for other / ours (how many times as fast we are), ``min`` for ours / other.

    >>> compare("x", [1.0, 2.0, 2.0], [4.0, 6.0, 4.0], goal=2).value
    3.0
    """
    pairs = [
        (theirs / mine) if sense == "max" else (mine / theirs)
        for mine, theirs in zip(ours, other, strict=True)
    ]
    return Row(
        name, statistics.median(pairs), goal, sense,
        statistics.median(ours), statistics.median(other), min(pairs), max(pairs),
    )  # fmt: skip


def percent(share: float) -> str:
    """A density for people.

    >>> percent(0.01), percent(0.0025)
    ('1%', '0.25%')
    """
    return f"{100 * share:g}%"


def suffix(threads: int, default_malloc: bool) -> str:
    """What a figure's name ends with: ``, 1 thread``, ``, 2 threads``, ``, 1 thread, default malloc``."""
    return f", {threads} thread{'s' * (threads != 1)}" + ", default malloc" * default_malloc


def figure(row: Row, threads: int, default_malloc: bool) -> dict[str, Any]:
    """The row as ``figures`` has it. Without kept memory nothing is judged, so that there is no goal."""
    goal = None if default_malloc else row.goal
    return report.figure(row.name + suffix(threads, default_malloc), row.value, goal, row.sense)


def measurement(row: Row, threads: int, default_malloc: bool) -> dict[str, Any] | None:
    """The row as ``measurements`` has it, or None where nothing was timed."""
    if row.ours_ms is None:
        return None
    return {
        "name": row.name + suffix(threads, default_malloc),
        "threads": threads,
        "default_malloc": default_malloc,
        "ours_ms": row.ours_ms,
        "other_ms": row.other_ms,
        "ratio": row.value,
        "ratio_min": row.lowest,
        "ratio_max": row.highest,
    }


def to_json(found: Measured) -> dict[str, Any]:
    """Plain lists and numbers; the inverse is :func:`from_json`."""
    return {
        "rows": [asdict(row) for row in found.rows],
        "points": [point._asdict() for point in found.points],
    }


def from_json(data: dict[str, Any]) -> Measured:
    """The inverse of :func:`to_json`."""
    return Measured([Row(**row) for row in data["rows"]], [Point(**point) for point in data["points"]])
