"""The twenty tasks of Gao et al. 2025, Table 1, and what is needed to write more.

``TASKS`` maps names to tasks in the order of the table below; :func:`get_task` looks one up.

| family | tasks |
|---|---|
| :mod:`strings` | ``single_double_quote``, ``fstring_brace`` |
| :mod:`brackets` | ``bracket_counting``, ``bracket_brace`` |
| :mod:`variables` | ``set_or_string_fixedvarname``, ``set_or_string`` |
| :mod:`loops` | ``for_while``, ``enumerate_range``, ``while_return_true``, ``indent_for`` |
| :mod:`files` | ``with_as``, ``with_open`` |
| :mod:`conditions` | ``if_equals``, ``var_if``, ``if_ternary``, ``else_elif`` |
| :mod:`functions` | ``lambda_func``, ``final_kwarg`` |
| :mod:`copying` | ``var_swap``, ``class_init`` |
"""

from __future__ import annotations

from dataclasses import dataclass

from sparsecircuits.data.idioms.names import Split
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import TaskError, near_misses
from sparsecircuits.tasks import brackets, conditions, copying, files, functions, loops, strings, variables
from sparsecircuits.tasks.loss import correct, task_loss
from sparsecircuits.tasks.overlap import found_in, prompts_of, without_overlap
from sparsecircuits.tasks.own.decorator import own_task
from sparsecircuits.tasks.pairs import Form, Task, TextPair, TokenPairs
from sparsecircuits.tasks.stories import STORY_TASKS
from sparsecircuits.tasks.surroundings import Surroundings
from sparsecircuits.tasks.template import template_task
from sparsecircuits.tasks.variants import VARIANTS, variants_of

__all__ = [
    "STORY_TASKS",
    "SUITES",
    "TASKS",
    "VARIANTS",
    "Form",
    "Split",
    "Surroundings",
    "Task",
    "TaskRow",
    "TextPair",
    "TokenPairs",
    "built_in_tasks",
    "correct",
    "describe_tasks",
    "found_in",
    "get_task",
    "own_task",
    "prompts_of",
    "task_loss",
    "template_task",
    "variants_of",
    "without_overlap",
]

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        strings.SINGLE_DOUBLE_QUOTE,
        brackets.BRACKET_COUNTING,
        variables.SET_OR_STRING_FIXEDVARNAME,
        variables.SET_OR_STRING,
        loops.FOR_WHILE,
        functions.LAMBDA_FUNC,
        files.WITH_AS,
        conditions.IF_EQUALS,
        conditions.VAR_IF,
        brackets.BRACKET_BRACE,
        loops.ENUMERATE_RANGE,
        loops.WHILE_RETURN_TRUE,
        strings.FSTRING_BRACE,
        conditions.IF_TERNARY,
        conditions.ELSE_ELIF,
        functions.FINAL_KWARG,
        copying.VAR_SWAP,
        copying.CLASS_INIT,
        files.WITH_OPEN,
        loops.INDENT_FOR,
    )
}

SUITES: dict[str, dict[str, Task]] = {"python": TASKS, "stories": STORY_TASKS}
"""Every collection of tasks by :attr:`Task.suite`: the paper's twenty, and questions about plain English."""


def built_in_tasks() -> dict[str, Task]:
    """Every task and variant of every suite by name."""
    return {**TASKS, **STORY_TASKS, **VARIANTS}


def get_task(name: str) -> Task:
    """The built-in task or variant of that name; :func:`~.own.resolve_task` knows a user's own too.

    Raises:
        TaskError: there is none; the message names the closest.
    """
    known = built_in_tasks()
    if name not in known:
        raise TaskError(f"unknown task {name!r}; {near_misses(name, known)}")
    return known[name]


@dataclass(frozen=True)
class TaskRow:
    """One line of a table of tasks."""

    name: str
    about: str
    form: Form
    candidates: tuple[str, str]
    """The two candidates as this tokenizer has them; the second is "not" for ``one_against_all``."""
    example: TextPair


def describe_tasks(tokenizer: TextTokenizer, *, max_tokens: int = 64) -> list[TaskRow]:
    """All tasks, each with its first training pair.

    Raises:
        TaskError: a task whose pairs do not fit this tokenizer.
    """
    rows = []
    for task in TASKS.values():
        pair = task.pairs(tokenizer, "train", 1, max_tokens=max_tokens)
        left = tokenizer.text(int(pair.target[0]))
        right = tokenizer.text(int(pair.target[1])) if task.form == "contrast" else "not " + left
        rows.append(TaskRow(task.name, task.about, task.form, (left, right), pair.texts[0]))
    return rows
