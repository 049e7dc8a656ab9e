"""What a loss costs: the search for the least seconds, or FLOPs, at which a kind of model reaches it.

In go trainings, each with its loss and what it cost; those of one shape on schedules of different lengths
are a curve. A schedule between two that were trained is taken to lie on the straight line between them, of
loss against the logarithm of cost. Sparse and dense models are searched in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """One training."""

    curve: str
    """Trainings that differ in length alone, or in length and rate, share a curve."""
    steps: int
    lr: float
    loss: float
    """Infinite where it diverged."""
    cost: float
    """Seconds, or FLOPs."""


class Least(NamedTuple):
    """The cheapest way to a loss."""

    cost: float
    """Between two trainings, on the line."""
    curve: str
    trained: Point
    """The cheapest training of all that reached the loss itself."""
    first: bool
    """Whether its curve's shortest training reached it, so that a shorter one might too."""


def best_rates(points: Iterable[Point]) -> dict[str, list[Point]]:
    """Each curve's points, the shortest first, of each length the one of the lowest loss."""
    best: dict[tuple[str, int], Point] = {}
    for point in points:
        key = point.curve, point.steps
        if key not in best or point.loss < best[key].loss:
            best[key] = point
    curves: dict[str, list[Point]] = {}
    for point in sorted(best.values(), key=lambda one: one.steps):
        curves.setdefault(point.curve, []).append(point)
    return curves


def least(points: Sequence[Point], loss: float) -> Least | None:
    """The least cost at which one of the curves comes down to ``loss``; None: none does.

    >>> points = [Point("a", 1, 0.1, 3.0, 1.0), Point("a", 4, 0.1, 1.0, 4.0), Point("b", 9, 0.1, 1.5, 3.0)]
    >>> least(points, 2.0).cost
    2.0
    """
    found = [
        (cost, curve, rows[0].loss <= loss)
        for curve, rows in best_rates(points).items()
        if (cost := _crossing(rows, loss)) is not None
    ]
    if not found:
        return None
    cost, curve, first = min(found)
    trained = min((point for point in points if point.loss <= loss), key=lambda point: point.cost)
    return Least(cost, curve, trained, first)


def _crossing(rows: Sequence[Point], loss: float) -> float | None:
    if rows[0].loss <= loss:
        return rows[0].cost
    for before, after in zip(rows, rows[1:], strict=False):
        if after.loss <= loss:
            if math.isinf(before.loss):
                return after.cost
            share = (before.loss - loss) / (before.loss - after.loss)
            return math.exp((1 - share) * math.log(before.cost) + share * math.log(after.cost))
    return None


def frontier(points: Iterable[Point]) -> list[Point]:
    """Those that no other one beats in both loss and cost, the cheapest first."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost, one.loss)):
        if math.isfinite(point.loss) and (not kept or point.loss < kept[-1].loss):
            kept.append(point)
    return kept


def next_rate(losses: Mapping[float, float], start: float, most: int = 6) -> float | None:
    """The rate to try next, each twice or half another; None: the best lies between two that are worse.

    Args:
        losses: by the rates tried so far.
        start: the first one.
        most: so many rates at most.

    >>> next_rate({}, 0.01), next_rate({0.01: 2.0}, 0.01), next_rate({0.01: 2.0, 0.02: 2.1}, 0.01)
    (0.01, 0.02, 0.005)
    >>> next_rate({0.005: 2.2, 0.01: 2.0, 0.02: 2.1}, 0.01) is None
    True
    """
    if not losses:
        return start
    if len(losses) >= most:
        return None
    best = min(losses, key=lambda rate: losses[rate])
    return next((rate for rate in (2 * best, best / 2) if rate not in losses), None)
