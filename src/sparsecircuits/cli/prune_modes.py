"""``sparsecircuits prune`` with many prunings of each task: --tune, --sweep, --seeds, --complete."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sparsecircuits.cli.progress import Bar, Progress
from sparsecircuits.cli.prune_rows import circuit_row, no_circuit
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.cli.task_rows import task_row, with_notes
from sparsecircuits.errors import PruneError

if TYPE_CHECKING:
    from sparsecircuits.cli.prune import Options
    from sparsecircuits.study.pruning import RunPruner
    from sparsecircuits.study.tune import TuneConfig
    from sparsecircuits.tasks import Task
    from sparsecircuits.train import Run

SWEEP_COLUMNS = (
    Column("task", "task"),
    Column("target", "target", ".3g"),
    Column("state", "circuit"),
    Column("nodes", "nodes", ",d"),
    Column("edges", "edges", ",d"),
    Column("loss", "loss", ".3f"),
    Column("raw_loss", "raw loss", ".3f"),
    Column("accuracy", "accuracy", ".1%"),
    Column("note", "note"),
)
CORE_COLUMNS = (
    Column("name", "task"),
    Column("circuits", "circuits", "d"),
    Column("jaccard", "Jaccard", ".3f"),
    Column("random_jaccard", "random", ".3f"),
    Column("nodes", "core nodes", ",d"),
    Column("edges", "edges", ",d"),
    Column("core_loss", "core loss", ".3f"),
    Column("mean_loss", "circuits' loss", ".3f"),
    Column("passed", "stable"),
    Column("note", "note"),
)
COMPLETE_COLUMNS = (
    Column("name", "task"),
    Column("sizes", "circuits: nodes"),
    Column("nodes", "all nodes", ",d"),
    Column("edges", "edges", ",d"),
    Column("accuracy", "without them", ".1%"),
    Column("refitted_accuracy", "refitted", ".1%"),
    Column("state", ""),
    Column("note", "note"),
)
#: The figures of T20.
STABILITY = ("circuits", "jaccard", "random_jaccard", "core_loss", "mean_loss", "passed")


def tune_tasks(
    run: Run, tasks: Sequence[Task], options: Options, add_bar: Callable[[str, int], Bar]
) -> list[dict[str, Any]]:
    """One row for each task, as without tuning; its ``tuning`` has every pruning, and the picture's path."""
    from sparsecircuits.study.pruning import RunPruner
    from sparsecircuits.study.tune import TuneConfig

    assert options.tune is not None
    config = TuneConfig(
        trials=options.tune, batch=options.batch, sampler=options.sampler, storage=options.storage
    )
    pruner = RunPruner(run, options.config)
    steps = config.trials * pruner.config.steps
    return [_tuned_row(pruner, task, config, add_bar(f"tune {task.name}", steps)) for task in tasks]


def _tuned_row(pruner: RunPruner, task: Task, config: TuneConfig, bar: Bar) -> dict[str, Any]:
    from sparsecircuits.study.charts import tuning_figure
    from sparsecircuits.study.tune import tune
    from sparsecircuits.viz.style import save_chart

    bar.update(0)
    score = task_row(pruner.run, pruner.model, task, seed=pruner.config.seed)
    if not score["done"]:
        return no_circuit(score)
    steps = Steps(bar)
    try:
        found = tune(pruner, task, config, lambda trial, done, loss: steps.told(trial, loss))
    except PruneError as error:
        return no_circuit(score, str(error))
    trials = [dataclasses.asdict(trial) for trial in found.trials]
    best = found.circuit.info["tuning"]["trial"]
    row = circuit_row(found.circuit, f"the smallest of {len(trials)} prunings, number {best + 1}")
    path = pruner.run.folder / "tuning" / f"{task.name}.png"
    save_chart(tuning_figure(f"{pruner.run.name}: {task.name}", trials), path)
    bar.update(bar.total or 1, loss=found.circuit.info["loss"])
    return {**row, "tuning": {"trials": trials, "best": best, "picture": str(path)}}


def sweep_tasks(run: Run, tasks: Sequence[Task], options: Options) -> int:
    """Prune every task to every target, print the points, draw the curves; 1 if there is no circuit."""
    from sparsecircuits.study.charts import sweep_figure
    from sparsecircuits.study.pruning import RunPruner
    from sparsecircuits.study.sweep import sweep
    from sparsecircuits.viz.style import save_chart

    pruner = RunPruner(run, options.config)
    rows: list[dict[str, Any]] = []
    with Progress() as progress:
        for task in tasks:
            bar = progress.add(f"sweep {task.name}", len(set(options.sweep)) * pruner.config.steps)
            steps = Steps(bar)
            found = sweep(
                pruner,
                task,
                options.sweep,
                batch=options.batch,
                watch=lambda target, done, loss, steps=steps: steps.told(target, loss),
            )
            bar.update(bar.total or 1)
            rows += [{**row, "state": _state(row), "note": row["error"]} for row in found]
    pictures = [run.folder / "sweeps" / f"size_by_target.{ending}" for ending in ("png", "svg")]
    for picture in pictures:
        save_chart(sweep_figure(rows, run.name), picture)
    if options.json:
        print_json({"run": str(run.folder), "points": rows, "pictures": [str(path) for path in pictures]})
    else:
        print_table(rows, with_notes(SWEEP_COLUMNS, rows))
        print(f"picture: {pictures[0]}")
    return 0 if any(row["nodes"] is not None for row in rows) else 1


