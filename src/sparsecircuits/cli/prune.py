"""``sparsecircuits prune``: cut out of a run's model the circuits that do its tasks.

For each task, a built-in one or a user's file: load the circuit that is there already if it is of this model,
these settings and this very task; else measure whether the model does the task at all, prune, test necessity,
save. At the end, the table and the page of everything in ``RUN/circuits``. With ``--tune``, ``--sweep``,
``--seeds``, ``--complete`` or ``--control`` there are many prunings of each task:
:mod:`sparsecircuits.cli.prune_modes`, :mod:`sparsecircuits.cli.prune_controls`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from sparsecircuits.cli import prune_controls, prune_modes
from sparsecircuits.cli.arguments import open_own_run, saved_circuits
from sparsecircuits.cli.progress import Bar, Progress
from sparsecircuits.cli.prune_rows import COLUMNS, circuit_row, no_circuit
from sparsecircuits.cli.report import print_json, print_table
from sparsecircuits.cli.task_rows import brief, chosen_tasks, task_row, with_notes
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError, PruneError
from sparsecircuits.prune.config import PruneConfig

if TYPE_CHECKING:
    from sparsecircuits.circuit import Circuit
    from sparsecircuits.study.pruning import RunPruner
    from sparsecircuits.tasks import Task
    from sparsecircuits.train import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Cut out the smallest circuit that does a task, and test whether the model needs it.

    Circuits go to RUN/circuits/TASK, their page to RUN/circuits/index.html. Tasks that the model cannot do
    are named in the table and left alone. "missed": no circuit reached the target; the best one is kept.
    "without it": accuracy of the model when only the circuit is removed from it; around 50% the circuit is
    necessary, otherwise redundant. "restored", "worst": mean and largest loss while other nodes come back at
    random; a circuit that lives by what it leaves out breaks then. The same command again loads what is done
    and goes on with the rest. Exit code 1: no circuit for any task.

    --tune tries several settings and keeps the smallest circuit, in RUN/circuits too. --sweep draws circuit
    size against target loss, in RUN/sweeps. --seeds asks what other seeds, and with --bootstraps other data,
    agree on; that core is a circuit in RUN/consensus. --complete, where the model still does a task without
    the circuit, prunes again without it, until what is left is at chance; these circuits, and the one of all
    their nodes, lie in RUN/complete. --control asks how small circuits get of what the model does not do: of
    nonsense tasks (the task's prompts with random tokens for answers, with each other's answers, with one
    token for all), or in models with random weights, as sparse as this one. They, and the real task's circuit
    that they are compared with, found with the objective "task", lie in RUN/controls. "unreachable": no
    circuit holds the target. All five go on where they were interrupted.

    Examples: sparsecircuits prune demo/sparse single_double_quote bracket_counting

    sparsecircuits prune demo/sparse single_double_quote --tune 8

    sparsecircuits prune demo/sparse single_double_quote --sweep 0.05 0.1 0.15 0.3 0.6

    sparsecircuits prune demo/sparse single_double_quote --seeds 10 --bootstraps 5

    sparsecircuits prune demo/sparse single_double_quote --complete

    sparsecircuits prune demo/sparse single_double_quote --control nonsense:3 shuffled-weights:3
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run: its folder, or its name in runs/."""
    tasks: Annotated[Positional[tuple[str, ...]], arg(metavar="[TASK ...]")] = ()
    """Tasks to prune: by name, or the file of a task of your own, which RUN keeps a copy of in RUN/tasks."""
    all: bool = False
    """Prune every task that the model does."""
    json: bool = False
    """Print JSON instead of a table."""
    progress: Literal["text", "json"] = "text"
    """How progress is told on stderr: json, a JSON object a line, is for other programs."""
    tune: int | None = None
    """So many prunings of each task with different settings, those of earlier calls included; 4 are often
    enough. Needs Optuna."""
    sampler: Literal["tpe", "random"] = "tpe"
    """--tune: what proposes settings."""
    storage: str | None = None
    """--tune: a database's URL, for many machines at one study; none: a journal file in RUN/tuning."""
    sweep: tuple[float, ...] = ()
    """Target losses, in nats, to prune to, one after the other."""
    seeds: int | None = None
    """So many seeds, from --seed on, to prune each task with."""
    bootstraps: int = 0
    """--seeds: so many prunings more, on training pairs drawn again with replacement."""
    complete: bool = False
    """Find every way in which the model does the task: disjoint circuits, until the rest is at chance."""
    control: tuple[str, ...] = ()
    """Controls to prune each task's circuit against: nonsense:COUNT, the first 1 to 5 of the maps pair-0,
    wrong, constant, pair-1, pair-2; random-weights:COUNT and shuffled-weights:COUNT, so many models with
    weights drawn anew, or shuffled within each matrix."""
    batch: int = 4
    """--tune, --sweep, --seeds: prunings side by side."""
    config: OmitArgPrefixes[PruneConfig] = PruneConfig()

    def validate(self) -> None:
        modes = [
            name
            for name in ("tune", "sweep", "seeds", "complete", "control")
            if getattr(self, name) not in (None, (), False)
        ]
        if len(modes) > 1:
            raise ConfigError(f"--{' and --'.join(modes)}: give one of them")
        if self.bootstraps and self.seeds is None:
            raise ConfigError("--bootstraps goes with --seeds")
        if self.tune is None and (self.storage is not None or self.sampler != "tpe"):
            raise ConfigError("--sampler and --storage go with --tune")
        if self.control:
            from sparsecircuits.study.controls import parse_controls

            parse_controls(self.control)


