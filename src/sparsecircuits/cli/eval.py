"""``sparsecircuits eval``: how well a model predicts text, and which tasks it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import open_run
from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError, DataError, TaskError

if TYPE_CHECKING:
    from sparsecircuits.model import SparseGPT
    from sparsecircuits.train import Run

COLUMNS = (
    Column("name", "task"),
    Column("loss", "loss", ".3f"),
    Column("raw_loss", "raw loss", ".3f"),
    Column("accuracy", "accuracy", ".1%"),
    Column("done", "done"),
    Column("note", "note"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Measure a model: validation loss, and loss and accuracy on every task.

    Losses of tasks are means over held-out prompts in nats, after one positive scale on the logits that is
    fitted on training prompts ("loss") and without it ("raw loss"). A task is done at a loss of at most
    0.15 and an accuracy of at least 95%.

    Example: sparsecircuits eval demo/sparse
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run: its folder, or its name in runs/; example: the one that comes with the package."""
    task: tuple[str, ...] = ()
    """Only these tasks."""
    pairs: int = 512
    """Held-out prompt pairs of each task."""
    seed: int = 0
    """Chooses the prompts."""
    json: bool = False
    """Print JSON instead of a table."""


def run(options: Options) -> None:
    """Measure and print."""
    from sparsecircuits.tasks import TASKS, get_task

    if options.pairs < 1:
        raise ConfigError(f"--pairs is {options.pairs}; it must be at least 1")
    names = [get_task(name).name for name in options.task] or list(TASKS)
    run = open_run(options.run)
    model = run.model()
    with Progress() as progress:
        bar = progress.add("validation loss")
        val_loss, measured = _val_loss(run, model)
        bar.update(1, loss=val_loss)
        bar = progress.add("tasks", total=len(names))
        rows = []
        for done, name in enumerate(names):
            bar.update(done)
            rows.append(task_row(run, model, name, options.pairs, options.seed))
        bar.update(len(names))
    result = run.result() or {}
    report = {
        "run": str(run.folder),
        "val_loss": val_loss,
        "val_loss_measured": measured,
        "density": result.get("density"),
        "tokens": result.get("tokens"),
        "tasks": rows,
    }
    if options.json:
        print_json(report)
        return
    note = "" if measured else " (as training stored it: the corpus is not here)"
    print(f"{run.folder}: validation loss {val_loss:.4f} nats/token{note}, density {report['density']:.4f}")
    print_table(rows, with_notes(COLUMNS, rows))
    print(f"{sum(row['done'] for row in rows)} of {len(rows)} tasks done")


def task_row(run: Run, model: SparseGPT, name: str, pairs: int = 512, seed: int = 0) -> dict[str, Any]:
    """One task: its figures, or None for each and the reason where it does not fit the tokenizer."""
    from sparsecircuits.tasks import get_task
    from sparsecircuits.tasks.evaluate import evaluate_task

    row: dict[str, Any] = {"name": name, "loss": None, "raw_loss": None, "accuracy": None, "scale": None}
    try:
        score = evaluate_task(model, get_task(name), run.tokenizer(), pairs=pairs, seed=seed)
    except TaskError as error:
        return {**row, "done": False, "fits": False, "note": brief(error), "error": str(error)}
    figures = {key: getattr(score, key) for key in ("loss", "raw_loss", "accuracy", "scale")}
    return {**row, **figures, "done": score.done, "fits": True, "note": None}


def with_notes(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> list[Column]:
    """The columns, without ``note`` where no row has one."""
    noted = any(row["note"] for row in rows)
    return [column for column in columns if noted or column.key != "note"]


def brief(error: Exception | str, limit: int = 90) -> str:
    """An error's first line, cut to fit into a table."""
    line = str(error).splitlines()[0]
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _val_loss(run: Run, model: SparseGPT) -> tuple[float, bool]:
    """The validation loss, and whether it was measured now or, for want of the corpus, read from the run."""
    from sparsecircuits.train import evaluate

    try:
        tokens = run.corpus().val
    except DataError:
        return (run.result() or {})["val_loss"], False
    return evaluate(model, tokens, limit=run.config.train.eval_tokens), True
