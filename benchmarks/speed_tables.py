"""The tables of ``docs/speed.md``; what is not measured yet is left out, and said to be missing."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report import goal_of, markdown, met, number
from benchmarks.speed_circuits import KINDS
from benchmarks.speed_known import TITLES, Known
from benchmarks.speed_price import price_table
from benchmarks.speed_report import step_ratios, step_words
from benchmarks.speed_trials import EXACT, Arm, Scale
from sparsecircuits.study.ablations import judge, seed_spread


def goals(rows: Sequence[Mapping[str, Any]]) -> str:
    """The figures that have a goal; what falls short in bold."""
    lines = [["what", "figure", "goal"]]
    for row in (one for one in rows if one["goal"] is not None):
        value = "no GPU was to be had" if row["value"] is None else number(row["value"])
        reached = row["value"] is None or met(row["value"], row["goal"], row["sense"])
        lines.append([row["name"], value if reached else f"**{value}**", goal_of(dict(row))])
    return markdown(lines)


def blocks(known: Known, rows: Sequence[Mapping[str, Any]]) -> str:
    """What stands between the page's markers, but for its source."""
    parts = ["### Against the goals", goals(rows)]
    if known.times is not None:
        parts += ["### A step", _step_table(known.times), _profile_table(known)]
    for name, scale in known.scales.items():
        if table := arms_table(known, scale):
            parts += [f"### Loss, {TITLES[name]}", table]
    if known.pruned:
        parts += ["### Circuits, the preset `demo`", _circuit_table(known)]
    for name, price in known.prices.items():
        parts += [f"### The price of sparsity, {TITLES[name]}", price_table(price)]
    if missing := missing_words(known):
        parts.append(missing)
    return "\n\n".join(parts)


def missing_words(known: Known) -> str:
    """What is planned and not there."""
    lines = [] if known.times is not None else ["**No times yet**: `--part time` was not run."]
    for scale, title in TITLES.items():
        if scale not in known.trials:
            lines.append(f"**Not there yet**: every training of the model of {title} (`--part {scale}`).")
        if scale not in known.prices:
            lines.append(f"**Not there yet**: the price of sparsity, {title}.")
    for scale, trials in known.trials.items():
        missing = [trial.name for trial in trials if trial.name not in known.found]
        if missing:
            lines.append(
                f"**Not complete**: {len(missing)} of {len(trials)} trainings of `{scale}` are missing."
            )
    return "\n\n".join(lines)


def _step_table(times: Mapping[str, Any]) -> str:
    goal = times["goal"]
    shape, taken, ratios = goal["shape"], goal["ms"], step_ratios(goal)
    lines = [["step", "ms", "naive / it", "lowest round", "highest"]]
    for name, found in taken.items():
        pairs = [a / b for a, b in zip(taken["naive"], found, strict=True)]
        of = "" if name == "naive" else f"{ratios[name]:.2f}"
        ends = ["", ""] if name == "naive" else [f"{min(pairs):.2f}", f"{max(pairs):.2f}"]
        lines.append([step_words(name), number(statistics.median(found)), of, *ends])
    words = (
        f"Width {shape['width']}, {shape['layers']} layers, {shape['batch']} × {shape['context']} tokens, "
        f"vocabulary {shape['vocab']}, {100 * shape['density']:g}% kept, one thread; mean over a whole cycle "
        f"of M steps, median of {len(taken['naive'])} rounds in which all kinds take their turn. "
        f"Taken at commit `{times['commit'][:7]}`; {times['machine']}."
    )
    return f"{words}\n\n{markdown(lines)}"


def _profile_table(known: Known) -> str:
    lines = [["model", "density", "exact, ms", "dense step of M, ms", "step between, ms"]]
    for name in known.scales:
        profile = known.profile(name)
        assert profile is not None
        rows = zip(profile.densities, profile.exact, profile.dense, profile.between, strict=True)
        lines += [[TITLES[name], f"{100 * row[0]:.3g}%", *map(number, row[1:])] for row in rows]
    words = "The times that a training's seconds are added up from, by the share of weights that are left:"
    return f"{words}\n\n{markdown(lines)}"


def arms_table(known: Known, scale: Scale) -> str:
    """Losses of all arms by seed, and what they amount to; empty before the exact step's are there."""
    exact = known.losses(scale.name, EXACT)
    if not exact:
        return ""
    spread = seed_spread(known.losses(scale.name, arm) for arm in scale.arms)
    seeds = sorted({seed for arm in scale.arms for seed in known.losses(scale.name, arm)})
    lines = [["step", "equal", "steps", "seconds", *(f"seed {seed}" for seed in seeds)]]
    lines[0] += ["mean", "to exact", "is", "dead"]
    for arm in scale.arms:
        losses = known.losses(scale.name, arm)
        if not losses:
            continue
        recipe, seconds = known.recipe(scale.name, arm), known.seconds(scale.name, arm)
        assert recipe is not None
        mean = statistics.fmean(losses.values())
        verdict = judge(losses, exact, spread, None)
        told = ["", ""] if arm == EXACT else [_signed(verdict.mean), verdict.outcome or "–"]
        cells = [_loss(losses.get(seed)) for seed in seeds]
        lines.append(
            [
                *(arm.words, "" if arm == EXACT else arm.equal, str(recipe.steps)),
                "–" if seconds is None else f"{seconds:.0f}",
                *cells,
                *(_loss(mean), *told, _dead(known, scale.name, arm)),
            ]
        )
    words = "" if spread is None else (
        f"Spread of seeds within a row, pooled: {spread:.4f} nats. *Worse* or *better* is a difference to "
        f"the exact step's mean of more than two standard errors; with fewer than two seeds none.\n\n"
    )  # fmt: skip
    return words + markdown(lines, words=2)


def _loss(value: float | None) -> str:
    return "–" if value is None else "diverged" if value == float("inf") else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}".replace("-", "−")


def _dead(known: Known, scale: str, arm: Arm) -> str:
    rows = [row for row in known.rows_of(scale, arm).values() if not row["error"]]
    return f"{statistics.fmean(row['dead'] / row['neurons'] for row in rows):.0%}" if rows else "–"


def _circuit_table(known: Known) -> str:
    lines = [
        ["step", "edges", "exact's", "ratio", "95%", "nodes", "exact's", "ratio", "95%", "pairs", "left out"]
    ]
    for arm in known.pruned:
        both = [known.ratio(arm, kind) for kind in KINDS]
        cells: list[str] = []
        for found in both:
            if found is not None:
                low, high = found.interval
                cells += [
                    number(found.mine),
                    number(found.theirs),
                    f"{found.value:.2f}",
                    f"{low:.2f} to {high:.2f}",
                ]
        if both[0] is not None:
            lines.append([arm.words, *cells, str(both[0].pairs), str(both[0].left_out)])
    words = (
        "Geometric means over pairs of the same task and seed; a circuit that misses its target, or a task "
        "that a model does not do, is left out. The interval is a bootstrap over tasks."
    )
    return f"{words}\n\n{markdown(lines)}"