def run(options: Options) -> int:
    """Prune and print; 1 if there is no circuit for any of the tasks."""
    from sparsecircuits.tasks import TASKS
    from sparsecircuits.viz.collect import circuit_page

    if options.all == bool(options.tasks):
        raise ConfigError("name the tasks to prune, or give --all for every task that the model does")
    run = open_own_run(options.run)
    tasks = list(TASKS.values()) if options.all else chosen(run, options.tasks)
    if options.sweep:
        return prune_modes.sweep_tasks(run, tasks, options)
    if options.seeds is not None:
        return prune_modes.agree_on_tasks(run, tasks, options)
    if options.complete:
        return prune_modes.complete_tasks(run, tasks, options)
    if options.control:
        return prune_controls.control_tasks(run, tasks, options)
    with Progress(json=options.progress == "json") as progress:
        if options.tune is None:
            rows = prune_tasks(run, tasks, options.config, progress.add)
        else:
            rows = prune_modes.tune_tasks(run, tasks, options, progress.add)
    found = any(row["nodes"] is not None for row in rows)
    page = run.circuits / "index.html"
    if options.json:
        report = {"run": str(run.folder), "target": options.config.target, "tasks": rows}
        print_json({**report, "page": str(page) if found else None})
    else:
        print_table(rows, with_notes(COLUMNS, rows))
    if not found:
        return 1
    circuits, left_out = circuits_to_show(run, tasks)
    circuit_page(run, circuits, page, tasks={task.name: task for task in tasks})
    if left_out:
        print(f"not on the page, as their tasks are code: {', '.join(left_out)}", file=sys.stderr)
    if not options.json:
        print(f"page: {page}")
    return 0


def chosen(run: Run, words: Sequence[str]) -> list[Task]:
    """The tasks that the words mean, a user's own among them if they fit the run's model.

    Raises:
        TaskError: there is no such task (TaskFileError: its file has mistakes, or it does not fit the model).
        ConfigError: two tasks of one name.
    """
    tasks = chosen_tasks(run, words)
    names = [task.name for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two tasks are called {name!r}, and a run has one circuit of that name")
    return tasks


def circuits_to_show(run: Run, tasks: Sequence[Task]) -> tuple[list[Circuit], list[str]]:
    """The run's circuits, and the names of those of code that is not among the tasks.

    Code is not run from a run's folder, so there are no prompts to show these circuits on.
    """
    from sparsecircuits.tasks.own import kept_files

    code = {name for name, path in kept_files(run.folder).items() if path.suffix == ".py"}
    unknown = code - {task.name for task in tasks}
    circuits = saved_circuits(run)
    shown = [circuit for circuit in circuits if circuit.task not in unknown]
    return shown, [circuit.task for circuit in circuits if circuit.task in unknown]


def prune_tasks(
    run: Run,
    tasks: Sequence[Task],
    config: PruneConfig,
    add_bar: Callable[[str, int], Bar],
) -> list[dict[str, Any]]:
    """One row for each task, with its circuit's figures or the reason why there is none."""
    from sparsecircuits.study.pruning import RunPruner

    pruner = RunPruner(run, config)
    steps = config.steps * len(config.penalties)
    return [_row(pruner, task, add_bar(f"prune {task.name}", steps)) for task in tasks]


def _row(pruner: RunPruner, task: Task, bar: Bar) -> dict[str, Any]:
    """Load, or measure and prune."""
    circuit, why = pruner.load(task)
    note = f"pruned anew: {brief(why)}" if why else "loaded"
    if circuit is None:
        bar.update(0)
        score = task_row(pruner.run, pruner.model, task, seed=pruner.config.seed)
        if not score["done"]:
            return no_circuit(score)
        last = (bar.total or 1) - 1
        try:
            circuit = pruner.prune(task, lambda *told: _tell(bar, last, *told))
        except PruneError as error:
            return no_circuit(score, str(error))
        note = note if why else None
    bar.update(bar.total or 1, loss=circuit.info["loss"])
    return circuit_row(circuit, note)


def _tell(bar: Bar, last: int, steps: int, loss: float, nodes: int | None) -> None:
    """Where a pruning is: mask steps are counted; how many circuits will be tried, nobody knows."""
    bar.update(min(steps, last), loss=loss, remark=None if nodes is None else f"choosing: {nodes:,} nodes")
