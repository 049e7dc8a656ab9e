"""Where along its edge each printed weight stands, so that no two cover one another.

An edge is drawn as one cubic curve, vertical at both ends. Greedy and deterministic: edges in order of
size, each taking the first free place among a few along its curve, or the middle if none is free.
"""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]

_PLACES = (0.5, 0.36, 0.64, 0.26, 0.74, 0.16, 0.84)
_WIDTH, _HEIGHT = 36.0, 13.0  # of a printed weight such as "+1.07"


def on_curve(start: Point, end: Point, t: float) -> Point:
    """The point at ``t`` in [0, 1] of the curve from start to end.

    >>> on_curve((0, 0), (8, 8), 0.5)
    (4.0, 4.0)
    """
    (x0, y0), (x1, y1) = start, end
    middle = (y0 + y1) / 2
    a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
    return (a + b) * x0 + (c + d) * x1, a * y0 + (b + c) * middle + d * y1


def place_labels(curves: Sequence[tuple[Point, Point]], order: Sequence[int]) -> list[Point]:
    """One point for each curve; ``order`` says who chooses first."""
    places: dict[int, Point] = {}
    for i in order:
        options = [on_curve(*curves[i], t) for t in _PLACES]
        free = [p for p in options if not any(_covers(p, other) for other in places.values())]
        places[i] = (free or options)[0]
    return [places[i] for i in range(len(curves))]


def _covers(a: Point, b: Point) -> bool:
    return abs(a[0] - b[0]) < _WIDTH and abs(a[1] - b[1]) < _HEIGHT
