"""Boxes, curves and words on a sheet measured in pixels: what the drawings of circuits are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from sparsecircuits.viz.style import NEGATIVE, POSITIVE, SANS

Point = tuple[float, float]
#: Pixels of the sheet per inch.
DPI = 100
#: matplotlib measures lines and type in points, the sheet is in pixels.
POINT = 72 / DPI


def sheet(width: float, height: float, *, downward: bool = False) -> tuple[Figure, Any]:
    """A figure of so many pixels, and axes that cover it, y upward or downward."""
    figure = Figure(figsize=(width / DPI, height / DPI))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, width)
    axes.set_ylim(*((height, 0) if downward else (0, height)))
    axes.set_axis_off()
    return figure, axes


def draw_curve(
    axes: Any,
    points: Sequence[Point],
    colour: str,
    width: float,
    *,
    alpha: float = 1.0,
    dashes: tuple[float, float] | None = None,
) -> None:
    """Through all points, vertical at each."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        middle = (y0 + y1) / 2
        vertices += [(x0, middle), (x1, middle), (x1, y1)]
        codes += [Curve.CURVE4] * 3
    _draw_path(axes, Curve(vertices, codes), colour, width, alpha, dashes)


def draw_bracket(
    axes: Any,
    points: Sequence[Point],
    colour: str,
    width: float,
    *,
    radius: float = 7.0,
    dashes: tuple[float, float] | None = None,
) -> None:
    """Straight from point to point, with round corners."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        vertices += [_towards(corner, before, radius), corner, _towards(corner, after, radius)]
        codes += [Curve.LINETO, Curve.CURVE3, Curve.CURVE3]
    path = Curve([*vertices, points[-1]], [*codes, Curve.LINETO])
    _draw_path(axes, path, colour, width, 1.0, dashes)


def draw_arc(axes: Any, start: Point, end: Point, depth: float, colour: str, width: float) -> None:
    """A hanging arc between two points of one row."""
    (x0, y0), (x1, y1) = start, end
    codes = [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
    arc = Curve([(x0, y0), (x0, y0 + depth), (x1, y1 + depth), (x1, y1)], codes)
    _draw_path(axes, arc, colour, width, 1.0, None)


def draw_box(
    axes: Any, x: float, y: float, width: float, height: float, radius: float, face: str, edge: str,
    line: float = 0.0, alpha: float = 1.0,
) -> None:  # fmt: skip
    """A box with round corners; x and y are the corner of the smallest coordinates."""
    style = f"round,pad=0,rounding_size={min(radius, width / 2, height / 2)}"
    look = {"facecolor": face, "edgecolor": edge, "lw": line * POINT, "alpha": alpha}
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, **look))


def draw_text(
    axes: Any, x: float, y: float, text: str, pixels: float, colour: str, *,
    ha: str = "center", weight: str = "normal", family: str = SANS,
) -> None:  # fmt: skip
    """One line of words, centred on y; a dollar sign in it is a dollar sign."""
    axes.text(x, y, text, size=pixels * POINT, color=colour, ha=ha, va="center_baseline", weight=weight,
              family=family, parse_math=False)  # fmt: skip


def sign_colour(number: float) -> str:
    """Blue or orange."""
    return NEGATIVE if number < 0 else POSITIVE


def sign_dashes(number: float, width: float) -> tuple[float, float] | None:
    """Dashes for what is negative, of the same length at every line width."""
    # matplotlib counts dashes in line widths, the sheet is in pixels.
    return (7 / width, 4 / width) if number < 0 else None


def signed(number: float, digits: int = 2) -> str:
    """With a sign, a proper minus; below 0.01 two significant digits.

    >>> signed(-0.251), signed(3), signed(-0.00251), signed(0)
    ('−0.25', '+3.00', '−0.0025', '+0.00')
    """
    return _short(number, digits, "+")


def unsigned(number: float, digits: int = 2) -> str:
    """The same without a plus.

    >>> unsigned(12.3), unsigned(-0.00251), unsigned(0.0000042)
    ('12.30', '−0.0025', '4.2e−06')
    """
    return _short(number, digits, "")


def _short(number: float, digits: int, sign: str) -> str:
    small = 0 < abs(number) < 0.01
    return f"{number:{sign}{'#.2g' if small else f'z.{digits}f'}}".replace("-", "−")


def _draw_path(
    axes: Any, path: Curve, colour: str, width: float, alpha: float, dashes: tuple[float, float] | None
) -> None:
    style = (0, dashes) if dashes else "solid"
    axes.add_patch(
        PathPatch(path, fill=False, edgecolor=colour, lw=width * POINT, alpha=alpha, linestyle=style)
    )


def _towards(start: Point, end: Point, distance: float) -> Point:
    length = abs(end[0] - start[0]) + abs(end[1] - start[1])  # all lines run along an axis
    share = min(0.5, distance / length) if length else 0.0
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
