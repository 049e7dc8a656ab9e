"""Measure what pruning promises; write ``docs/results/pruning.json`` and the tables of ``docs/pruning.md``.

Through the commands that users type. Takes ``runs/small`` as ``benchmarks/tasks.py`` leaves it, and trains
its dense twin. What is done already in ``runs/pruning`` is used as it is, so an interrupted call goes on;
from nothing it takes several hours on two cores::

    python benchmarks/pruning.py
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.bench import Bench
from benchmarks.pruning_report import (
    DENSE,
    LONG_SEARCH,
    SPARSE,
    TARGET,
    TARGETS,
    by_task,
    figures,
    python_tasks,
    summaries,
    tables,
)
from benchmarks.report import fill, save, short
from sparsecircuits.examples import example_folder
from sparsecircuits.ops.memory import keep_freed_memory
from sparsecircuits.prune import PruneConfig, Splits, pretraining_means
from sparsecircuits.prune.objective import Objective
from sparsecircuits.prune.optimise import MaskJob, optimise_masks
from sparsecircuits.tasks import get_task
from sparsecircuits.train import Run, load_run

SCRIPT = "benchmarks/pruning.py"
RESULT = Path("docs/results/pruning.json")
PAGE = Path("docs/pruning.md")

#: The dense twin: as many steps as give the sparse model's validation loss.
TWIN = (
    *("--preset", "small", "--set", "train.density=1", "--set", "train.embed_density=1"),
    *("--set", "train.lr=8e-3", "--set", "train.steps=7200"),
)
#: Prompts of at most so many tokens, which those of one task are longer than.
TOKENS, LONG = 32, {"class_init": 64}
FEWER = ("--set", "selection_pairs=128", "--set", "validation_pairs=128")
EDGES = ("--set", "edges=true")
FLAGS = ("--selection-pairs", "128", "--validation-pairs", "128")
TUNED = ("single_double_quote", "bracket_counting", "for_while", "set_or_string_fixedvarname")
#: Planted models: pruner -> seeds of eight; the baseline that learns longest gets fewer.
PLANTED = {"faithful": 8, "task": 8, "paper": 1, "attribution": 8, "random": 8}


def main() -> None:
    """Measure what is missing, and write the figures."""
    options = _arguments().parse_args()
    keep_freed_memory()
    bench = PruningBench(options.runs, options.workers, short=options.short, as_is=options.as_is)
    found = {name: step(bench) for name, step in STEPS.items() if not options.only or name in options.only}
    if options.only:
        return
    rows = figures(found)
    words = "".join(f" {word}" for word in ("--short", "--as-is") if word in sys.argv)
    result = save(RESULT, f"python {SCRIPT}{words}", rows, models=found.pop("twin"), **summaries(found))
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), SCRIPT, tables(result)), encoding="utf-8")
    print(short(result), RESULT, PAGE, sep="\n")


# --- What is measured ---


class PruningBench(Bench):
    """With studies over all tasks."""

    def __init__(self, runs: Path, workers: int, *, short: bool = False, as_is: bool = False) -> None:
        super().__init__(runs, "pruning", as_is=as_is)
        self.workers, self.short = workers, short

    def study(self, name: str, runs: Sequence[str], *words: object) -> list[dict[str, Any]]:
        """Rows of a fan-out over all twenty tasks, failed ones too."""
        rows = []
        for tokens in (TOKENS, *(() if self.short else LONG.values())):
            tasks = [task for task in python_tasks() if LONG.get(task, TOKENS) == tokens]
            folder = self.out / (name if tokens == TOKENS else f"{name}-{tokens}")
            chosen = [word for run in runs for word in ("--run", self.runs / run)]
            chosen += [word for task in tasks for word in ("--task", task)]
            chosen += ["--set", f"max_tokens={tokens}", *FEWER, *words, "--workers", self.workers]
            if not self.as_is:
                self.command("study", "prune", folder, *chosen, check=False)  # 1: some job has failed
            else:
                self.command("study", "status", folder, check=False)  # gathers the results
            rows += [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        return [{**row, "run": Path(row["run"]).name} for row in rows]


def twin(bench: PruningBench) -> dict[str, float]:
    """Validation losses of the sparse model and of its dense twin."""
    if not (bench.runs / DENSE / "result.json").is_file():
        bench.command("train", bench.runs / DENSE, *TWIN, "--data", bench.runs / SPARSE / "data")
    losses = {}
    for name in (SPARSE, DENSE):
        result = load_run(bench.runs / name).result()
        assert result is not None, f"{name} is not trained to its end"
        losses[name] = result["val_loss"]
    return losses


def planted(bench: PruningBench) -> dict[str, Any]:
    """Each pruner's means over the planted models, of all programs and levels."""

    def measure(pruner: str, seeds: int) -> dict[str, Any]:
        words = ("planted", "score", "--pruner", pruner, "--seeds", seeds, "--json")
        return json.loads(bench.command(*words))["means"][pruner]

    return {
        pruner: bench.once(f"planted-{pruner}", lambda p=pruner, n=seeds: measure(p, n))
        for pruner, seeds in PLANTED.items()
    }


