"""``sparsecircuits prune``: cut out of a run's model the circuits that do its tasks.

For each task: load the circuit that is there already if it is of this model and these settings; else
measure whether the model does the task at all, prune, test necessity, save. At the end, the table and the
page of everything in ``RUN/circuits``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from sparsecircuits.cli.arguments import open_run, saved_circuits
from sparsecircuits.cli.eval import brief, task_row, with_notes
from sparsecircuits.cli.progress import Bar, Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import CheckpointError, ConfigError, PruneError
from sparsecircuits.prune.config import PruneConfig

if TYPE_CHECKING:
    from torch import Tensor

    from sparsecircuits.circuit import Circuit
    from sparsecircuits.train import Run

COLUMNS = (
    Column("name", "task"),
    Column("state", "circuit"),
    Column("nodes", "nodes", ",d"),
    Column("edges", "edges", ",d"),
    Column("loss", "loss", ".3f"),
    Column("raw_loss", "raw loss", ".3f"),
    Column("accuracy", "accuracy", ".1%"),
    Column("full_loss", "full loss", ".3f"),
    Column("necessity.accuracy", "without it", ".1%"),
    Column("necessity.refitted_accuracy", "refitted", ".1%"),
    Column("necessity.label", ""),
    Column("note", "note"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Cut out the smallest circuit that does a task, and test whether the model needs it.

    Circuits go to RUN/circuits/TASK, their page to RUN/circuits/index.html. Tasks that the model cannot do
    are named in the table and left alone. "missed": no circuit reached the target; the best one is kept.
    "without it": accuracy of the model when only the circuit is removed from it; around 50% the circuit is
    necessary, otherwise redundant. The same command again loads what is done and goes on with the rest.
    Exit code 1: no circuit for any task.

    Example: sparsecircuits prune demo/sparse single_double_quote bracket_counting
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run: its folder, or its name in runs/."""
    tasks: Annotated[Positional[tuple[str, ...]], arg(metavar="[TASK ...]")] = ()
    """Tasks to prune."""
    all: bool = False
    """Prune every task that the model does."""
    json: bool = False
    """Print JSON instead of a table."""
    config: OmitArgPrefixes[PruneConfig] = PruneConfig()


def run(options: Options) -> int:
    """Prune and print; 1 if there is no circuit for any of the tasks."""
    from sparsecircuits.tasks import TASKS, get_task
    from sparsecircuits.viz.collect import circuit_page

    if options.all == bool(options.tasks):
        raise ConfigError("name the tasks to prune, or give --all for every task that the model does")
    names = [get_task(name).name for name in dict.fromkeys(options.tasks)] or list(TASKS)
    run = open_run(options.run)
    with Progress() as progress:
        rows = prune_tasks(run, names, options.config, progress.add)
    found = any(row["nodes"] is not None for row in rows)
    page = run.circuits / "index.html"
    if options.json:
        report = {"run": str(run.folder), "target": options.config.target, "tasks": rows}
        print_json({**report, "page": str(page) if found else None})
    else:
        print_table(rows, with_notes(COLUMNS, rows))
    if not found:
        return 1
    circuit_page(run, saved_circuits(run), page)
    if not options.json:
        print(f"page: {page}")
    return 0


def prune_tasks(
    run: Run,
    names: Sequence[str],
    config: PruneConfig,
    add_bar: Callable[[str, int], Bar],
) -> list[dict[str, Any]]:
    """One row for each task, with its circuit's figures or the reason why there is none."""
    config = config.replace(max_tokens=min(config.max_tokens, run.config.model.n_ctx))
    pruner = _RunPruner(run, config)
    steps = config.steps * len(config.penalties)
    return [pruner.row(name, add_bar(f"prune {name}", steps)) for name in names]


