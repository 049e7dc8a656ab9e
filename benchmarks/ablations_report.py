"""From trained ablations to rows with a verdict each, and the tables of ``docs/ablations.md``.

Pure functions of what :func:`~sparsecircuits.study.ablations.run_trial` found, by name, seed and rate.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.report import figure, markdown, source
from sparsecircuits.presets import ABLATIONS, BASELINE, Ablation
from sparsecircuits.study.ablations import Verdict, differences, judge, seed_spread

#: The seed that other rates were tried with.
RATE_SEED = 0
#: The ablation that divides gradients by their RMS where it exceeds 1, and the one that never does.
CLIP, UNCLIPPED = "grad_clip", "grad_none"
#: How often a difference that is none lies beyond two standard errors.
CHANCE = math.erfc(math.sqrt(2))


class Key(NamedTuple):
    """Which model."""

    name: str
    seed: int
    rate: float = 1.0


Found = Mapping[Key, Mapping[str, Any]]
"""The figures of each trained model."""


def losses(found: Found, name: str) -> dict[int, float]:
    """Validation loss by seed, at the preset's own rate; infinite where training diverged."""
    return {key.seed: _loss(row) for key, row in found.items() if (key.name, key.rate) == (name, 1.0)}


def losses_by_rate(found: Found, entry: Ablation) -> dict[float, float]:
    """Loss of the first seed by rate, as far as trained, if there are others than 1."""
    keys = {rate: Key(entry.name, RATE_SEED, rate) for rate in sorted((1.0, *entry.rates))}
    return {rate: _loss(found[key]) for rate, key in keys.items() if entry.rates and key in found}


def _loss(row: Mapping[str, Any]) -> float:
    return math.inf if row["error"] else row["val_loss"]


def deviation(found: Found) -> float | None:
    """Standard deviation of the loss between seeds, pooled over all settings with two seeds or more."""
    return seed_spread(losses(found, entry.name) for entry in (BASELINE, *ABLATIONS))


def rows(found: Found) -> list[dict[str, Any]]:
    """A row for each ablation that was trained, in their order; plain data."""
    spread = deviation(found)
    return [_row(found, entry, spread) for entry in ABLATIONS if losses(found, entry.name)]


def _row(found: Found, entry: Ablation, spread: float | None) -> dict[str, Any]:
    against = entry.against or BASELINE.name
    mine = losses(found, entry.name)
    theirs = losses(found, against)
    by_seed = differences(mine, theirs)
    verdict = judge(mine, theirs, spread, entry.expected)
    models = [found[Key(entry.name, seed)] for seed in mine]
    return {
        "name": entry.name,
        "about": entry.about,
        "source": entry.source,
        "found": entry.found,
        "expected": entry.expected,
        "against": against,
        "losses": {str(seed): _finite(loss) for seed, loss in mine.items()},
        "differences": {str(seed): _finite(value) for seed, value in by_seed.items()},
        "from_baseline": _from_baseline(mine, losses(found, BASELINE.name), spread),
        **_told(verdict),
        "at_best_rate": _best(found, entry, against),
        "dead_share": _mean(row["dead"] / row["neurons"] for row in models if not row["error"]),
        "tasks_done": _mean(row["tasks_done"] for row in models if not row["error"]),
        "nonzero": _mean(row["nonzero"] for row in models if not row["error"]),
        "errors": [row["error"] for row in models if row["error"]],
    }


def _from_baseline(mine: dict[int, float], base: dict[int, float], spread: float | None) -> dict[str, Any]:
    by_seed = differences(mine, base)
    verdict = judge(mine, base, spread, None)
    finite = {str(seed): _finite(value) for seed, value in by_seed.items()}
    return {"by_seed": finite, "mean": _finite(verdict.mean), "outcome": verdict.outcome}


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "mean": _finite(verdict.mean),
        "seeds": verdict.seeds,
        "error": verdict.error,
        "outcome": verdict.outcome,
        "holds": verdict.holds,
    }


