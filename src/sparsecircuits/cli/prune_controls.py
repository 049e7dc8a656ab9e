"""``sparsecircuits prune --control``: what pruning finds where there is nothing to find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.prune_modes import Steps
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.cli.task_rows import with_notes
from sparsecircuits.errors import PruneError

if TYPE_CHECKING:
    from sparsecircuits.cli.prune import Options
    from sparsecircuits.study.controls import ControlStudy
    from sparsecircuits.tasks import Task
    from sparsecircuits.train import Run
    from sparsecircuits.validate.outcome import Outcome

COLUMNS = (
    Column("name", "task"),
    Column("kind", "control"),
    Column("seed", "seed", "d"),
    Column("nodes", "nodes", ",d"),
    Column("edges", "edges", ",d"),
    Column("loss", "held-out loss", ".3f"),
    Column("stochastic", "nodes come back", ".3f"),
    Column("told", "ratio"),
    Column("note", "note"),
)


def control_tasks(run: Run, tasks: Sequence[Task], options: Options) -> int:
    """Prune every task and its controls, print the sizes; 1 if no task has a circuit to compare with."""
    from sparsecircuits.study.controls import (
        control_outcomes,
        missing_controls,
        parse_controls,
        run_controls,
    )
    from sparsecircuits.study.pruning import RunPruner
    from sparsecircuits.validate.prune_controls import mask_steps

    pruner, counts = RunPruner(run, options.config), parse_controls(options.control)
    found: list[dict[str, Any]] = []
    with Progress() as progress:
        for task in tasks:
            steps = mask_steps(missing_controls(pruner, task, counts), pruner.config)
            bar = progress.add(f"control {task.name}", max(1, steps))
            heard = Steps(bar)

            def tell(name: str, stage: str, done: int, loss: float, heard: Steps = heard) -> None:
                if stage == "masks":
                    heard.told(name, loss)
                else:
                    heard.choosing(name, done, loss)

            try:
                study = run_controls(pruner, task, counts, tell)
            except PruneError as error:
                found.append({"name": task.name, "controls": [], "folder": None, "note": str(error)})
                continue
            bar.update(bar.total or 1)
            found.append(_told(task, study, control_outcomes(pruner, task)))
    if options.json:
        print_json({"run": str(run.folder), "target": options.config.target, "tasks": found})
    else:
        _print(found)
    return 0 if any(one["controls"] and not one["controls"][0]["unreachable"] for one in found) else 1


def _told(task: Task, study: ControlStudy, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One task as plain data; its ``controls`` begin with the real task."""
    return {
        "name": task.name,
        "controls": [
            {**one.to_dict(), "ratio": one.node_ratio(study.real), "edge_ratio": one.edge_ratio(study.real)}
            for one in (study.real, *study.controls)
        ],
        "outcomes": [one.to_dict() for one in outcomes],
        "folder": str(study.folder),
        "note": None,
    }


def _print(found: Sequence[dict[str, Any]]) -> None:
    rows = []
    for one in found:
        if not one["controls"]:
            rows.append({"name": one["name"], "note": one["note"]})
        for control in one["controls"]:
            seed = None if control["kind"] == "real" else control["seed"]
            ratio = control["ratio"]
            told = "unreachable" if control["unreachable"] else f"{ratio:.2f}"
            rows.append({"name": one["name"], **control, "seed": seed, "told": told, "note": None})
    print_table(rows, with_notes(COLUMNS, rows))
    for one in found:
        for outcome in one.get("outcomes", ()):
            print(f"{one['name']}: {_sentence(outcome)}")
        if one["folder"]:
            print(f"controls: {one['folder']} (sparsecircuits check puts them on the circuit's card)")


def _sentence(outcome: dict[str, Any]) -> str:
    """Such as ``T8 FAIL: the smallest of 2 controls has 2.86 times the nodes``."""
    word = {True: "pass", False: "FAIL", None: "open" if outcome["open"] else "n/a"}[outcome["passed"]]
    if outcome["open"]:
        return f"{outcome['test']} {word}: {outcome['note']}"
    if outcome["estimate"] is None:
        return f"{outcome['test']} {word}: {outcome['note']}"
    figures = outcome["figures"]
    return (
        f"{outcome['test']} {word}: {figures['reachable']} of {figures['of']} controls reach the target; the "
        f"smallest has {outcome['estimate']:.2f} times the nodes"
    )
