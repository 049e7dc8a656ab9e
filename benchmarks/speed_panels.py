"""What the pictures of ``docs/speed.md`` are drawn from."""

from __future__ import annotations

from typing import Any

from benchmarks.speed_dense import RECIPES, curve_words
from benchmarks.speed_frontier import best_rates, frontier
from benchmarks.speed_known import TITLES, Known
from benchmarks.speed_trials import MAIN


def of_arms(known: Known) -> list[dict[str, Any]]:
    """What :func:`~sparsecircuits.viz.speed_charts.arms_figure` takes; none without times."""
    panels = []
    for name, scale in known.scales.items():
        rows = []
        for arm in scale.arms:
            losses, seconds = known.losses(name, arm), known.seconds(name, arm)
            ended = [loss for loss in losses.values() if loss != float("inf")]
            if ended and seconds is not None:
                rows.append({"name": arm.words, "equal": arm.equal, "seconds": seconds, "losses": ended})
        if rows:
            panels.append({"title": TITLES[name].replace("`", ""), "rows": rows})
    return panels


def of_prices(known: Known) -> list[dict[str, Any]]:
    """What :func:`~sparsecircuits.viz.speed_charts.price_figure` takes: each scale by seconds.

    Of sparse models the exact and the main amortised step, with annealing and without.
    """
    curves = [f"{recipe}_m{every}" for recipe in RECIPES for every in (1, MAIN)]
    panels = []
    for name, price in known.prices.items():
        sparse: dict[str, list[tuple[float, float]]] = {}
        for curve in curves:
            points = [point for point in price.sparse.seconds if point.curve == curve]
            if points:
                sparse[curve_words(curve)] = sorted((point.cost, point.loss) for point in points)
        best = [point for rows in best_rates(price.dense.seconds).values() for point in rows]
        panels.append(
            {
                "title": TITLES[name].replace("`", ""),
                "unit": "seconds of one core",
                "sparse": sparse,
                "dense": [(point.cost, point.loss) for point in best if point.loss != float("inf")],
                "frontier": [(point.cost, point.loss) for point in frontier(best)],
            }
        )
    return panels