def _best(found: Found, entry: Ablation, against: str) -> dict[str, Any] | None:
    """The difference at the best of the rates tried on each side, where all were; one seed, not judged."""
    reference = next(other for other in (BASELINE, *ABLATIONS) if other.name == against)
    mine, theirs = losses_by_rate(found, entry), losses_by_rate(found, reference)
    if len(mine) < 1 + len(entry.rates) or not mine or len(theirs) < 1 + len(reference.rates):
        return None
    best = min(mine, key=lambda rate: mine[rate])
    by_rate = {f"{rate:.3g}": _finite(loss) for rate, loss in mine.items()}
    return {"rate": best, "losses": by_rate, "mean": _finite(mine[best] - min(theirs.values()))}


def rate_lines(found: Found) -> list[dict[str, Any]]:
    """For the picture: the baseline and each ablation with more than one rate trained."""
    lines = [(entry.name, losses_by_rate(found, entry)) for entry in (BASELINE, *ABLATIONS)]
    return [
        {"name": name, "by_rate": {rate: _finite(loss) for rate, loss in by_rate.items()}}
        for name, by_rate in lines
        if len(by_rate) > 1
    ]


def _finite(value: float | None) -> float | None:
    """JSON has no infinity: what diverged has no number."""
    return value if value is not None and math.isfinite(value) else None


def _mean(values: Any) -> float | None:
    known = list(values)
    return statistics.fmean(known) if known else None


def clipped(found: Found, logged: Mapping[Key, Sequence[float]]) -> dict[str, Any] | None:
    """Whether the clip ever acts: the largest RMS that was logged, and whether losses differ by it."""
    sizes = {key: max(values) for key, values in logged.items() if values}
    if not sizes:
        return None
    pairs = [(key, key._replace(name=UNCLIPPED)) for key in sizes if key._replace(name=UNCLIPPED) in found]
    return {
        "largest": max(sizes.values()),
        "steps": sum(len(logged[key]) for key in sizes),
        "above": sum(size > 1 for key in sizes for size in logged[key]),
        "models": len(sizes),
        "pairs": len(pairs),
        "equal": sum(_loss(found[one]) == _loss(found[other]) for one, other in pairs),
    }


def figures(found: Found, planned: Sequence[Key]) -> list[dict[str, Any]]:
    """The rows of ``docs/results/ablations.json``: what was trained, what holds, and each difference."""
    table = rows(found)
    judged = [row for row in table if row["holds"] is not None]
    told = [
        figure("models trained", sum(key in found for key in planned), len(planned), "max"),
        figure("findings judged", len(judged), sum(e.expected is not None for e in ABLATIONS), "max"),
        figure("findings that hold", sum(row["holds"] == "yes" for row in judged), None, "max"),
    ]
    for row in table:
        if (mean := row["from_baseline"]["mean"]) is not None:
            told.append(figure(f"{row['name']}: loss minus baseline", mean, None, "min"))
    return told


def tables(result: Mapping[str, Any]) -> str:
    """What stands between the markers."""
    table = result["rows"]
    spread = result["deviation"]
    parts = [source(dict(result)), _state(result)]
    base = ", ".join(f"{loss:.4f}" for loss in result["baseline"]["losses"].values())
    parts.append(
        f"Baseline (`demo`): {base} nats a token; {result['baseline']['dead_share']:.0%} of neurons dead, "
        f"{result['baseline']['tasks_done']:.1f} of twenty tasks done."
    )
    if spread is not None:
        judged = sum(row["outcome"] is not None for row in table)
        parts.append(
            f"Spread of seeds within a setting: {spread:.4f} nats; of two seeds against the baseline's "
            f"{len(result['baseline']['losses'])}, a difference beyond {band(result):.4f} counts as worse or "
            f"better. By chance alone {judged * CHANCE:.1f} of {judged} judged rows would do so."
        )
    parts += ["### Findings", _table([row for row in table if row["expected"]], judged=True)]
    parts += ["### Where no finding is known here", _table([row for row in table if not row["expected"]])]
    if clip := result.get("clip"):
        parts.append(_clip_line(clip))
    rates = [row for row in (result["baseline"], *table) if row["at_best_rate"]]
    if rates:
        parts += ["### At other learning rates", _RATES, _rate_table(rates)]
    return "\n\n".join(parts)


