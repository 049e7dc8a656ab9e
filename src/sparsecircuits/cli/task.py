"""``sparsecircuits task``: the tasks there are, what one of them asks, and files of a user's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import open_run
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError, TaskFileError
from sparsecircuits.examples import EXAMPLE

if TYPE_CHECKING:
    from sparsecircuits.data.tokenizer import TextTokenizer
    from sparsecircuits.tasks import Task, TextPair
    from sparsecircuits.tasks.own import Checked

COLUMNS = (Column("name", "task"), Column("suite", "suite"), Column("form", "form"), Column("about", "about"))

#: Longest prompt where a tokenizer is given without a model.
CONTEXT = 128

_USAGE = {
    "list": "sparsecircuits task list [--suite python|stories|all] [--run RUN]",
    "new": "sparsecircuits task new NAME [--format yaml|jsonl|py]",
    "check": "sparsecircuits task check FILE [--run RUN | --tokenizer PATH]",
    "show": "sparsecircuits task show TASK|FILE [--run RUN]",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """List the tasks, show some prompt pairs of one, or make and check one of your own.

    The two prompts of a pair differ in few places, and what rightly follows differs with them. With --run
    they are shown as the tokens of that run's model, those that differ between brackets.

    A task of your own is a file: pairs in .jsonl, pairs or templates in .yaml, a function in .py. "new"
    writes one to begin with, "check" names everything that is wrong with it, by file and row, or shows five
    pairs and how many there are of each split. "the last token alone" is how far a model gets that sees
    nothing else: near 50%, unless the task is too easy. eval, prune and "show" take such a file in place of
    a task's name.

    Example: sparsecircuits task new mine && sparsecircuits task check mine.yaml
    """

    action: Annotated[
        Positional[Literal["list", "new", "check", "show"]], arg(metavar="list|new|check|show")
    ] = "list"
    """list all tasks, write a new file, check a file, or show a task's pairs."""
    name: Annotated[Positional[str | None], arg(metavar="TASK|FILE|NAME")] = None
    """The task to show, the file to show or check, or the name of the new one."""
    suite: Literal["python", "stories", "all"] = "python"
    """list: the paper's twenty, those in plain English, or both."""
    format: Literal["yaml", "jsonl", "py"] = "yaml"
    """new: which kind of file."""
    run: str | None = None
    """A run: its tokenizer and context are used, and its own tasks known; check: example if not given."""
    tokenizer: Path | None = None
    """check: a tokenizer's file or folder instead of a run."""
    context: int | None = None
    """check: longest prompt in tokens; RUN's context if not given, 128 with --tokenizer."""
    split: Literal["train", "validation", "heldout"] = "heldout"
    """show and check: which templates and names."""
    pairs: int = 5
    """show and check: how many pairs."""
    seed: int = 0
    """Chooses the pairs."""
    json: bool = False
    """Print JSON instead."""


def run(options: Options) -> None:
    """Do what was asked."""
    if (options.action == "list") != (options.name is None):
        raise ConfigError(f"usage: {_USAGE[options.action]}")
    if options.pairs < 1:
        raise ConfigError(f"--pairs is {options.pairs}; it must be at least 1")
    if options.name is None:
        _list(options)
    elif options.action == "new":
        _new(options.name, options)
    elif options.action == "check":
        _check(options.name, options)
    else:
        _show(options.name, options)


def _list(options: Options) -> None:
    from sparsecircuits.tasks import SUITES
    from sparsecircuits.tasks.own import kept_files, read_kept

    tasks = [
        task for suite, named in SUITES.items() for task in named.values() if options.suite in (suite, "all")
    ]
    if options.run is not None:
        kept = kept_files(open_run(options.run).folder)
        tasks += [read_kept(path) for path in kept.values() if path.suffix != ".py"]
    rows = [{key: getattr(task, key) for key in ("name", "suite", "form", "about")} for task in tasks]
    print_json(rows) if options.json else print_table(rows, COLUMNS)


def _new(name: str, options: Options) -> None:
    from sparsecircuits.tasks.own.starter import write_starter

    path = write_starter(name, options.format)
    if options.json:
        print_json({"file": str(path)})
        return
    print(f"{path}: a task to begin with; change it, then\n  sparsecircuits task check {path}")


def _show(name: str, options: Options) -> None:
    from sparsecircuits.tasks.own import resolve_task

    run = None if options.run is None else open_run(options.run)
    task = resolve_task(name, None if run is None else run.folder)
    if run is None:
        pairs = [_text_pair(text) for text in task.texts(options.split, options.pairs, seed=options.seed)]
    else:
        pairs = token_pairs(task, run.tokenizer(), options, min(64, run.config.model.n_ctx))
    if options.json:
        shown = {"name": task.name, "suite": task.suite, "form": task.form, "about": task.about}
        print_json({**shown, "split": options.split, "pairs": pairs})
        return
    print(_title(task))
    _print_pairs(pairs)


