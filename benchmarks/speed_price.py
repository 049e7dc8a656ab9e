"""How many times as much a loss costs a sparse model as a dense one: rows, and the table of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.report import figure, markdown, number
from benchmarks.speed_dense import curve_words
from benchmarks.speed_frontier import Least, Point, least

#: What the paper says of compute at equal loss.
PAPER = "100–1000×"
GOAL = 10.0


class Costs(NamedTuple):
    """The same trainings, by seconds and by FLOPs, in the same order."""

    seconds: Sequence[Point]
    flops: Sequence[Point]


@dataclass(frozen=True)
class Price:
    """Everything of one scale."""

    target: float
    """The loss of its exact model, the mean over seeds."""
    sparse: Costs
    dense: Costs
    missing: int = 0
    """Trainings and searches that are not at their end."""
    open_ended: int = 0
    """Searches that ended, after the most tries, with the best rate the largest or the smallest of all."""


class Row(NamedTuple):
    """One sparse training, and the cheapest dense one of its loss."""

    sparse: Point
    flops: float
    seconds: Least
    """Of dense models."""
    least_flops: Least

    @property
    def time_ratio(self) -> float:
        """Sparse over dense, in seconds."""
        return self.sparse.cost / self.seconds.cost

    @property
    def flop_ratio(self) -> float:
        """Sparse over dense, in FLOPs."""
        return self.flops / self.least_flops.cost


def rows(price: Price) -> list[Row]:
    """Of every sparse training whose loss a dense one reaches, curve by curve, the longest first."""
    found = []
    for point, by_flops in zip(price.sparse.seconds, price.sparse.flops, strict=True):
        seconds, flops = least(price.dense.seconds, point.loss), least(price.dense.flops, point.loss)
        if seconds is not None and flops is not None:
            found.append(Row(point, by_flops.cost, seconds, flops))
    order = {curve: number for number, curve in enumerate(dict.fromkeys(row.sparse.curve for row in found))}
    return sorted(found, key=lambda row: (order[row.sparse.curve], -row.sparse.steps))


class Both(NamedTuple):
    """The cheapest sparse and the cheapest dense way to one loss."""

    sparse: Least
    dense: Least

    @property
    def ratio(self) -> float:
        return self.sparse.cost / self.dense.cost


def both(sparse: Sequence[Point], dense: Sequence[Point], loss: float) -> Both | None:
    """None where either does not come down to it."""
    one, other = least(sparse, loss), least(dense, loss)
    return None if one is None or other is None else Both(one, other)


def price_rows(scale: str, price: Price) -> list[dict[str, Any]]:
    """Figures: the longest training of each curve, and the cheapest sparse way to the exact's loss."""
    found = []
    seen: set[str] = set()
    for row in rows(price):
        if row.sparse.curve not in seen:
            seen.add(row.sparse.curve)
            what = f"{scale}: sparse / dense at the loss of {curve_words(row.sparse.curve)}"
            found.append(figure(f"{what}, in seconds", row.time_ratio, None, "min"))
            found.append(figure(f"{what}, in FLOPs", row.flop_ratio, None, "min"))
    for unit, costs in (("seconds", "seconds"), ("FLOPs", "flops")):
        best = both(getattr(price.sparse, costs), getattr(price.dense, costs), price.target)
        if best is not None:
            goal = GOAL if unit == "seconds" else None
            what = (
                f"{scale}: wall clock for equal loss"
                if unit == "seconds"
                else f"{scale}: FLOPs for equal loss"
            )
            found.append(figure(f"{what}, the cheapest sparse / the cheapest dense", best.ratio, goal, "min"))
    return found


def price_table(price: Price) -> str:
    """Every sparse training beside the cheapest dense one of its loss; then the cheapest of both kinds."""
    heading = "sparse training|steps|loss|seconds|dense, seconds|sparse / dense|in FLOPs|dense model"
    lines: list[list[str]] = [[*heading.split("|")]]
    found = rows(price)
    for row in found:
        dense = row.seconds
        mark = " or less" if dense.first else ""
        lines.append(
            [
                *(curve_words(row.sparse.curve), str(row.sparse.steps), f"{row.sparse.loss:.4f}"),
                *(number(row.sparse.cost), number(dense.cost) + mark, f"{row.time_ratio:.1f}"),
                *(f"{row.flop_ratio:.1f}", curve_words(dense.curve)),
            ]
        )
    parts = [markdown(lines)] if found else []
    if (left := len(price.sparse.seconds) - len(found)) > 0:
        parts.append(f"The losses of {left} sparse trainings are reached by none of the dense ones.")
    if price.missing:
        parts.append(
            f"**Not complete**: {price.missing} trainings or searches for a rate are not at their end."
        )
    if price.open_ended:
        parts.append(
            f"{price.open_ended} searches for a dense model's rate used up their tries with the best rate "
            f"still at an end of those tried: such a model may be a little better than it is here."
        )
    best = both(price.sparse.seconds, price.dense.seconds, price.target)
    if best is not None:
        parts.append(_cheapest_words(best, price.target))
    return "\n\n".join(parts)


def _cheapest_words(best: Both, target: float) -> str:
    trained = best.dense.trained
    return (
        f"To the exact model's loss of {target:.4f}, the cheapest sparse way is "
        f"{curve_words(best.sparse.curve)}: {number(best.sparse.cost)} s. The cheapest dense one is a "
        f"{curve_words(best.dense.curve)}: {number(best.dense.cost)} s on the line between two lengths "
        f"(trained and at or below it: {curve_words(trained.curve)}, {trained.steps} steps at rate "
        f"{trained.lr:g}, {number(trained.cost)} s). That is {best.ratio:.1f} times as long; the paper "
        f"gives {PAPER} in compute, for models far larger."
    )
