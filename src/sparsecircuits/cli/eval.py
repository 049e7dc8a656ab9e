"""``sparsecircuits eval``: how well a model predicts text, and which tasks it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    Column("splits.train.loss", "train", ".3f"),
    Column("splits.validation.loss", "validation", ".3f"),
    Column("loss", "held out", ".3f"),
    Column("raw_loss", "raw loss", ".3f"),
    Column("accuracy", "accuracy", ".1%"),
    Column("gap", "gap", "+.3f"),
    Column("done", "done"),
    Column("note", "note"),
)

VARIANT_COLUMNS = (
    Column("name", "variant"),
    Column("loss", "held out", ".3f"),
    Column("raw_loss", "raw loss", ".3f"),
    Column("accuracy", "accuracy", ".1%"),
    Column("note", "note"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Measure a model: validation loss, and loss and accuracy on every task, its splits and its variants.

    Losses of tasks are means over prompts in nats, after one positive scale on the logits that is fitted on
    other training prompts; "raw loss" is the held-out loss without it. A task is done at a held-out loss of
    at most 0.15 and an accuracy of at least 95%; "gap" is the held-out loss minus the train loss. A variant,
    TASK:VARIANT, asks the same in surroundings where the paper predicts failures, with the scale of its task.

    Example: sparsecircuits eval demo/sparse
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run: its folder, or its name in runs/; example: the one that comes with the package."""
    task: tuple[str, ...] = ()
    """Only these tasks, without their variants."""
    suite: Literal["python", "stories"] = "python"
    """Which collection of tasks: the paper's twenty, or questions about plain English."""
    pairs: int = 512
    """Prompt pairs of each task and split."""
    seed: int = 0
    """Chooses the prompts."""
    json: bool = False
    """Print JSON instead of a table."""


def run(options: Options) -> None:
    """Measure and print."""
    from sparsecircuits.tasks import SUITES, get_task

    if options.pairs < 1:
        raise ConfigError(f"--pairs is {options.pairs}; it must be at least 1")
    names = [get_task(name).name for name in options.task] or list(SUITES[options.suite])
    run = open_run(options.run)
    model = run.model()
    with Progress() as progress:
        bar = progress.add("validation loss")
        val_loss, measured = _val_loss(run, model)
        bar.update(1, loss=val_loss)
        bar = progress.add("tasks", total=len(names))
        rows: list[dict[str, Any]] = []
        variants: list[dict[str, Any]] = []
        for done, name in enumerate(names):
            bar.update(done)
            row = task_row(run, model, name, options.pairs, options.seed)
            rows.append(row)
            if not options.task and row["fits"]:
                variants += variant_rows(run, model, row, options.pairs, options.seed)
        bar.update(len(names))
    result = run.result() or {}
    report = {
        "run": str(run.folder),
        "val_loss": val_loss,
        "val_loss_measured": measured,
        "density": result.get("density"),
        "tokens": result.get("tokens"),
        "tasks": rows,
        "variants": variants,
    }
    if options.json:
        print_json(report)
        return
    note = "" if measured else " (as training stored it: the corpus is not here)"
    print(f"{run.folder}: validation loss {val_loss:.4f} nats/token{note}, density {report['density']:.4f}")
    print_table(rows, with_notes(COLUMNS, rows))
    if variants:
        print_table(variants, with_notes(VARIANT_COLUMNS, variants))
    print(f"{sum(row['done'] for row in rows)} of {len(rows)} tasks done")


def task_row(run: Run, model: SparseGPT, name: str, pairs: int = 512, seed: int = 0) -> dict[str, Any]:
    """One task: its figures, or None for each and the reason where it does not fit the tokenizer."""
    from sparsecircuits.tasks import get_task
    from sparsecircuits.tasks.evaluate import evaluate_task

    keys = ("loss", "raw_loss", "accuracy", "scale", "gap")
    row: dict[str, Any] = {"name": name, **dict.fromkeys(keys)}
    try:
        score = evaluate_task(model, get_task(name), run.tokenizer(), pairs=pairs, seed=seed)
    except TaskError as error:
        return {**row, "done": False, "fits": False, "note": brief(error), "error": str(error)}
    figures = {key: getattr(score, key) for key in keys}
    prompts = {"fitted_on": score.fitted_on.to_dict(), "splits": score.to_dict()["splits"]}
    return {**row, **figures, **prompts, "done": score.done, "fits": True, "note": None}


def variant_rows(
    run: Run, model: SparseGPT, row: dict[str, Any], pairs: int = 512, seed: int = 0
) -> list[dict[str, Any]]:
    """The variants of the task of ``row``, measured on held-out pairs with its scale."""
    from sparsecircuits.tasks import get_task, variants_of
    from sparsecircuits.tasks.evaluate import evaluate_variant

    rows: list[dict[str, Any]] = []
    for variant in variants_of(get_task(row["name"])):
        name = {"name": variant.name}
        try:
            found = evaluate_variant(model, variant, run.tokenizer(), row["scale"], pairs=pairs, seed=seed)
        except TaskError as error:
            nothing = dict.fromkeys(("loss", "raw_loss", "accuracy", "pairs"))
            rows.append({**name, **nothing, "note": brief(error)})
        else:
            rows.append({**name, **found.to_dict(), "note": None})
    return rows


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