def _clip_line(clip: Mapping[str, Any]) -> str:
    """Whether the clip acts, in words."""
    acts = f"in {clip['above']} of them" if clip["above"] else "in none of them: the clip never acts there"
    same = (
        f" Of {clip['pairs']} pairs of one seed and rate {clip['equal']} end at exactly `{UNCLIPPED}`'s loss."
    )
    return (
        f"`{CLIP}` divides gradients by their RMS where that exceeds 1. In {clip['steps']:,} logged steps of "
        f"{clip['models']} trainings it is {clip['largest']:.2g} at most, and above 1 {acts}.{same}"
    )


def band(result: Mapping[str, Any]) -> float:
    """Two standard errors of a difference between two seeds of a change and all of the baseline's."""
    return 2 * result["deviation"] * math.sqrt(1 / 2 + 1 / len(result["baseline"]["losses"]))


_RATES = (
    "![Loss against the learning rate](images/ablations_rates.png)\n\n"
    "Seed 0. A cell is the loss at that factor of the rate of `demo`; the difference is between the best of "
    "the row and the best of what it is compared with. It is of one seed, and so not judged."
)


_FINDINGS = {
    "yes": ("holds here", "hold here"),
    "opposite": ("is the other way round", "are the other way round"),
    "not seen": ("is not seen", "are not seen"),
    "no": ("does not hold", "do not hold"),
    "undecided": ("stays undecided", "stay undecided"),
}


def _state(result: Mapping[str, Any]) -> str:
    judged = [row for row in result["rows"] if row["holds"] is not None]
    words = "No finding is judged yet, for want of a second seed."
    if judged:
        parts = []
        for finding, told in _FINDINGS.items():
            names = [f"`{row['name']}`" for row in judged if row["holds"] == finding]
            if names:
                one_or_many = told[min(len(names), 2) - 1]
                parts.append(
                    f"{len(names)} {one_or_many}" + (f" ({', '.join(names)})" if finding != "yes" else "")
                )
        words = f"Of {len(judged)} findings {', '.join(parts)}."
    missing = result["missing"]
    if missing:
        words += f" **Not complete**: {len(missing)} of {result['planned']} models are not trained yet."
    return words


def _table(table: Sequence[Mapping[str, Any]], *, judged: bool = False) -> str:
    head = ["ablation", "figure", "changed", "the paper found", "seed 0", "seed 1", "mean", "is"]
    head += ["holds here", "dead", "tasks"] if judged else ["dead", "tasks"]
    lines = [head]
    for row in table:
        cells = [f"`{row['name']}`", row["source"], row["about"], row["found"]]
        if row["against"] != BASELINE.name:
            cells[0] += f" minus `{row['against']}`"
        cells += [_cell(row, seed) for seed in ("0", "1")]
        cells += [_signed(row["mean"]), row["outcome"] or "–"]
        if judged:
            cells.append(row["holds"] or "–")
        cells += [_share(row["dead_share"]), "–" if row["tasks_done"] is None else f"{row['tasks_done']:.1f}"]
        lines.append(cells)
    return markdown(lines, words=4)


def _cell(row: Mapping[str, Any], seed: str) -> str:
    if seed not in row["losses"]:
        return "–"
    return "diverged" if row["losses"][seed] is None else _signed(row["differences"].get(seed))


def _rate_table(table: Sequence[Mapping[str, Any]]) -> str:
    factors = sorted({rate for row in table for rate in row["at_best_rate"]["losses"]}, key=float)
    lines = [["ablation", *[f"× {rate}" for rate in factors], "best minus best"]]
    for row in table:
        best = row["at_best_rate"]
        cells = [_at_rate(best["losses"], rate) for rate in factors]
        plain = row["name"] == BASELINE.name
        lines.append([f"`{row['name']}`", *cells, "" if plain else _signed(best["mean"])])
    return markdown(lines)


def _at_rate(known: Mapping[str, float | None], rate: str) -> str:
    if rate not in known:
        return ""
    loss = known[rate]
    return "diverged" if loss is None else f"{loss:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def baseline(found: Found) -> dict[str, Any]:
    """The baseline's own row; its differences are 0."""
    return _row(found, BASELINE, deviation(found))
