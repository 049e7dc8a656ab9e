"""Tasks on the command line: which of them a run is asked, and one row of figures for each.

Rows are plain mappings that :mod:`sparsecircuits.cli.report` prints as a table or as JSON; several commands
share them. A task that does not fit the run's tokenizer has a row too, with the reason as its note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sparsecircuits.cli.report import Column
from sparsecircuits.errors import TaskError

if TYPE_CHECKING:
    from sparsecircuits.data import Corpus
    from sparsecircuits.data.idioms.names import Split
    from sparsecircuits.model import SparseGPT
    from sparsecircuits.tasks import Task, TokenPairs
    from sparsecircuits.tasks.evaluate import Watch
    from sparsecircuits.train import Run

Suite = Literal["auto", "python", "stories", "all"]

FIGURES = ("loss", "raw_loss", "accuracy", "scale", "gap")
"""The figures of a row, None where a task does not fit."""


def chosen_tasks(run: Run, names: Sequence[str], suite: Suite = "auto") -> list[Task]:
    """The tasks of those names, or of the suite if none is named.

    Args:
        run: "auto" takes the suite that its corpus teaches, and ``python`` where that corpus is gone.
        names: built-in tasks, files of a user's own tasks, or own tasks kept in the run's folder.
        suite: a suite's name, or "all".

    Raises:
        TaskError: there is no such task (TaskFileError: its file has mistakes, or it does not fit the model).
    """
    from sparsecircuits.data.manifest import read_manifest
    from sparsecircuits.data.shards import MANIFEST
    from sparsecircuits.tasks import SUITES

    if names:
        from sparsecircuits.tasks.own import require_fit, resolve_task

        tasks = [resolve_task(name, run.folder) for name in dict.fromkeys(names)]
        for task in tasks:
            require_fit(task, run.tokenizer(), run.config.model.n_ctx)
        return tasks
    if suite == "auto":
        there = run.corpus_folder.is_dir()
        suite = suite_taught(read_manifest(run.corpus_folder / MANIFEST).config.mix) if there else "python"
    return [task for name, tasks in SUITES.items() if suite in (name, "all") for task in tasks.values()]


def suite_taught(mix: Mapping[str, float]) -> Suite:
    """The suite that a corpus of these sources teaches.

    >>> suite_taught({"stories": 1.0}), suite_taught({"idioms": 0.9, "stdlib": 0.1})
    ('stories', 'python')
    >>> suite_taught({"idioms": 0.5, "stories": 0.5})
    'all'
    """
    if "stories" not in mix:
        return "python"
    return "stories" if len(mix) == 1 else "all"


def task_row(
    run: Run,
    model: SparseGPT,
    task: Task,
    pairs: int = 512,
    seed: int = 0,
    *,
    splits: Sequence[Split] | None = None,
    max_tokens: int | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """One task: its figures, or None for each and the reason where it does not fit the tokenizer.

    Args:
        run: whose tokenizer resolves the prompts.
        model: the run's.
        task: a task, or a variant with a scale of its own.
        pairs: of each split.
        seed: chooses them.
        splits: which to measure, ``heldout`` always; None: all.
        max_tokens: longest prompt; None: the model's whole context.
        watch: told of each set of pairs once it is measured.
    """
    from sparsecircuits.data.idioms.names import SPLITS
    from sparsecircuits.tasks.evaluate import evaluate_task

    row: dict[str, Any] = {"name": task.name, **dict.fromkeys(FIGURES), "fitted_on": None, "splits": {}}
    try:
        score = evaluate_task(
            model,
            task,
            run.tokenizer(),
            pairs=pairs,
            seed=seed,
            max_tokens=max_tokens,
            splits=SPLITS if splits is None else splits,
            watch=watch,
        )
    except TaskError as error:
        return {**row, "done": False, "fits": False, "note": brief(error), "error": str(error)}
    row |= {key: getattr(score, key) for key in FIGURES}
    row |= {key: score.to_dict()[key] for key in ("fitted_on", "splits")}
    left_out = sum(len(measured.pairs.left_out) for measured in score.splits.values())
    note = f"templates that never fit: {left_out}" if left_out else None
    return {**row, "done": score.done, "fits": True, "note": note}


def variant_rows(
    run: Run,
    model: SparseGPT,
    task: Task,
    scale: float,
    pairs: int = 512,
    seed: int = 0,
    *,
    max_tokens: int | None = None,
    watch: Watch | None = None,
) -> list[dict[str, Any]]:
    """The variants of a task, measured on held-out pairs with the task's scale; else as :func:`task_row`."""
    from sparsecircuits.tasks import variants_of
    from sparsecircuits.tasks.evaluate import evaluate_variant

    rows: list[dict[str, Any]] = []
    for variant in variants_of(task):
        name = {"name": variant.name}
        try:
            found = evaluate_variant(
                model,
                variant,
                run.tokenizer(),
                scale,
                pairs=pairs,
                seed=seed,
                max_tokens=max_tokens,
                watch=watch,
            )
        except TaskError as error:
            nothing = dict.fromkeys(("loss", "raw_loss", "accuracy", "pairs"))
            rows.append({**name, **nothing, "note": brief(error)})
        else:
            rows.append({**name, **found.to_dict(), "note": None})
    return rows


def overlaps(measured: Sequence[TokenPairs], corpus: Corpus) -> list[int]:
    """How many prompts of each set stand word for word in the training part of the corpus."""
    from sparsecircuits.tasks import found_in, prompts_of

    prompts = [prompts_of(pairs) for pairs in measured]
    # One pass over the corpus for all of them: reading it is most of the work.
    found = iter(found_in([prompt for some in prompts for prompt in some], corpus.train, corpus.tokenizer))
    return [sum(bool(next(found)) for _ in some) for some in prompts]


def with_notes(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> list[Column]:
    """The columns, without ``note`` where no row has one."""
    noted = any(row["note"] for row in rows)
    return [column for column in columns if noted or column.key != "note"]


def brief(error: Exception | str, limit: int = 90) -> str:
    """An error's first line, cut to fit into a table."""
    line = str(error).splitlines()[0]
    return line if len(line) <= limit else line[: limit - 1] + "…"
