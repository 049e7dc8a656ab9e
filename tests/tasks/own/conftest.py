"""Ways to write a task file, and the rows of one that is fine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsecircuits.errors import TaskFileError
from sparsecircuits.tasks.own import try_task

WORDS = ("item", "data", "line", "word", "user", "path")

#: ``rows_as(ending, rows)``: a file with these pairs.
RowsAs = Callable[[str, list[dict[str, Any]]], Path]
#: ``file(name, text)``: a file with this text.
File = Callable[[str, str], Path]


def fine_rows() -> list[dict[str, Any]]:
    """Six pairs: ``x = str()`` grows by ``+=``, ``x = set()`` by ``.add``."""
    return [
        {
            "left": f"{word} = str()\nif x:\n    {word}",
            "right": f"{word} = set()\nif x:\n    {word}",
            "left_answer": " +=",
            "right_answer": ".add",
        }
        for word in WORDS
    ]


def mistakes(path: Path) -> list[str]:
    """What is wrong with a file, without its name in front of each line."""
    found = try_task(path).problems.error()
    return [line.removeprefix(f"{path}: ") for line in found.lines]


def lines(error: TaskFileError) -> list[str]:
    """The same of an error that was raised."""
    return [line.removeprefix(f"{error.file}: ") for line in error.lines]


@pytest.fixture
def file(tmp_path: Path) -> File:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8", newline="")
        return path

    return write


@pytest.fixture
def rows_as(file: File) -> RowsAs:
    def write(ending: str, rows: list[dict[str, Any]]) -> Path:
        if ending == "jsonl":
            return file("mine.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return file("mine.yaml", yaml.safe_dump({"pairs": rows}, sort_keys=False))

    return write
