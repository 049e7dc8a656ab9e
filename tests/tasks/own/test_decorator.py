"""Tasks as functions, in Python and from a file, and what their code can do wrong."""

from __future__ import annotations

import random

import pytest

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import TaskError, TaskFileError
from sparsecircuits.tasks import TextPair, own_task
from sparsecircuits.tasks.own import check_fit, read_task, try_task
from tests.tasks.own.conftest import File, mistakes

LETTERS = {"train": "abc", "validation": "de", "heldout": "fg"}


def pair_of(rng: random.Random, split: str) -> TextPair:
    name = rng.choice(LETTERS[split])
    return TextPair(f"for {name}", f"while {name}", " in", ":")


def test_a_function_becomes_a_task(tokenizer: Tokenizer) -> None:
    @own_task(form="contrast")
    def heads(rng, split):
        """How a loop's head goes on.

        More about it.
        """
        return pair_of(rng, split)

    assert (heads.name, heads.about) == ("heads", "How a loop's head goes on.")
    assert (heads.suite, heads.strict, heads.fixed) == ("yours", True, None)
    pairs = heads.pairs(tokenizer, "heldout", 20)
    assert {pair.left for pair in pairs.texts} == {"for f", "for g"}
    assert set(pairs.templates) == {"heads"}


def test_a_function_may_ask_for_the_room() -> None:
    rooms: list[int] = []

    @own_task("name_of_its_own", about="this", same_last=False)
    def heads(rng, split, room):
        rooms.append(room)
        return TextPair("for x", "while x", " in", ":", template="<<for|while>> x")

    assert (heads.name, heads.about, heads.same_last) == ("name_of_its_own", "this", False)
    assert heads.texts("train", 3)[0].template == "<<for|while>> x"
    assert len(set(rooms)) == 3


def test_functions_that_cannot_be_tasks() -> None:
    with pytest.raises(TaskError, match=r"task f: its function takes \(rng, split\) or \(rng, split, room\)"):
        own_task("f")(lambda rng: pair_of(rng, "train"))
    with pytest.raises(TaskError, match=r"@own_task needs brackets: @own_task\(\)"):
        own_task(pair_of)  # type: ignore[arg-type]


CODE = '''
from sparsecircuits.tasks import TextPair, own_task, get_task

OTHER = get_task("var_swap")
WORDS = {"train": "abc", "validation": "de", "heldout": "fg"}

@own_task()
def heads(rng, split):
    """for or while"""
    name = rng.choice(WORDS[split])
    return TextPair(f"for {name}", f"while {name}", " in", ":")
'''


def test_a_file_of_code(file: File, tokenizer: Tokenizer) -> None:
    path = file("mine.py", CODE)
    task = read_task(path)
    assert (task.name, task.about) == ("heads", "for or while")
    assert task.definition is not None
    assert (task.definition.file, task.definition.text) == (str(path), CODE)
    reading = try_task(path)
    assert reading.task is not None
    assert check_fit(reading.task, tokenizer, 64, reading.problems).last_token == 0.5


DRAWN = "return TextPair"
WRONG_CODE = [
    ("def f(:\n", "line 1: not Python: invalid syntax"),
    ("x = 1\n\ny = x / 0\n", "line 3: raised ZeroDivisionError: division by zero"),
    ("import sys\nsys.exit(3)\n", "line 2: raised SystemExit: 3"),
    ("x = 1\n", "no task: no @own_task() before a function"),
    (CODE + CODE.replace("heads", "other"), "several tasks (heads, other); a file has one"),
    (
        CODE.replace("@own_task()", "@own_task"),
        "line 7: raised TaskError: @own_task needs brackets: @own_task()",
    ),
    (
        CODE.replace("@own_task()", "@own_task('var_swap')"),
        "the name 'var_swap' is that of a built-in task; choose another with 'name'",
    ),
    (CODE.replace(DRAWN, "return 5 #"), "task heads: its function returned 5; it returns a TextPair"),
    (
        CODE.replace(DRAWN, "return 1 / 0 #"),
        "task heads: its function raised ZeroDivisionError: division by zero (line 11)",
    ),
    (
        CODE.replace("rng.choice", "__import__('random').choice"),
        "train: the same seed draws other pairs; chance may come from rng alone",
    ),
    (CODE.replace('":"', '" in"'), "row 1: equal answers: left_answer and right_answer are both ' in'"),
    (CODE.replace("while", "for"), "row 1: equal prompts: left and right are the same text"),
    (CODE.replace("for {", "<pad>for {"), "row 1: left holds '<pad>', which is padding; prompts are written"),
]


@pytest.mark.parametrize(("text", "reason"), WRONG_CODE)
def test_code_that_is_refused(file: File, text: str, reason: str) -> None:
    path = file("mine.py", text)
    with pytest.raises(TaskFileError) as error:
        read_task(path)
    assert error.value.lines[0].startswith(f"{path}: {reason}")


def test_a_prompt_in_two_splits(file: File) -> None:
    found = mistakes(file("mine.py", CODE.replace("WORDS[split]", "'abcdefgh'")))
    assert len(found) == 1
    assert found[0].startswith("row ")
    assert "leakage: its prompt 'for " in found[0]
    assert "is drawn for validation here and for train in row " in found[0]
