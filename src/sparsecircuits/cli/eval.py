"""``sparsecircuits eval``: how well a model predicts text, which tasks it does, and beside another model.

Of one run: validation loss; every task on each split; variants; which prompts stand in the training corpus.
Beside another (``--against``): see :mod:`sparsecircuits.cli.against`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import checkpoint_of, open_run
from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.cli.task_rows import Suite, chosen_tasks, overlaps, task_row, variant_rows, with_notes
from sparsecircuits.cli.view import PICTURES
from sparsecircuits.config import Config
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.memory import memory_advice

if TYPE_CHECKING:
    from sparsecircuits.data import Corpus
    from sparsecircuits.model import SparseGPT
    from sparsecircuits.tasks import Task, TokenPairs
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

    Losses of tasks are means over prompts in nats, after one positive scale on the logits, fitted on other
    training pairs (256 of them); "raw loss" is the held-out loss without it. A task is done at a held-out
    loss of at most 0.15 and an accuracy of at least 95%; "gap" is the held-out loss minus the train loss. A
    variant, TASK:VARIANT, asks the same in surroundings where the paper predicts failures, with the scale
    of its task. The last lines say whether prompts stand word for word in the training corpus, and how many
    tasks are done.

    With --against, two models side by side: validation loss, held-out loss and accuracy on every task, and
    how their losses go together token by token, as a correlation (1: the same tokens are hard for both) and
    a picture.

    Example: sparsecircuits eval demo/sparse --against demo/dense --picture losses.png
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run: its folder, or its name in runs/; example: the one that comes with the package."""
    against: Annotated[str | None, arg(metavar="OTHER")] = None
    """Another run, of the same tokenizer, to compare with."""
    picture: Annotated[Path | None, arg(metavar="FILE")] = None
    """Where to draw the comparison: .png, .svg or .pdf; RUN/against_OTHER.png if not given."""
    task: Annotated[tuple[str, ...], arg(metavar="[TASK ...]")] = ()
    """Only these tasks, without their variants: by name, or the file of a task of your own."""
    suite: Suite = "auto"
    """Which tasks: the paper's twenty, those in plain English, or all; auto: what RUN's corpus teaches."""
    checkpoint: Annotated[str | None, arg(metavar="STEP|latest|best")] = None
    """Measure the model as a checkpoint of the training has it, not the finished one."""
    pairs: int = 512
    """Prompt pairs of each task and split."""
    seed: int = 0
    """Chooses the prompts."""
    json: bool = False
    """Print JSON instead of a table."""


@memory_advice("measuring", "a smaller --pairs, or one --task at a time")
def run(options: Options) -> None:
    """Measure and print."""
    if options.pairs < 1:
        raise ConfigError(f"--pairs is {options.pairs}; it must be at least 1")
    if options.picture is not None and options.against is None:
        raise ConfigError("--picture draws a comparison; name the other run with --against")
    if options.picture is not None and options.picture.suffix not in PICTURES:
        raise ConfigError(f"--picture is {options.picture}; it must end in {', '.join(PICTURES)}")
    checkpoint = checkpoint_of(options.checkpoint)
    if checkpoint is not None and options.against is not None:
        raise ConfigError("--checkpoint does not go with --against, which compares finished models")
    run = open_run(options.run)
    tasks = chosen_tasks(run, options.task, options.suite)
    if options.against is not None:
        from sparsecircuits.cli.against import compare_runs

        compare_runs(
            run,
            open_run(options.against),
            tasks,
            pairs=options.pairs,
            seed=options.seed,
            variants=not options.task,
            picture=options.picture,
            as_json=options.json,
        )
        return
    report = measure(
        run,
        tasks,
        pairs=options.pairs,
        seed=options.seed,
        variants=not options.task,
        checkpoint=checkpoint,
    )
    if options.json:
        print_json(report)
    else:
        print_report(report)


def measure(
    run: Run,
    tasks: Sequence[Task],
    *,
    pairs: int,
    seed: int,
    variants: bool,
    checkpoint: int | str | None = None,
) -> dict[str, Any]:
    """What ``--json`` prints: the validation loss and a row for each task and variant.

    Args:
        run: whose model.
        tasks: which.
        pairs: of each task and split.
        seed: chooses them.
        variants: whether to measure these, too.
        checkpoint: of the training, as in :meth:`Run.model`; None: the finished model.

    Raises:
        CheckpointError: the run has no model yet, or it is damaged; or there is no such checkpoint.
        DataError: the corpus is there, but damaged.
    """
    from sparsecircuits.train.projection import measured_density

    whole = run.model(checkpoint)
    model = whole.to_sparse()
    corpus = run.corpus() if run.corpus_folder.is_dir() else None
    rows: list[dict[str, Any]] = []
    shifted: list[dict[str, Any]] = []
    measured: list[TokenPairs] = []
    with Progress() as progress:
        bar = progress.add("validation loss", total=1)
        val_loss = _val_loss(run, model, corpus, checkpoint)
        bar.update(1, loss=val_loss)
        bar = progress.add("tasks", total=len(tasks))
        for done, task in enumerate(tasks):
            bar.update(done)
            asked: list[TokenPairs] = []
            row = task_row(run, model, task, pairs, seed, watch=asked.append)
            rows.append(row)
            if not row["fits"]:
                continue
            measured += asked
            if variants:
                shifted += variant_rows(run, model, task, row["scale"], pairs, seed, watch=measured.append)
        bar.update(len(tasks))
        overlap = None
        if corpus is not None:
            bar = progress.add("prompts in the corpus", total=1)
            overlap = _note_overlap(rows, shifted, measured, corpus)
            bar.update(1)
    result = (run.result() or {}) if checkpoint is None else {"density": measured_density(whole).matrices}
    return {
        "run": str(run.folder),
        "checkpoint": checkpoint,
        "val_loss": val_loss,
        "val_loss_measured": corpus is not None,
        "density": result.get("density"),
        "tokens": result.get("tokens"),
        "vitals": None if corpus is None else _vitals(run, whole, corpus),
        "pairs": pairs,
        "seed": seed,
        "overlap": overlap,
        "tasks": rows,
        "variants": shifted,
    }


