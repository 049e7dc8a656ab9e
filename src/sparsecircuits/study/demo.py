"""The whole line on a laptop: corpus, a sparse model and its dense twin, tasks, circuits, a page.

In go a plan and a folder; out come two run folders, ``summary.json``, ``index.html`` and a picture.
The steps, each resumed or skipped when it has been done before:

1. build the corpus;
2. train the sparse model and its dense twin, side by side where there are two workers;
3. measure every task on both;
4. in both models, prune the planned tasks that the sparse model does, with equal budgets;
5. sum up: sizes, ratios and geometric means, necessity; draw the page.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from sparsecircuits.data import Corpus, build_corpus
from sparsecircuits.errors import CheckpointError, PruneError
from sparsecircuits.files import write_atomic
from sparsecircuits.prune import PruneConfig
from sparsecircuits.study.clock import Clock
from sparsecircuits.study.jobs import Job, Report, run_jobs
from sparsecircuits.study.plan import DemoPlan, claim
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.tasks import TASKS, get_task
from sparsecircuits.tasks.evaluate import TaskScore, evaluate_task
from sparsecircuits.train import Run, RunConfig, load_run, train
from sparsecircuits.validate import Necessity
from sparsecircuits.viz.budget import Budget
from sparsecircuits.viz.collect import circuit_entry, model_entry, page_document, training_text
from sparsecircuits.viz.page import write_page
from sparsecircuits.viz.samples import record_text
from sparsecircuits.viz.static import draw_circuit

MODELS = ("sparse", "dense")
SUMMARY, PAGE, PICTURE, TIMES = "summary.json", "index.html", "circuit.png", "seconds.json"
#: In each run's folder, the scores of its tasks.
SCORES = "tasks.json"
#: The picture shows this task's circuit in the sparse model, or the first one if it was not pruned.
PICTURED = "single_double_quote"
#: Parts of a pruning that a progress bar counts beside its mask steps: clean-up, necessity, drawing.
_AFTER_MASKS = 50


class Bars(Protocol):
    """Where progress goes: the command line draws bars."""

    def add(self, description: str, total: int | None = None) -> Any:
        """Begin a bar; its ``update(done, loss=, tokens=)`` moves it."""
        ...

    def stage(self, name: str, done: int, total: int | None = None) -> None:
        """Move a named bar."""
        ...


def run_demo(plan: DemoPlan, folder: str | Path, bars: Bars, workers: int = 2) -> dict[str, Any]:
    """Do what the plan says, as far as it is not done, and return the summary (also in ``summary.json``).

    Raises:
        ConfigError: the folder holds the demo of another plan.
        SparseCircuitsError: whatever a step raises; what was done before it is kept.
    """
    folder = Path(folder)
    claim(plan, folder)
    clock = Clock(folder / TIMES)
    with clock.stage("corpus"):
        corpus = build_corpus(plan.data, folder / "data", bars.stage)
    with clock.stage("train"):
        jobs = train_jobs({"sparse": plan.sparse, "dense": plan.dense}, corpus, folder)
        with_bars(jobs, bars, workers)
    runs = {name: load_run(folder / name) for name in MODELS}
    with clock.stage("evaluate"):
        jobs = [_evaluate_job(name, runs[name], plan) for name in MODELS]
        measured = with_bars(jobs, bars, workers)
    scores: list[TaskScore] = measured[_evaluate_name("sparse")]
    done = {score.task for score in scores if score.done}
    names = [name for name in plan.tasks if name in done]
    with clock.stage("prune"):
        # The dense model's prunings take longest, so they go first.
        jobs = [_prune_job(model, runs[model], name, plan) for name in names for model in reversed(MODELS)]
        pruned = with_bars(jobs, bars, workers)
    with clock.stage("page"):
        entries = [
            entry
            for name in names
            for model in MODELS
            if (entry := pruned[_prune_name(model, name)]) is not None
        ]
        summary = summarise(runs, scores, names, entries, plan.sparse.train.seed)
        summary["seconds"] = clock.seconds()
        _write_page(folder, runs, entries, summary)
    summary["seconds"] = clock.seconds()
    write_atomic(folder / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def summarise(
    runs: Mapping[str, Run],
    scores: Sequence[TaskScore],
    names: Sequence[str],
    entries: Sequence[dict[str, Any]],
    seed: int,
) -> dict[str, Any]:
    """The demo's figures as plain data, without ``seconds``.

    Args:
        runs: the two runs by name.
        scores: the unpruned sparse model's, for every task.
        names: the tasks that were to be pruned in both models.
        entries: :func:`~sparsecircuits.viz.collect.circuit_entry` of every circuit found.
        seed: of the sparse model.
    """
    results = {name: _result(run) for name, run in runs.items()}
    by_id = {entry["id"]: entry for entry in entries}
    rows = [_task_row(score, {m: by_id.get(f"{m}/{score.task}") for m in MODELS}) for score in scores]
    compared = [row for row in rows if all(size and size["met"] for size in row["circuit"].values())]
    in_means = {row["name"] for row in compared}
    return {
        "seconds": {},
        "val_loss": {name: result["val_loss"] for name, result in results.items()},
        "density": results["sparse"]["density"],
        "tokens": results["sparse"]["tokens"],
        "seed": seed,
        "tasks": rows,
        "geomean_edges": _geomean(compared, "edges"),
        "geomean_nodes": _geomean(compared, "nodes"),
        "left_out": [name for name in names if name not in in_means],
    }


def _task_row(score: TaskScore, entries: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    keys = ("nodes", "edges", "loss", "raw_loss", "met")
    sparse = entries["sparse"]
    necessity = None if sparse is None else sparse["metrics"]["necessity"]
    return {
        "name": score.task,
        "loss": score.loss,
        "accuracy": score.accuracy,
        "done": score.done,
        "circuit": {
            model: None if entry is None else {key: entry["metrics"][key] for key in keys}
            for model, entry in entries.items()
        },
        "necessity": necessity,
    }


def _geomean(rows: list[dict[str, Any]], key: str) -> dict[str, float] | None:
    """Geometric means over tasks, a size of 0 counted as 1, and dense / sparse."""
    if not rows:
        return None
    means = {
        model: math.exp(sum(math.log(max(1, row["circuit"][model][key])) for row in rows) / len(rows))
        for model in MODELS
    }
    return {**means, "ratio": means["dense"] / means["sparse"]}


def is_necessary(row: Mapping[str, Any]) -> bool:
    """Whether a task's row of the summary says that its circuit is necessary (else redundant)."""
    fields = {field.name for field in dataclasses.fields(Necessity)}
    return Necessity(**{key: row["necessity"].get(key, 0) for key in fields}).necessary


