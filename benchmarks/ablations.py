"""Train the paper's ablations at the scale of ``demo``; write ``docs/ablations.md`` and its figures.

Every preset ``ablate/NAME`` with two seeds, and the preset ``demo`` with six, on one corpus, each as a run
in ``RUNS/NAME/seed0``; then, with seed 0, those that may alter the size of good steps at other rates
(``RUNS/NAME/seed0_x3``). What is done is not done again. A model takes about 80 seconds of one core::

    python benchmarks/ablations.py --data runs/demo/data

``--as-is`` trains nothing, writes the page from what there is, and says what is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import ablations_report as told
from benchmarks.ablations_report import CLIP, Found, Key
from benchmarks.report import fill, save
from sparsecircuits.data import build_corpus
from sparsecircuits.presets import ABLATIONS, BASELINE, Ablation, demo
from sparsecircuits.study.ablations import FIGURES, run_trial
from sparsecircuits.study.jobs import Job, run_jobs
from sparsecircuits.train.run import METRICS_FILE
from sparsecircuits.viz.ablation_charts import differences_figure, rates_figure
from sparsecircuits.viz.style import save_chart

SEEDS = (0, 1)
#: All rows are compared with the baseline, so it has more.
BASELINE_SEEDS = range(6)
SCRIPT = "benchmarks/ablations.py"
RESULT = Path("docs/results/ablations.json")
PAGE = Path("docs/ablations.md")
PICTURE, RATES_PICTURE = Path("docs/images/ablations.png"), Path("docs/images/ablations_rates.png")
#: The picture of rates ends so many nats above the baseline.
HIGHEST = 0.4


class Trial(NamedTuple):
    """One model to train."""

    entry: Ablation
    seed: int
    rate: float = 1.0

    @property
    def name(self) -> str:
        """Its folder, such as ``no_anneal/seed0_x3``."""
        rate = "" if self.rate == 1 else f"_x{self.rate:.3g}"
        return f"{self.entry.name}/seed{self.seed}{rate}"

    @property
    def key(self) -> Key:
        """What its figures go by."""
        return Key(self.entry.name, self.seed, self.rate)


def trials() -> Iterator[Trial]:
    """The baseline's seeds, all changes with the first seed, with the second, and then other rates."""
    yield from (Trial(BASELINE, seed) for seed in BASELINE_SEEDS)
    yield from (Trial(entry, seed) for seed in SEEDS for entry in ABLATIONS)
    yield from (Trial(entry, SEEDS[0], rate) for entry in (BASELINE, *ABLATIONS) for rate in entry.rates)


def main() -> None:
    """Train what is missing, and write the page."""
    options = _arguments().parse_args()
    planned = list(trials())
    if not options.as_is:
        wanted = [trial for trial in planned if trial.entry.name not in options.leave_out]
        train_all(wanted, options.data, options.runs, options.workers)
    if not options.train_only:
        write(collected(planned, options.runs), planned, options.runs)


def collected(planned: Sequence[Trial], runs: Path) -> Found:
    """The figures of all that is trained."""
    paths = {trial.key: runs / trial.name / FIGURES for trial in planned}
    return {
        key: json.loads(path.read_text(encoding="utf-8")) for key, path in paths.items() if path.is_file()
    }


def gradients(planned: Sequence[Trial], found: Found, runs: Path) -> dict[Key, list[float]]:
    """The logged RMS of the gradients of each training that clips them by it, as far as they are finite."""
    logged = {}
    for trial in planned:
        path = runs / trial.name / METRICS_FILE
        if trial.entry.name == CLIP and trial.key in found and path.is_file():
            rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            sizes = [row.get("grad_rms") for row in rows]
            logged[trial.key] = [size for size in sizes if isinstance(size, float)]
    return logged


def write(found: Found, planned: Sequence[Trial], runs: Path) -> None:
    """The figures, the page and its pictures."""
    if Key(BASELINE.name, SEEDS[0]) not in found:
        sys.exit("the baseline is not trained yet")
    rows, spread = told.rows(found), told.deviation(found)
    result = save(
        RESULT,
        f"python {SCRIPT}",
        told.figures(found, [trial.key for trial in planned]),
        planned=len(planned),
        missing=[trial.name for trial in planned if trial.key not in found],
        deviation=spread,
        baseline=told.baseline(found),
        rows=rows,
        clip=told.clipped(found, gradients(planned, found, runs)),
    )
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), SCRIPT, told.tables(result)), encoding="utf-8")
    dots = [{"name": row["name"], **row["from_baseline"]} for row in rows if row["from_baseline"]["by_seed"]]
    save_chart(differences_figure(dots, None if spread is None else told.band(result)), PICTURE)
    if lines := told.rate_lines(found):
        highest = found[Key(BASELINE.name, SEEDS[0])]["val_loss"] + HIGHEST
        save_chart(rates_figure(lines, highest), RATES_PICTURE)
    print(f"{len(found)} of {len(planned)} models", RESULT, PAGE, sep="\n")


def train_all(wanted: Sequence[Trial], data: Path | None, runs: Path, workers: int) -> None:
    """Train and measure what is missing."""
    corpus = data or build_corpus(demo().data, runs / "data").folder
    jobs = [_job(trial, corpus, runs) for trial in wanted]
    started, totals = time.monotonic(), {job.name: job.total for job in jobs}

    def watch(name: str, done: int, loss: float | None, tokens: int | None) -> None:
        if done == totals[name] and loss is None:
            print(f"{time.monotonic() - started:8.0f} s  {name}", flush=True)

    run_jobs(jobs, watch, workers)


def _job(trial: Trial, corpus: Path, runs: Path) -> Job:
    config = trial.entry.at_rate(trial.rate).run
    config = config.replace(train=config.train.replace(seed=trial.seed))
    arguments = {"config": config, "corpus": corpus, "folder": runs / trial.name}
    return Job(trial.name, run_trial, arguments, config.train.steps)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"), help="where models go")
    parser.add_argument("--data", type=Path, help="a corpus as the preset demo has it; else it is built")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side, a core each")
    parser.add_argument("--as-is", action="store_true", help="train nothing, write from what there is")
    parser.add_argument("--train-only", action="store_true", help="train, and write nothing")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="NAME", help="ablations not to train")
    return parser


if __name__ == "__main__":
    main()
