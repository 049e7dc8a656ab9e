"""``sparsecircuits eval RUN --against OTHER``: two models side by side.

Steps: make sure that both have one tokenizer; read the validation text of RUN's corpus, or of OTHER's where
that is gone, with both; ask both the same held-out prompts; draw the losses; print. Where neither corpus is
here, as for two bundled runs, only the tasks are compared, and it says so.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import NOTHING, Column, print_json, print_table
from sparsecircuits.cli.task_rows import task_row, variant_rows, with_notes
from sparsecircuits.errors import ConfigError, DataError
from sparsecircuits.examples import example_name

if TYPE_CHECKING:
    from sparsecircuits.data import Corpus
    from sparsecircuits.model import SparseGPT
    from sparsecircuits.study.compare import Comparison
    from sparsecircuits.tasks import Task
    from sparsecircuits.train import Run

MODEL_COLUMNS = (
    Column("name", "model"),
    Column("val_loss", "validation loss", ".4f"),
    Column("density", "density", ".4f"),
    Column("tokens", "tokens trained on", ",d"),
    Column("done", "tasks done", "d"),
)


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two runs, opened."""

    run: Run
    name: str
    """What tables and picture call it."""
    model: SparseGPT

    def facts(self, loss: float | None, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Its row in the table of models; without a loss, with the one that training stored."""
        result = self.run.result() or {}
        return {
            "name": self.name,
            "run": str(self.run.folder),
            "val_loss": result.get("val_loss") if loss is None else loss,
            "density": result.get("density"),
            "tokens": result.get("tokens"),
            "done": sum(row["done"] for row in rows),
        }


class Asked(NamedTuple):
    """What one model was asked: a row for each task, and for each variant."""

    tasks: list[dict[str, Any]]
    variants: list[dict[str, Any]]


def compare_runs(
    run: Run,
    other: Run,
    tasks: Sequence[Task],
    *,
    pairs: int,
    seed: int,
    variants: bool,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Measure both, draw and print.

    Raises:
        ConfigError: the runs have different tokenizers.
        DataError: a picture is asked for, but neither run's corpus is here; or one is damaged.
    """
    from sparsecircuits.viz.density import draw_density

    require_one_tokenizer(run, other)
    corpus = shared_text(run, other)
    if corpus is None and picture is not None:
        raise DataError(f"--picture needs a text that both read: {_no_text(run, other)}")
    first, second = sides(run, other)
    with Progress() as progress:
        found = None if corpus is None else _read_text(first, second, corpus, progress)
        asked = [
            _ask(side, tasks, pairs, seed, variants, _shorter(first, second), progress)
            for side in (first, second)
        ]
    path = None
    if found is not None:
        path = picture or default_picture(run, other)
        draw_density(
            found.first, found.second, path, names=(first.name, second.name), correlation=found.correlation
        )
    losses = (None, None) if found is None else (found.first_loss, found.second_loss)
    report = {
        "run": str(run.folder),
        "against": str(other.folder),
        "same_corpus": _trained_on(run) == _trained_on(other),
        "text": None if corpus is None or found is None else _text(corpus, found),
        "models": [
            side.facts(loss, own.tasks)
            for side, loss, own in zip((first, second), losses, asked, strict=True)
        ],
        "correlation": None if found is None else found.correlation,
        "rank_correlation": None if found is None else found.rank_correlation,
        "pairs": pairs,
        "seed": seed,
        "tasks": _beside(*(own.tasks for own in asked)),
        "variants": _beside(*(own.variants for own in asked)),
        "picture": None if path is None else str(path),
    }
    if as_json:
        print_json(report)
    else:
        print_comparison(report)


def _read_text(first: Side, second: Side, corpus: Corpus, progress: Progress) -> Comparison:
    from sparsecircuits.study.compare import compare_models

    def watch(done: int, total: int) -> None:
        progress.stage("validation text", done, total)

    limit = first.run.config.train.eval_tokens
    return compare_models(first.model, second.model, corpus.val, limit=limit, watch=watch)


def _ask(
    side: Side,
    tasks: Sequence[Task],
    pairs: int,
    seed: int,
    variants: bool,
    max_tokens: int,
    progress: Progress,
) -> Asked:
    """One model's rows on held-out prompts."""
    rows = Asked([], [])
    bar = progress.add(f"tasks {side.name}", total=len(tasks))
    for done, task in enumerate(tasks):
        bar.update(done)
        row = task_row(side.run, side.model, task, pairs, seed, splits=("heldout",), max_tokens=max_tokens)
        rows.tasks.append(row)
        if variants and row["fits"]:
            rows.variants.extend(
                variant_rows(side.run, side.model, task, row["scale"], pairs, seed, max_tokens=max_tokens)
            )
    bar.update(len(tasks))
    return rows


def _shorter(first: Side, second: Side) -> int:
    """The shorter of two contexts, so that both are asked the same prompts."""
    return min(first.model.config.n_ctx, second.model.config.n_ctx)


def require_one_tokenizer(run: Run, other: Run) -> None:
    """Refuse two runs whose tokens are not the same.

    Raises:
        ConfigError: naming both tokenizers.
    """
    ours, theirs = run.tokenizer(), other.tokenizer()
    if ours.hash != theirs.hash:
        raise ConfigError(
            f"{run.folder} and {other.folder} have different tokenizers ({ours.vocab_size} entries, sha256 "
            f"{ours.hash[:8]}…, and {theirs.vocab_size}, {theirs.hash[:8]}…); losses per token compare only "
            f"where both models read the same tokens: train both on one corpus (train's --data)"
        )


def shared_text(run: Run, other: Run) -> Corpus | None:
    """The corpus whose validation text both read: the first run's, the other's where that is gone, or none.

    Raises:
        DataError: it is damaged, or of another tokenizer than the runs.
    """
    from sparsecircuits.data import Corpus

    for folder in (run.corpus_folder, other.corpus_folder):
        if folder.is_dir():
            corpus = Corpus.open(folder)
            if corpus.tokenizer.hash != run.tokenizer().hash:
                raise DataError(f"{folder}: a corpus of another tokenizer than that of {run.folder}")
            return corpus
    return None


def sides(run: Run, other: Run) -> tuple[Side, Side]:
    """Both runs with their models, by short names where these differ."""
    names = call_it(run), call_it(other)
    if names[0] == names[1]:
        names = str(run.folder), str(other.folder)
    ours, theirs = (
        Side(one, name, one.model().to_sparse()) for one, name in zip((run, other), names, strict=True)
    )
    return ours, theirs


def call_it(run: Run) -> str:
    """The name of a bundled run, or of one on the Hub, or that of the folder."""
    return example_name(run.folder) or run.origin or run.folder.resolve().name


def default_picture(run: Run, other: Run) -> Path:
    """``RUN/against_OTHER.png``; for a run into which nothing is written, bundled or on the Hub, here."""
    elsewhere = example_name(run.folder) or run.origin
    name = f"against_{call_it(other)}.png".replace("/", "_")
    return Path(f"{elsewhere}_{name}".replace("/", "_")) if elsewhere else run.folder / name


def print_comparison(report: dict[str, Any]) -> None:
    """The tables, and what to say around them."""
    text, models = report["text"], report["models"]
    if text is None:
        print(
            "no text to compare on, as neither corpus is here; validation losses are as training stored them"
        )
    else:
        print(f"{text['tokens']:,} tokens of {text['corpus']}, context {text['n_ctx']}")
    if not report["same_corpus"]:
        print("note: the two models were trained on different corpora")
    print_table(models, MODEL_COLUMNS)
    names = [model["name"] for model in models]
    print_table(report["tasks"], _columns("task", names, ("loss", "accuracy", "done"), report["tasks"]))
    if report["variants"]:
        print_table(report["variants"], _columns("variant", names, ("loss", "accuracy"), report["variants"]))
    if text is not None:
        r, ranked = (_number(report[key]) for key in ("correlation", "rank_correlation"))
        print(f"loss per token: correlation {r}, of ranks {ranked}")
        print(f"picture: {report['picture']}")


def _no_text(run: Run, other: Run) -> str:
    folders = f"{run.folder} ({run.corpus_folder}) nor that of {other.folder} ({other.corpus_folder})"
    return f"neither the corpus of {folders} is here"


def _text(corpus: Corpus, found: Comparison) -> dict[str, Any]:
    return {"corpus": str(corpus.folder), "tokens": found.tokens, "n_ctx": found.n_ctx}


def _trained_on(run: Run) -> str | None:
    """The hash of the tokens that a run was trained on, wherever they lie now."""
    from sparsecircuits.train.run import RUN_FILE

    return json.loads((run.folder / RUN_FILE).read_text()).get("tokens_sha256")


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _columns(
    title: str, names: Sequence[str], keys: Sequence[str], rows: Sequence[dict[str, Any]]
) -> list[Column]:
    """A column for each figure of each model."""
    formats = {"loss": ".3f", "accuracy": ".1%", "done": ""}
    figures = [
        Column(f"{side}.{key}", f"{key}\n{name}", formats[key])
        for key in keys
        for side, name in zip(("run", "against"), names, strict=True)
    ]
    return with_notes([Column("name", title), *figures, Column("note", "note")], rows)


def _beside(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the two models side by side; the same tokenizer and length, so the same rows."""
    return [
        {"name": one["name"], "run": one, "against": other, "note": one["note"] or other["note"]}
        for one, other in zip(ours, theirs, strict=True)
    ]