def print_report(report: dict[str, Any]) -> None:
    """The tables, and what to say around them."""
    rows, variants, overlap = report["tasks"], report["variants"], report["overlap"]
    note = "" if report["val_loss_measured"] else " (as training stored it: the corpus is not here)"
    density = Column("density", "", ".4f").text(report)
    name = report["run"] + ("" if report["checkpoint"] is None else f", checkpoint {report['checkpoint']}")
    print(f"{name}: validation loss {report['val_loss']:.4f} nats/token{note}, density {density}")
    if report["vitals"] is not None:
        print(vitals_line(report["vitals"]))
    print_table(rows, with_notes(COLUMNS, rows))
    if variants:
        print_table(variants, with_notes(VARIANT_COLUMNS, variants))
    if overlap is not None:
        print(overlap_line(overlap))
    print(f"{sum(row['done'] for row in rows)} of {len(rows)} tasks done")


def vitals_line(vitals: dict[str, Any]) -> str:
    """What a validation shows beside the loss.

    >>> vitals_line({"l0": 17748, "dead_neurons": 0.2234, "kurtosis": 16.14})
    'nonzero weights (L0) 17,748, dead MLP neurons 22.3%, kurtosis of the last residual stream 16.1'
    """
    kurtosis = Column("kurtosis", "", ".1f").text(vitals)
    return (
        f"nonzero weights (L0) {vitals['l0']:,}, dead MLP neurons {vitals['dead_neurons']:.1%}, "
        f"kurtosis of the last residual stream {kurtosis}"
    )


def overlap_line(overlap: dict[str, Any]) -> str:
    """Whether what was asked had been read in training.

    >>> overlap_line({"prompts": 3072, "found": 0, "tasks": {}})
    'no prompt of 3,072 stands in the training corpus'
    >>> overlap_line({"prompts": 3072, "found": 5, "tasks": {"with_as": 4, "for_while": 1}})
    'warning: 5 of 3,072 prompts stand in the training corpus: with_as (4), for_while (1)'
    """
    if not overlap["found"]:
        return f"no prompt of {overlap['prompts']:,} stands in the training corpus"
    named = ", ".join(f"{name} ({count:,})" for name, count in overlap["tasks"].items())
    counts = f"{overlap['found']:,} of {overlap['prompts']:,} prompts"
    return f"warning: {counts} stand in the training corpus: {named}"


def _note_overlap(
    rows: Sequence[dict[str, Any]],
    variants: Sequence[dict[str, Any]],
    measured: Sequence[TokenPairs],
    corpus: Corpus,
) -> dict[str, Any]:
    """Write ``in_corpus`` into every measured split and variant; return the sums, by task where not 0."""
    found = {
        (pairs.task, pairs.split): count
        for pairs, count in zip(measured, overlaps(measured, corpus), strict=True)
    }
    for row in rows:
        for split, figures in row["splits"].items():
            figures["in_corpus"] = found[row["name"], split]
    for row in variants:
        row["in_corpus"] = found.get((row["name"], "heldout"))
    by_task: dict[str, int] = {}
    for (name, _), count in found.items():
        by_task[name] = by_task.get(name, 0) + count
    return {
        "prompts": sum(2 * len(pairs) for pairs in measured),
        "found": sum(by_task.values()),
        "tasks": {name: count for name, count in by_task.items() if count},
    }


def _vitals(run: Run, model: SparseGPT, corpus: Corpus) -> dict[str, Any]:
    """Vital signs on as many tokens as at a validation in training: those of the last line of its metrics."""
    from sparsecircuits.train.vitals import nonzeros, validate

    sample = run.config.train.eval_tokens // 8
    seen = validate(model, corpus.val, limit=sample, sample=sample, context=run.config.context)
    return {"l0": nonzeros(model), **seen.vitals.row()}


def _val_loss(run: Run, model: SparseGPT, corpus: Corpus | None, checkpoint: int | str | None) -> float:
    """The validation loss, measured now or, for want of the corpus, read from the run."""
    from sparsecircuits.train import evaluate

    if corpus is not None:
        return evaluate(model, corpus.val, limit=run.config.train.eval_tokens, context=run.config.context)
    result = run.result()
    if checkpoint is not None:
        raise CheckpointError(f"{run.folder}: its corpus is not here, and a checkpoint is measured on that")
    if result is None:
        raise CheckpointError(f"{run.folder}: neither its corpus nor its result.json is here")
    return result["val_loss"]