class _RunPruner:
    """Prunings of one run; the model's means are measured once, when they are first needed."""

    def __init__(self, run: Run, config: PruneConfig) -> None:
        from sparsecircuits.circuit import model_hash

        self.run, self.config = run, config
        self.model, self.tokenizer = run.model(), run.tokenizer()
        self.hash = model_hash(self.model)
        self._means: dict[str, Tensor] | None = None

    def row(self, name: str, bar: Bar) -> dict[str, Any]:
        """Load, or measure and prune."""
        circuit, note = self._saved(name)
        if circuit is None:
            bar.update(0)
            score = task_row(self.run, self.model, name, seed=self.config.seed)
            if not score["done"]:
                return _no_circuit(score)
            try:
                circuit = self._prune(name, bar)
            except PruneError as error:
                return _no_circuit(score, str(error))
        bar.update(bar.total or 1, loss=circuit.info["loss"])
        return circuit_row(circuit, note)

    def _saved(self, name: str) -> tuple[Circuit | None, str | None]:
        """The circuit that is there already, and what to say of it."""
        from sparsecircuits.circuit.files import CIRCUIT_FILE, load_circuit

        folder = self.run.circuits / name
        if not (folder / CIRCUIT_FILE).is_file():
            return None, None
        try:
            circuit = load_circuit(folder)
            stored = PruneConfig.from_dict(circuit.info.get("config", {}))
        except (CheckpointError, ConfigError) as error:
            return None, f"pruned anew: {brief(error)}"
        if circuit.info.get("model_sha256") != self.hash:
            return None, "pruned anew: the circuit there was of another model"
        if stored != self.config or "necessity" not in circuit.info:
            return None, "pruned anew: the circuit there had other settings"
        return circuit, "loaded"

    def _prune(self, name: str, bar: Bar) -> Circuit:
        from sparsecircuits.circuit import save_circuit
        from sparsecircuits.prune import Splits, pretraining_means, prune
        from sparsecircuits.tasks import get_task
        from sparsecircuits.validate import necessity

        tokens = self.run.corpus().train
        if self._means is None:
            self._means = pretraining_means(
                self.model, tokens, count=self.config.mean_tokens, seed=self.config.seed
            )
        task, steps = get_task(name), 0

        def watch(stage: str, done: int, of: int, loss: float) -> None:
            nonlocal steps
            steps += stage == "masks"
            bar.update(min(steps, (bar.total or 1) - 1), loss=loss)

        found = prune(self.model, task, self.tokenizer, tokens, self.config, means=self._means, watch=watch)
        pairs = Splits.draw(task, self.tokenizer, self.config, self.model.config.n_ctx)
        needed = necessity(self.model, found.circuit, pairs.train, pairs.heldout, seed=self.config.seed)
        info = {**found.circuit.info, "necessity": dataclasses.asdict(needed)}
        circuit = dataclasses.replace(found.circuit, info=info)
        save_circuit(circuit, self.run.circuits / name)
        return circuit


def circuit_row(circuit: Circuit, note: str | None = None) -> dict[str, Any]:
    """The figures of a saved circuit, as the table shows them."""
    from sparsecircuits.validate import Necessity

    info = circuit.info
    needed = info["necessity"]
    label = "necessary" if Necessity(**needed).necessary else "redundant"
    figures = ("nodes", "edges", "loss", "raw_loss", "accuracy", "full_loss")
    return {
        "name": circuit.task,
        "state": "found" if info["met"] else "missed",
        **{key: info[key] for key in figures},
        "necessity": {**needed, "label": label},
        "note": note,
    }


def _no_circuit(score: dict[str, Any], note: str | None = None) -> dict[str, Any]:
    state = "not pruned" if score["fits"] else "does not fit"
    if note is None and score["fits"]:
        note = f"the model does not do it: loss {score['loss']:.3f}, accuracy {score['accuracy']:.1%}"
    row = dict.fromkeys(("nodes", "edges", "loss", "raw_loss", "accuracy", "full_loss", "necessity"))
    return {"name": score["name"], "state": state, **row, "note": note or score["note"]}
