"""The file to begin with: it passes the check as it is, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import ConfigError, TaskFileError
from sparsecircuits.tasks.own import check_fit, try_task
from sparsecircuits.tasks.own.starter import Format, write_starter


@pytest.mark.parametrize("format", ["yaml", "jsonl", "py"])
def test_it_is_a_task(tmp_path: Path, tokenizer: Tokenizer, format: Format) -> None:
    path = write_starter(str(tmp_path / "my_task"), format)
    assert path == tmp_path / f"my_task.{format}"
    reading = try_task(path)
    assert reading.task is not None
    assert reading.task.name == "my_task"
    assert reading.task.about == "what was set to str() grows by +=, what was set to set() by .add"
    checked = check_fit(reading.task, tokenizer, 64, reading.problems)
    assert checked.last_token == 0.5
    for pairs in checked.pairs.values():
        assert {tokenizer.text(int(i)) for i in pairs.target} == {" +=", ".add"}


def test_a_name_with_its_ending(tmp_path: Path) -> None:
    assert write_starter(str(tmp_path / "my_task.yaml"), "yaml") == tmp_path / "my_task.yaml"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"mine.yaml is there already, and nothing is overwritten"):
        write_starter(str(tmp_path / "mine"), "yaml")
    assert path.read_text() == "mine"


def test_names_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(TaskFileError, match="the name 'var_swap' is that of a built-in task"):
        write_starter(str(tmp_path / "var_swap"), "yaml")
    with pytest.raises(TaskFileError, match=r"the task's name is 'my task'; allowed: letters"):
        write_starter(str(tmp_path / "my task"), "yaml")
    with pytest.raises(ConfigError, match="there is no folder"):
        write_starter(str(tmp_path / "nowhere" / "mine"), "yaml")
    assert list(tmp_path.iterdir()) == []