def studies(bench: PruningBench) -> dict[str, list[dict[str, Any]]]:
    """``task`` and ``faithful`` in both models, ``paper`` in the sparse one; then single edges."""
    return {
        "task": bench.study("task", (SPARSE, DENSE), "--method", "task", *EDGES),
        "faithful": bench.study("faithful", (SPARSE, DENSE), "--method", "faithful", *EDGES),
        "paper": bench.study("paper", (SPARSE,), "--method", "paper", *EDGES),
    }


def complete(bench: PruningBench) -> list[dict[str, Any]]:
    """Complete circuits of every task."""
    rows = []
    for name in python_tasks():
        words = ("prune", bench.runs / SPARSE, name, "--complete", "--objective", "task", *FLAGS)
        words += ("--max-tokens", LONG.get(name, TOKENS))
        rows += json.loads(bench.command(*words, "--json", check=False))["tasks"]
    return rows


def curves(bench: PruningBench) -> list[dict[str, Any]]:
    """Circuit size by target loss, learned and by attribution; what is learned at TARGET is there already."""
    targets = [word for target in TARGETS for word in ("--target", target)]
    others = [word for target in TARGETS if target != TARGET for word in ("--target", target)]
    there = bench.study("task", (SPARSE, DENSE), "--method", "task", *EDGES)
    return [
        *bench.study("learned", (SPARSE,), "--method", "task", *others),
        *({**row, **row["before_edges"]} for row in by_task(there, SPARSE).values()),
        *bench.study("attribution", (SPARSE,), "--method", "attribution", *targets),
    ]


def tuning(bench: PruningBench) -> dict[str, Any]:
    """Edges of every pruning of both samplers, in order, for each tuned task."""
    tried = {}
    for sampler in ("tpe", "random"):
        run = bench.out / f"tuned-{sampler}"
        if not run.is_dir():
            shutil.copytree(
                bench.runs / SPARSE, run, ignore=shutil.ignore_patterns("circuits", "checkpoints")
            )
        for name in TUNED:
            words = ("prune", run, name, "--tune", LONG_SEARCH, "--sampler", sampler, "--objective", "task")
            words += ("--max-tokens", TOKENS, *FLAGS)
            row = json.loads(bench.command(*words, "--json"))["tasks"][0]
            trials = [trial["edges"] if trial["met"] else None for trial in row["tuning"]["trials"]]
            tried.setdefault(name, {})[sampler] = trials
    return tried


def batched(bench: PruningBench) -> dict[str, float]:
    """Seconds of 20 mask steps of one set and of eight, and the median ratio of seven turns."""

    def measure() -> dict[str, float]:
        torch.set_num_threads(2)
        one, eight = [], []
        run = load_run(bench.runs / SPARSE)
        for turn in range(8):
            single, many = _mask_steps(run, 1), _mask_steps(run, 8)
            if turn:  # the first turn warms up
                one.append(single)
                eight.append(many)
        ratio = statistics.median(b / a for a, b in zip(one, eight, strict=True))
        return {"one": statistics.median(one), "eight": statistics.median(eight), "ratio": ratio}

    return bench.once("batched", measure)


def _mask_steps(run: Run, sets: int, steps: int = 20) -> float:
    config = PruneConfig(objective="task", max_tokens=TOKENS)
    model, tokenizer = run.model().to_sparse(), run.tokenizer()
    pairs = Splits.draw(get_task("bracket_counting"), tokenizer, config, model.config.n_ctx).train
    means = pretraining_means(model, run.corpus().train)
    jobs = [
        MaskJob(Objective(config=config, pairs=pairs, means=means, seed=seed), 14.0, steps)
        for seed in range(sets)
    ]
    start = time.perf_counter()
    optimise_masks(model, jobs, at_once=sets)
    return time.perf_counter() - start


def on_demo(bench: PruningBench) -> dict[str, float]:
    """Seconds of ``sparsecircuits prune`` for one task on the demo's bundled model, to its table."""

    def measure() -> dict[str, float]:
        run, seconds = bench.out / "demo", {}
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(example_folder("example"), run, ignore=shutil.ignore_patterns("circuits"))
        words = ("--tokenizer", run / "tokenizer.json", "--train-tokens", 2_400_000)
        bench.command("data", "--out", run / "data", *words)  # as the bundle's README.md has it
        for objective in ("task", "faithful"):
            start = time.perf_counter()
            bench.command("prune", run, "bracket_counting", "--objective", objective, "--json")
            seconds[objective] = time.perf_counter() - start
        return seconds

    return bench.once("demo", measure)


STEPS: Mapping[str, Callable[[PruningBench], Any]] = {
    "twin": twin,
    "studies": studies,
    "planted": planted,
    "curves": curves,
    "complete": lambda bench: bench.once("complete", lambda: complete(bench)),
    "tuning": lambda bench: bench.once("tuning", lambda: tuning(bench)),
    "batched": batched,
    "demo": on_demo,
}


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument("--workers", type=int, default=2, help="processes of a study")
    parser.add_argument("--short", action="store_true", help="leave long prompts out of the studies")
    parser.add_argument("--as-is", action="store_true", help="take the studies as far as they are")
    parser.add_argument("--only", nargs="+", choices=STEPS, help="measure these alone, and write no figures")
    return parser


if __name__ == "__main__":
    main()