def _state(row: dict[str, Any]) -> str:
    if row["met"] is None:
        return "none"
    return "found" if row["met"] else "missed"


def agree_on_tasks(run: Run, tasks: Sequence[Task], options: Options) -> int:
    """Prune every task with many seeds and bootstraps, print what they agree on; 1 if that is nothing."""
    from sparsecircuits.study.consensus import consensus, lines_of
    from sparsecircuits.study.pruning import RunPruner

    assert options.seeds is not None
    pruner = RunPruner(run, options.config)
    rows: list[dict[str, Any]] = []
    with Progress() as progress:
        for task in tasks:
            count = options.seeds + options.bootstraps
            bar = progress.add(f"seeds {task.name}", count * pruner.config.steps)
            steps = Steps(bar)
            try:
                found = consensus(
                    pruner,
                    task,
                    seeds=options.seeds,
                    bootstraps=options.bootstraps,
                    batch=options.batch,
                    watch=lambda name, done, loss, steps=steps: steps.told(name, loss),
                )
            except PruneError as error:
                nothing = dict.fromkeys((*STABILITY, "nodes", "edges", "folder"))
                rows.append({"name": task.name, **nothing, "prunings": [], "note": str(error)})
                continue
            bar.update(bar.total or 1)
            told = {key: getattr(found.stability, key) for key in STABILITY}
            sizes = {key: found.core.info[key] for key in ("nodes", "edges")}
            where = {"folder": str(lines_of(pruner, task).with_suffix("")), "prunings": found.rows}
            rows.append({"name": task.name, **told, **sizes, **where, "note": None})
    if options.json:
        print_json({"run": str(run.folder), "tasks": rows})
    else:
        print_table(rows, with_notes(CORE_COLUMNS, rows))
        for row in rows:
            if row["folder"]:
                print(f"core: {row['folder']}")
    return 0 if any(row["nodes"] is not None for row in rows) else 1


def complete_tasks(run: Run, tasks: Sequence[Task], options: Options) -> int:
    """Find disjoint circuits of every task until what is left is at chance; 1 if there is none at all."""
    from sparsecircuits.study.complete import find_complete
    from sparsecircuits.study.pruning import RunPruner

    pruner = RunPruner(run, options.config)
    rows: list[dict[str, Any]] = []
    with Progress() as progress:
        for task in tasks:
            bar = progress.add(f"complete {task.name}")
            bar.update(0)

            def heard(number: int, stage: str, done: int, of: int, loss: float, bar: Bar = bar) -> None:
                what = f"{done:,} nodes" if stage == "nodes" else f"mask step {done}"
                bar.update(number, loss=loss, remark=f"circuit {number + 1}: {what}")

            try:
                found = find_complete(pruner, task, heard)
            except PruneError as error:
                figures = dict.fromkeys(("nodes", "edges", "accuracy", "refitted_accuracy", "folder"))
                rows.append(
                    {"name": task.name, "circuits": [], **figures, "state": "none", "note": str(error)}
                )
                continue
            bar.update(len(found["circuits"]), remark="done")
            state = "complete" if found["complete"] else "more is left"
            told = {key: value for key, value in found.items() if key not in ("key", "task", "why")}
            rows.append({"name": task.name, **told, "state": state, "note": found["why"]})
    if options.json:
        print_json({"run": str(run.folder), "tasks": rows})
    else:
        sized = [{**row, "sizes": " + ".join(str(one["nodes"]) for one in row["circuits"])} for row in rows]
        print_table(sized, with_notes(COMPLETE_COLUMNS, sized))
        print(f"circuits: {run.folder / 'complete'}")
    return 0 if any(row["nodes"] is not None for row in rows) else 1


class Steps:
    """Adds up mask steps over prunings side by side; one that is begun again is not planned for.

    Which pruning is heard of stands on the bar if it has a name.
    """

    def __init__(self, bar: Bar) -> None:
        self.bar, self.done = bar, 0
        bar.update(0)

    def told(self, pruning: object, loss: float) -> None:
        self.done += 1
        self._show(pruning, loss)

    def choosing(self, pruning: object, nodes: int, loss: float) -> None:
        """Masks are found, and circuits of them are tried: how many, nobody knows."""
        self._show(pruning, loss, f"choosing: {nodes:,} nodes")

    def _show(self, pruning: object, loss: float, remark: str | None = None) -> None:
        part = pruning if isinstance(pruning, str) else None
        self.bar.update(min(self.done, (self.bar.total or 1) - 1), loss=loss, remark=remark, part=part)