def _check(file: str, options: Options) -> None:
    """Read the file, look at it with a tokenizer, and say everything that is wrong or what there is."""
    from sparsecircuits.tasks.own import check_fit, try_task

    tokenizer, context = _measures(options)
    try:
        reading = try_task(file)
        if reading.task is None:
            raise reading.problems.error()
        checked = check_fit(reading.task, tokenizer, context, reading.problems)
    except TaskFileError as error:
        if options.json:
            print_json({"file": file, "ok": False, "problems": _problems(error)})
        raise
    task = reading.task
    pairs = _examples(task, tokenizer, options, context)
    if options.json:
        print_json(_report(file, task, checked, context, pairs))
        return
    print(_title(task))
    _print_pairs(pairs)
    print(f"\n{file}: fine")
    for line in _summary(task, checked, context):
        print(f"  {line}")


def _examples(task: Task, tokenizer: TextTokenizer, options: Options, context: int) -> list[dict[str, Any]]:
    """So many pairs of the split, and of others where a list has not so many."""
    others = [split for split in ("train", "validation", "heldout") if split != options.split]
    found: list[dict[str, Any]] = []
    for split in (options.split, *reversed(others)):
        if len(found) < options.pairs:
            wanted = options.replace(split=split, pairs=options.pairs - len(found))
            found += token_pairs(task, tokenizer, wanted, context)
    return found


def _measures(options: Options) -> tuple[TextTokenizer, int]:
    """The tokenizer and the longest prompt to check with."""
    if options.context is not None and options.context < 2:
        raise ConfigError(f"--context is {options.context}; it must be at least 2")
    if options.tokenizer is None:
        run = open_run(options.run or EXAMPLE)
        return run.tokenizer(), options.context or run.config.model.n_ctx
    if options.run is not None:
        raise ConfigError("--run and --tokenizer: give one of them")
    from sparsecircuits.data import open_tokenizer

    return open_tokenizer(options.tokenizer), options.context or CONTEXT


def _summary(task: Task, checked: Checked, context: int) -> list[str]:
    """What is worth knowing of a task that fits."""
    counts = ", ".join(
        f"{split} {len(pairs)}" if task.fixed is not None else f"{split} {checked.templates[split]}"
        for split, pairs in checked.pairs.items()
    )
    kind = "pairs" if task.fixed is not None else "templates"
    lines = [
        f"{kind}: {counts}",
        f"longest prompt: {checked.longest} of {context} tokens",
        f"the last token alone: {checked.last_token:.0%}",
    ]
    if checked.too_easy:
        lines.append("warning: the last token tells the answer, without anything that came before")
    return lines


def _report(
    file: str, task: Task, checked: Checked, context: int, pairs: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "file": file,
        "ok": True,
        "problems": [],
        "name": task.name,
        "about": task.about,
        "form": task.form,
        "kind": "templates" if task.fixed is None else "pairs",
        "splits": {
            split: {"pairs": len(found), "templates": checked.templates[split]}
            for split, found in checked.pairs.items()
        },
        "longest": checked.longest,
        "context": context,
        "last_token": checked.last_token,
        "too_easy": checked.too_easy,
        "pairs": pairs,
    }


def _problems(error: TaskFileError) -> list[dict[str, Any]]:
    return [{"row": place.row, "line": place.line, "reason": reason} for place, reason in error.problems]


def token_pairs(
    task: Task, tokenizer: TextTokenizer, options: Options, max_tokens: int
) -> list[dict[str, Any]]:
    """Pairs as the tokens of a model, with both candidates."""
    import torch

    pairs = task.pairs(tokenizer, options.split, options.pairs, seed=options.seed, max_tokens=max_tokens)

    def side(row: int) -> dict[str, Any]:
        ids = pairs.tokens[row, : int(pairs.last[row]) + 1].tolist()
        target, other = (
            None if i < 0 else tokenizer.text(i) for i in (int(pairs.target[row]), int(pairs.other[row]))
        )
        return {"tokens": [tokenizer.text(i) for i in ids], "right": target, "wrong": other}

    return [
        {
            "template": pairs.texts[i].template,
            "split": options.split,
            "differs": torch.nonzero(pairs.marked[i]).flatten().tolist(),
            "left": side(i),
            "right": side(i + len(pairs)),
        }
        for i in range(len(pairs))
    ]


def _text_pair(pair: TextPair) -> dict[str, Any]:
    left = {"text": pair.left, "answer": pair.left_answer}
    return {
        "template": pair.template,
        "left": left,
        "right": {"text": pair.right, "answer": pair.right_answer},
    }


def _title(task: Task) -> str:
    return f"{task.name} ({task.form})" + (f": {task.about}" if task.about else "")


def _print_pairs(pairs: list[dict[str, Any]]) -> None:
    for number, pair in enumerate(pairs, start=1):
        print(f"\n{number}. {pair['template']!r}")
        for side in ("left", "right"):
            print(f"   {side:<5} {_line(pair[side], pair.get('differs', ()))}")


def _line(side: dict[str, Any], differs: list[int]) -> str:
    if "text" in side:
        return f"{side['text']!r} → {side['answer']!r}"
    from sparsecircuits.viz.tokens import visible

    tokens = [visible(token) for token in side["tokens"]]
    marked = [f"[{token}]" if i in differs else token for i, token in enumerate(tokens)]
    right = "anything" if side["right"] is None else visible(side["right"])
    wrong = "" if side["wrong"] is None else f", not {visible(side['wrong'])}"
    return f"{' '.join(marked)}  →  {right}{wrong}"
