"""Numbers as they stand in the page's document: short, and still what a person would read off."""

from __future__ import annotations

from torch import Tensor


def brief(value: float, digits: int = 3) -> float | int:
    """So many significant digits; whole numbers without their point, since most are zero.

    >>> brief(0.0), brief(-1.23456), brief(0.000123456), brief(250.4)
    (0, -1.23, 0.000123, 250)
    """
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short


def briefs(values: Tensor) -> list[float | int]:
    """:func:`brief` of each."""
    return [brief(value) for value in values.tolist()]
