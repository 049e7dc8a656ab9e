"""Files that are fine: what becomes of their rows, how they are dealt, and what editors do to them."""

from __future__ import annotations

import hashlib
import json

import pytest

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.tasks.own import check_fit, read_task, try_task
from sparsecircuits.tasks.own.splits import groups
from sparsecircuits.tasks.pairs import Task
from tests.tasks.own.conftest import WORDS, File, RowsAs, fine_rows


def words_of(task: Task) -> dict[str, list[str]]:
    """The first word of every pair, split by split."""
    assert task.fixed is not None
    return {split: [pair.left.split()[0] for pair in pairs] for split, pairs in task.fixed.items()}


@pytest.mark.parametrize("ending", ["jsonl", "yaml"])
def test_rows_without_a_split_are_dealt_in_their_order(rows_as: RowsAs, ending: str) -> None:
    task = read_task(rows_as(ending, fine_rows()))
    assert (task.name, task.about, task.form, task.suite) == ("mine", "", "contrast", "yours")
    assert (task.same_last, task.strict, task.min_tokens) == (True, True, 1)
    assert words_of(task) == {
        "train": ["item", "word", "user"],
        "validation": ["data", "path"],
        "heldout": ["line"],
    }
    pair = task.texts("heldout", 9)[0]
    assert (pair.left, pair.left_answer) == ("line = str()\nif x:\n    line", " +=")
    assert (pair.right, pair.right_answer) == ("line = set()\nif x:\n    line", ".add")
    assert pair.place is not None
    assert pair.template == str(pair.place)
    assert pair.place.row == 3


def test_rows_that_name_their_split_go_there(rows_as: RowsAs) -> None:
    splits = ("heldout", "train", "train", "validation", "train", "heldout")
    rows = [{**row, "split": split} for row, split in zip(fine_rows(), splits, strict=True)]
    assert words_of(read_task(rows_as("jsonl", rows))) == {
        "train": ["data", "line", "user"],
        "validation": ["word"],
        "heldout": ["item", "path"],
    }


def test_rows_of_one_template_stay_together(rows_as: RowsAs) -> None:
    rows = [{**row, "template": t} for row, t in zip(fine_rows(), "abacdd", strict=True)]
    assert words_of(read_task(rows_as("jsonl", rows))) == {
        "train": ["item", "line", "user", "path"],
        "validation": ["data"],
        "heldout": ["word"],
    }


def test_rows_of_one_prompt_are_one_group() -> None:
    assert groups([["a"], ["b"], ["a", "c"], ["d"], ["c", "e"], ["e", "b"]]) == [0, 0, 0, 1, 0, 0]
    assert groups([]) == []


def test_a_header_names_the_task(rows_as: RowsAs) -> None:
    header = {
        "name": "grows",
        "about": "how a\n variable grows",
        "form": "one_against_all",
        "same_last": False,
    }
    task = read_task(rows_as("jsonl", [header, *fine_rows()]))
    assert (task.name, task.about, task.form, task.same_last) == (
        "grows",
        "how a variable grows",
        "one_against_all",
        False,
    )
    assert task.texts("heldout", 1)[0].template == "row 4"  # the third pair, on the fourth line


def test_what_editors_do_to_a_file_changes_nothing(rows_as: RowsAs) -> None:
    path = rows_as("jsonl", fine_rows())
    plain = read_task(path)
    text = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + b"\r\n  \r\n")
    edited = read_task(path)
    assert edited.fixed == plain.fixed
    path.write_bytes(text.replace(b"\n", b"\r\n"))
    assert plain.definition is not None
    assert read_task(path).definition == plain.definition
    assert plain.definition.sha256 == hashlib.sha256(text).hexdigest()


def test_splits_as_keys_of_a_yaml_file(file: File) -> None:
    rows = fine_rows()
    text = json.dumps({"pairs": {"train": rows[:3], "validation": rows[3:4], "heldout": rows[4:]}})
    assert words_of(read_task(file("mine.yml", text))) == {
        "train": ["item", "data", "line"],
        "validation": ["word"],
        "heldout": ["user", "path"],
    }


def test_what_the_check_says_of_a_list(rows_as: RowsAs, tokenizer: Tokenizer) -> None:
    reading = try_task(rows_as("jsonl", fine_rows()))
    assert reading.task is not None
    checked = check_fit(reading.task, tokenizer, 64, reading.problems)
    assert {split: len(pairs) for split, pairs in checked.pairs.items()} == {
        "train": 3,
        "validation": 2,
        "heldout": 1,
    }
    assert checked.longest == 10  # <|endoftext|> and nine tokens
    assert checked.last_token == 0.5
    assert not checked.too_easy
    assert {tokenizer.text(int(i)) for i in checked.pairs["train"].target} == {" +=", ".add"}


def test_a_task_that_its_last_token_tells_is_too_easy(rows_as: RowsAs, tokenizer: Tokenizer) -> None:
    rows = [
        {"left": f"x = {w}\nfor", "left_answer": " x", "right": f"x = {w}\nwhile", "right_answer": " y"}
        for w in WORDS
    ]
    reading = try_task(rows_as("jsonl", [{"same_last": False}, *rows]))
    assert reading.task is not None
    checked = check_fit(reading.task, tokenizer, 64, reading.problems)
    assert checked.last_token == 1.0
    assert checked.too_easy


def test_the_right_side_of_one_against_all_may_be_longer(rows_as: RowsAs, tokenizer: Tokenizer) -> None:
    rows = [{**row, "right_answer": ".add(x)\n"} for row in fine_rows()]
    reading = try_task(rows_as("jsonl", [{"form": "one_against_all"}, *rows]))
    assert reading.task is not None
    assert check_fit(reading.task, tokenizer, 64, reading.problems).last_token == 0.5