def _result(run: Run) -> dict[str, Any]:
    result = run.result()
    if result is None:
        raise CheckpointError(f"{run.folder}: training has not finished")
    return result


def _write_page(
    folder: Path, runs: Mapping[str, Run], entries: list[dict[str, Any]], summary: dict[str, Any]
) -> None:
    models = {
        name: model_entry(
            run.model(),
            label=name,
            val_loss=_result(run)["val_loss"],
            tokens=_result(run)["tokens"],
            metrics=run.metrics(),
        )
        for name, run in runs.items()
    }
    write_page(page_document("sparsecircuits demo", models, entries, summary), folder / PAGE)
    drawn = [entry for entry in entries if entry["model"] == "sparse"]
    if drawn:
        chosen = next((entry for entry in drawn if entry["task"] == PICTURED), drawn[0])
        draw_circuit(chosen, folder / PICTURE)


# Jobs: what workers do. Each is found by name in a fresh process.


def train_jobs(configs: Mapping[str, RunConfig], corpus: Corpus, folder: Path) -> list[Job]:
    """One training for each config, in ``folder/NAME``, on the vocabulary that the tokenizer really has."""
    jobs = []
    for name, config in configs.items():
        config = config.replace(model=config.model.replace(vocab_size=corpus.tokenizer.vocab_size))
        arguments = {"config": config, "corpus": corpus.folder, "folder": folder / name}
        jobs.append(Job(f"train {name}", _train, arguments, config.train.steps))
    return jobs


