"""From times, trainings and circuits to the figures of ``docs/results/speed.json``.

Pure functions of :class:`~benchmarks.speed_known.Known`; whatever is not measured yet is left out.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.report import figure
from benchmarks.speed_circuits import KINDS
from benchmarks.speed_known import TITLES, Known
from benchmarks.speed_price import price_rows
from benchmarks.speed_trials import EXACT, JUDGED

#: What the rows about a GPU wait for: what, and its goal.
GPU = {
    "AbsTopK forward + backward: torch.topk / ours": 8.0,
    "projection: torch.topk / ours": 10.0,
    "exact step, width 2048: compiled naive step / ours": 1.5,
    "amortised step, width 2048: compiled naive step / ours": 2.0,
}


def figures(known: Known) -> list[dict[str, Any]]:
    """The rows of ``docs/results/speed.json``; those about a GPU have no value."""
    rows = [*_step_figures(known), *_loss_figures(known), *_circuit_figures(known)]
    for scale, price in known.prices.items():
        rows += price_rows(scale, price)
    return rows + [{"name": name, "value": None, "goal": goal, "sense": "max"} for name, goal in GPU.items()]


def _step_figures(known: Known) -> list[dict[str, Any]]:
    if known.times is None:
        return []
    rows = []
    for name, value in step_ratios(known.times["goal"]).items():
        goal = 7.0 if name == JUDGED.name else None
        rows.append(
            figure(f"step, width 1024, 2 layers, 0.5%: naive / {step_words(name)}", value, goal, "max")
        )
    return rows


def step_ratios(goal: Mapping[str, Any]) -> dict[str, float]:
    """How many times as long the naive step takes; the median over rounds."""
    taken = goal["ms"]
    return {
        name: statistics.median(a / b for a, b in zip(taken["naive"], times, strict=True))
        for name, times in taken.items()
        if name != "naive"
    }


def step_words(name: str) -> str:
    """For people.

    >>> step_words("m10"), step_words("m10_c1"), step_words("dense")
    ('amortised, M = 10', 'amortised, M = 10, candidates 1', 'plain dense GPT')
    """
    if name in ("exact", "dense", "naive"):
        return {"dense": "plain dense GPT"}.get(name, name)
    every, _, candidates = name.removeprefix("m").partition("_c")
    return f"amortised, M = {every}" + f", candidates {candidates}" * bool(candidates)


def _loss_figures(known: Known) -> list[dict[str, Any]]:
    rows = []
    for scale in known.scales.values():
        exact = known.losses(scale.name, EXACT)
        for arm in scale.arms:
            losses = known.losses(scale.name, arm)
            if arm == EXACT or not losses or not exact:
                continue
            value = statistics.fmean(losses.values()) / statistics.fmean(exact.values())
            if value == float("inf"):
                continue
            goal = 1.01 if arm == JUDGED else None
            what = f"{TITLES[scale.name].replace('`', '')}: loss of {arm.words} over exact, equal {arm.equal}"
            rows.append(figure(what, value, goal, "min"))
    return rows


def _circuit_figures(known: Known) -> list[dict[str, Any]]:
    rows = []
    for arm in known.pruned:
        for kind in KINDS:
            if (found := known.ratio(arm, kind)) is not None:
                goal = 1.1 if arm == JUDGED else None
                rows.append(figure(f"circuits: {kind} of {arm.words} over exact", found.value, goal, "min"))
    return rows
