"""The price of speed and the price of sparsity; write ``docs/speed.md``, its pictures and its figures.

    python benchmarks/speed.py --data runs/demo/data --part time         four minutes of a quiet core
    python benchmarks/speed.py --data runs/demo/data --part wide         three hours of one core
    python benchmarks/speed.py --data runs/demo/data --part demo         twenty minutes
    python benchmarks/speed.py --data runs/demo/data --part circuits     twenty minutes
    python benchmarks/speed.py --data runs/demo/data --part dense        half an hour
    python benchmarks/speed.py --data runs/demo/data --part dense_wide   a quarter of an hour
    python benchmarks/speed.py --part page                               only writes, from what there is

``time`` times steps and writes ``docs/results/speed_time.json``, which all others read; it wants a machine
that does nothing else. The others train, each model in a folder of its own, and go on where they stopped.
Without ``--part`` all are done in this order.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import speed_circuits, speed_dense, speed_panels, speed_time, speed_trials
from benchmarks.report import commit, fill, machine, save, source
from benchmarks.speed_known import Known
from benchmarks.speed_plan import FULL, Plan
from benchmarks.speed_price import Costs, Price
from benchmarks.speed_report import figures
from benchmarks.speed_tables import blocks
from benchmarks.speed_trials import EXACT, Scale, Trial
from sparsecircuits.data import build_corpus
from sparsecircuits.ops.memory import keep_freed_memory
from sparsecircuits.presets import demo
from sparsecircuits.viz.speed_charts import arms_figure, price_figure
from sparsecircuits.viz.style import save_chart

SCRIPT = "benchmarks/speed.py"
TIMES, RESULT = Path("docs/results/speed_time.json"), Path("docs/results/speed.json")
PAGE = Path("docs/speed.md")
PICTURE, PRICE_PICTURE = Path("docs/images/speed.png"), Path("docs/images/speed_price.png")
PARTS = ("time", "wide", "demo", "circuits", "dense", "dense_wide", "page")


def main() -> None:
    """Do the parts asked for."""
    parser = _arguments()
    options = parser.parse_args()
    if options.arms is not None and "page" in options.part:
        parser.error("--arms: the page is of all arms; name other parts")
    torch.set_num_threads(1)
    keep_freed_memory()
    plan = FULL if options.arms is None else FULL.only(options.arms)
    run(plan, options.part, options.data, options.runs, options.exact, options.workers)


def run(
    plan: Plan, parts: Sequence[str], data: Path | None, runs: Path, exact: Path | None, workers: int
) -> None:
    """Do some parts of a plan, in the order of :data:`PARTS`."""
    needs_corpus = {"wide", "demo", "circuits", "dense", "dense_wide"} & set(parts)
    corpus = (data or build_corpus(demo().data, runs / "data").folder) if needs_corpus else runs
    for part in (one for one in PARTS if one in parts):
        match part:
            case "time":
                write_times(plan)
            case "wide":
                train_wide(plan, corpus, runs, workers)
            case "demo":
                train_small(plan, corpus, runs, workers, exact)
            case "circuits":
                prune(plan, runs)
            case "dense":
                train_dense(plan, plan.small, corpus, runs, workers)
            case "dense_wide":
                train_dense(plan, plan.wide(plan.rates[0]), corpus, runs, workers)
            case _:
                write(gathered(plan, runs))


# --- Parts ---


def write_times(plan: Plan) -> None:
    """Time all steps."""
    found = {"commit": commit(), "machine": machine(), **speed_time.measure(plan.times)}
    TIMES.parent.mkdir(parents=True, exist_ok=True)
    TIMES.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def times() -> dict[str, Any] | None:
    """What the part ``time`` wrote, if it did."""
    return json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.is_file() else None


def planned(scale: Scale, runs: Path) -> list[Trial]:
    """All trials of a scale's arms that can be told now: those at equal time want times."""
    found = times()
    profile = None if found is None else speed_time.Profile.from_json(found["profiles"][scale.name])
    return list(speed_trials.trials(scale, profile, runs))


def train_wide(plan: Plan, corpus: Path, runs: Path, workers: int) -> None:
    """The wide model: its rate, then all arms at it."""
    looks = speed_trials.looks(plan.wide, plan.rates, plan.look_steps)
    speed_trials.train_all(looks, corpus, runs, workers)
    scale = wide_scale(plan, runs)
    assert scale is not None
    speed_trials.train_all(planned(scale, runs), corpus, runs, workers)


def wide_scale(plan: Plan, runs: Path) -> Scale | None:
    """The wide model at the rate that was chosen; None before that."""
    looks = speed_trials.looks(plan.wide, plan.rates, plan.look_steps)
    rate = speed_trials.chosen_rate(looks, speed_trials.collected(looks, runs))
    return None if rate is None else plan.wide(rate)


def train_small(plan: Plan, corpus: Path, runs: Path, workers: int, exact: Path | None) -> None:
    """The small model; its exact ones are taken from ``exact``/seed0 and so on, if given."""
    wanted = planned(plan.small, runs)
    for trial in wanted:
        if exact is not None and trial.config.train.dense_every == 1:
            speed_trials.take(exact / f"seed{trial.config.train.seed}", trial, corpus, runs)
    speed_trials.train_all(wanted, corpus, runs, workers)


