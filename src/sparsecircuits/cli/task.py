"""``sparsecircuits task``: the tasks there are, and what one of them asks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import open_run
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError

if TYPE_CHECKING:
    from sparsecircuits.data import Tokenizer
    from sparsecircuits.tasks import Task, TextPair

COLUMNS = (Column("name", "task"), Column("form", "form"), Column("about", "about"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """List the tasks, or show some prompt pairs of one.

    The two prompts of a pair differ in few places, and what rightly follows differs with them. With --run
    they are shown as the tokens of that run's model, those that differ between brackets.

    Example: sparsecircuits task show bracket_counting --run demo/sparse
    """

    action: Annotated[Positional[Literal["list", "show"]], arg(metavar="list|show")] = "list"
    """list all tasks, or show one."""
    name: Annotated[Positional[str | None], arg(metavar="TASK")] = None
    """The task to show."""
    run: str | None = None
    """A run, whose tokenizer is used; example: the one that comes with the package."""
    split: Literal["train", "validation", "heldout"] = "heldout"
    """Which templates and names."""
    pairs: int = 5
    """How many pairs."""
    seed: int = 0
    """Chooses the pairs."""
    json: bool = False
    """Print JSON instead."""


def run(options: Options) -> None:
    """Print the list, or the pairs."""
    from sparsecircuits.tasks import TASKS, get_task

    if (options.action == "show") != (options.name is not None):
        raise ConfigError("either sparsecircuits task list, or sparsecircuits task show TASK")
    if options.pairs < 1:
        raise ConfigError(f"--pairs is {options.pairs}; it must be at least 1")
    if options.name is None:
        rows = [{"name": task.name, "form": task.form, "about": task.about} for task in TASKS.values()]
        print_json(rows) if options.json else print_table(rows, COLUMNS)
        return
    task = get_task(options.name)
    if options.run is None:
        texts = task.texts(options.split, options.pairs, seed=options.seed)
        pairs = [_text_pair(text) for text in texts]
    else:
        opened = open_run(options.run)
        pairs = token_pairs(task, opened.tokenizer(), options, opened.config.model.n_ctx)
    if options.json:
        shown = {"name": task.name, "form": task.form, "about": task.about, "split": options.split}
        print_json({**shown, "pairs": pairs})
        return
    print(f"{task.name} ({task.form}): {task.about}")
    for number, pair in enumerate(pairs, start=1):
        print(f"\n{number}. {pair['template']!r}")
        for side in ("left", "right"):
            print(f"   {side:<5} {_line(pair[side], pair.get('differs', ()))}")


def token_pairs(task: Task, tokenizer: Tokenizer, options: Options, max_tokens: int) -> list[dict[str, Any]]:
    """Pairs as the tokens of a model, with both candidates."""
    import torch

    pairs = task.pairs(
        tokenizer, options.split, options.pairs, seed=options.seed, max_tokens=min(64, max_tokens)
    )

    def side(row: int) -> dict[str, Any]:
        ids = pairs.tokens[row, : int(pairs.last[row]) + 1].tolist()
        target, other = (
            None if i < 0 else tokenizer.text(i) for i in (int(pairs.target[row]), int(pairs.other[row]))
        )
        return {"tokens": [tokenizer.text(i) for i in ids], "right": target, "wrong": other}

    return [
        {
            "template": pairs.texts[i].template,
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


def _line(side: dict[str, Any], differs: list[int]) -> str:
    if "text" in side:
        return f"{side['text']!r} → {side['answer']!r}"
    from sparsecircuits.viz.tokens import visible

    tokens = [visible(token) for token in side["tokens"]]
    marked = [f"[{token}]" if i in differs else token for i, token in enumerate(tokens)]
    right = "anything" if side["right"] is None else visible(side["right"])
    wrong = "" if side["wrong"] is None else f", not {visible(side['wrong'])}"
    return f"{' '.join(marked)}  →  {right}{wrong}"