def _train(config: RunConfig, corpus: Path, folder: Path, report: Report) -> None:
    per_step = config.train.rows * config.context
    train(
        config, Corpus.open(corpus), folder, lambda step: report(step.step, step.loss, step.step * per_step)
    )


def _evaluate_job(name: str, run: Run, plan: DemoPlan) -> Job:
    arguments = {"folder": run.folder, "pairs": plan.eval_pairs, "seed": plan.prune.seed}
    return Job(_evaluate_name(name), _evaluate, arguments, len(TASKS))


def _evaluate_name(model: str) -> str:
    return f"tasks {model}"


def _evaluate(folder: Path, pairs: int, seed: int, report: Report) -> list[TaskScore]:
    """Every task's score on held-out prompts, from the run's folder if it was measured before."""
    path = folder / SCORES
    if path.is_file():
        scores = [TaskScore.from_dict(score) for score in json.loads(path.read_text())]
        report(len(scores), None, None)
        return scores
    run = load_run(folder)
    model, tokenizer = run.model().to_sparse(), run.tokenizer()
    scores = []
    for task in TASKS.values():
        scores.append(evaluate_task(model, task, tokenizer, pairs=pairs, seed=seed, splits=("heldout",)))
        report(len(scores), scores[-1].loss, None)
    rows = [score.to_dict() for score in scores]
    write_atomic(path, (json.dumps(rows, indent=2) + "\n").encode())
    return scores


def _prune_name(model: str, task: str) -> str:
    return f"prune {model} {task}"


def _prune_job(model: str, run: Run, task: str, plan: DemoPlan) -> Job:
    arguments = {"folder": run.folder, "model": model, "task": task, "config": plan.prune}
    total = plan.prune.steps * len(plan.prune.penalties) + _AFTER_MASKS
    return Job(_prune_name(model, task), _prune, arguments, total)


def _prune(folder: Path, model: str, task: str, config: PruneConfig, report: Report) -> dict[str, Any] | None:
    """The page's entry of the circuit, or None where the model itself misses the target."""
    pruner = _pruner(folder, config)
    report(0, None, None)
    circuit = pruner.load(get_task(task)).circuit
    entry_file = pruner.run.circuits / task / "page.json"
    if circuit is None or not entry_file.is_file():
        try:
            circuit = circuit or pruner.prune(
                get_task(task), lambda steps, loss, _nodes: report(steps, loss, None)
            )
        except PruneError:
            return None
        tokens, _ = training_text(pruner.run)
        budget = Budget.of(len(circuit))
        text = None if tokens is None else record_text(pruner.model, circuit.nodes, tokens, budget)
        entry = circuit_entry(
            pruner.model, pruner.tokenizer, circuit, get_task(task), model_name=model, text=text
        )
        write_atomic(entry_file, json.dumps(entry).encode())
    report(config.steps * len(config.penalties) + _AFTER_MASKS, circuit.info["loss"], None)
    return json.loads(entry_file.read_text())


@functools.lru_cache(maxsize=2)
def _pruner(folder: Path, config: PruneConfig) -> RunPruner:
    return RunPruner(load_run(folder), config)


def with_bars(jobs: list[Job], bars: Bars, workers: int) -> dict[str, Any]:
    """Run jobs, each with a bar that appears when it starts; returns their results by name."""
    totals = {job.name: job.total for job in jobs}
    shown: dict[str, Callable[..., None]] = {}

    def watch(name: str, done: int, loss: float | None, tokens: int | None) -> None:
        if name not in shown:
            shown[name] = bars.add(name, totals[name]).update
        shown[name](done, loss=loss, tokens=tokens)

    return run_jobs(jobs, watch, workers)