def prune(plan: Plan, runs: Path) -> None:
    """The small model's circuits, arm by arm in the order in which they were trained."""
    done = speed_trials.collected(planned(plan.small, runs), runs)
    for name in (one for one in done if done[one]["error"] is None):
        speed_circuits.prune(runs / name, plan.prune, plan.tasks)


def train_dense(plan: Plan, scale: Scale, corpus: Path, runs: Path, workers: int) -> None:
    """Shorter sparse trainings of one of the models, and the dense ones that it is held against."""
    sweep = plan.sweeps[scale.name]
    speed_trials.train_all(list(speed_dense.sparse_trials(scale, sweep)), corpus, runs, workers)
    speed_dense.train_dense(scale.name, sweep, corpus, runs)


# --- What there is, and the page ---


def gathered(plan: Plan, runs: Path) -> Known:
    """Everything that was measured so far."""
    wide = wide_scale(plan, runs)
    scales = {scale.name: scale for scale in (wide, plan.small) if scale is not None}
    trials = {name: planned(scale, runs) for name, scale in scales.items()}
    more = {name: list(speed_dense.sparse_trials(scale, plan.sweeps[name])) for name, scale in scales.items()}
    everything = [trial for one in (*trials.values(), *more.values()) for trial in one]
    found = speed_trials.collected(everything, runs)
    sizes = {
        arm.name: {seed: speed_circuits.sizes_of(runs / plan.small.name / arm.name / f"seed{seed}")
                   for seed in speed_trials.SEEDS}
        for arm in plan.small.arms
    }  # fmt: skip
    sizes = {arm: {seed: one for seed, one in by_seed.items() if one} for arm, by_seed in sizes.items()}
    known = Known(times(), scales, trials, found, sizes)
    if known.times is None:
        return known
    prices = {name: _price(plan, known, name, more[name], runs) for name in scales}
    return Known(
        known.times, scales, trials, found, sizes, {k: v for k, v in prices.items() if v is not None}
    )


def _price(plan: Plan, known: Known, scale: str, shorter: Sequence[Trial], runs: Path) -> Price | None:
    """Sparse trainings (of an arm the mean of its seeds) and dense ones, with what each cost."""
    exact, profile = known.losses(scale, EXACT), known.profile(scale)
    assert known.times is not None
    assert profile is not None
    dense = speed_dense.dense_points(scale, plan.sweeps[scale], runs, known.times["dense"][scale])
    if not exact or not dense[0]:
        return None
    trained = []
    for arm in known.scales[scale].arms:
        losses = known.losses(scale, arm)
        config = next(
            (t.config for t in known.trials[scale] if t.name.startswith(f"{scale}/{arm.name}/")), None
        )
        if losses and config is not None and not arm.candidates:
            trained.append((config, statistics.fmean(losses.values())))
    for trial in shorter:
        if trial.name in known.found and known.found[trial.name]["error"] is None:
            trained.append((trial.config, known.found[trial.name]["val_loss"]))
    points = [
        speed_dense.sparse_point(speed_dense.curve_of(config), config, loss, profile)
        for config, loss in trained
    ]
    seconds, flops = zip(*points, strict=True)
    left = speed_dense.missing(scale, plan.sweeps[scale], runs)
    left += [trial.name for trial in (*known.trials[scale], *shorter) if trial.name not in known.found]
    ended = speed_dense.open_ended(scale, plan.sweeps[scale], runs)
    return Price(statistics.fmean(exact.values()), Costs(seconds, flops), Costs(*dense), len(left), ended)


def write(known: Known) -> None:
    """The figures, the page and its pictures."""
    rows = figures(known)
    taken = None if known.times is None else {key: known.times[key] for key in ("commit", "machine")}
    note = "figures without a value are of a GPU, and none was to be had"
    result = save(RESULT, f"python {SCRIPT}", rows, times=taken, note=note)
    block = f"{blocks(known, rows)}\n\n{source(result)}"
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), SCRIPT, block), encoding="utf-8")
    written = [RESULT, PAGE]
    if panels := speed_panels.of_arms(known):
        save_chart(arms_figure(panels), PICTURE)
        written.append(PICTURE)
    if panels := speed_panels.of_prices(known):
        save_chart(price_figure(panels), PRICE_PICTURE)
        written.append(PRICE_PICTURE)
    print(*written, sep="\n")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--part", nargs="+", choices=PARTS, default=PARTS, help="what to do; all if not given"
    )
    parser.add_argument("--data", type=Path, help="a corpus as the preset demo has it; else it is built")
    parser.add_argument("--runs", type=Path, default=Path("runs/speed"), help="where models go")
    parser.add_argument("--exact", type=Path, help="trained models of the preset demo: FOLDER/seed0 and on")
    parser.add_argument(
        "--arms", nargs="+", metavar="ARM", help="of wide, demo and circuits these: exact m10 …"
    )
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side, a core each")
    return parser


if __name__ == "__main__":
    main()
