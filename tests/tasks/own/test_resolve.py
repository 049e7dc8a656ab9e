"""Which task a word means, and what a run's folder keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.errors import TaskError, TaskFileError
from sparsecircuits.tasks import get_task
from sparsecircuits.tasks.own import (
    is_of,
    keep_task,
    kept_files,
    named_task,
    read_task,
    resolve_task,
    version_of,
)
from tests.tasks.own.conftest import File, RowsAs, fine_rows
from tests.tasks.own.test_decorator import CODE


def test_a_built_in_task_and_a_variant_by_name(tmp_path: Path) -> None:
    for name in ("var_swap", "tense", "bracket_counting:long"):
        assert resolve_task(name, tmp_path) is get_task(name)


def test_a_file_by_its_path(rows_as: RowsAs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = rows_as("jsonl", fine_rows())
    assert resolve_task(str(path)).name == "mine"
    monkeypatch.chdir(tmp_path)
    assert resolve_task("mine.jsonl").name == "mine"
    with pytest.raises(TaskFileError, match=r"^other.yaml: cannot be read: No such file or directory$"):
        resolve_task("other.yaml")
    with pytest.raises(TaskFileError, match=r"^mine: has no ending; a task file ends in .jsonl, .yaml"):
        resolve_task("./mine")


def test_an_unknown_name(rows_as: RowsAs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_task(read_task(rows_as("jsonl", [{"name": "list_or_dict"}, *fine_rows()])), tmp_path)
    with pytest.raises(TaskError, match="unknown task 'list_or_dct'; did you mean 'list_or_dict'"):
        resolve_task("list_or_dct", tmp_path)
    with pytest.raises(TaskError, match="unknown task 'var_swp'; did you mean 'var_swap'"):
        resolve_task("var_swp")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match="unknown task 'mine'; to use the file, write mine.jsonl"):
        resolve_task("mine")


def test_what_a_run_keeps_is_the_same_task(rows_as: RowsAs, tmp_path: Path) -> None:
    run = tmp_path / "run"
    task = read_task(rows_as("jsonl", fine_rows()))
    keep_task(task, run)
    kept = named_task("mine", run)
    assert kept.fixed == task.fixed
    assert version_of(kept) == version_of(task)
    assert kept_files(run) == {"mine": run / "tasks" / "mine.jsonl"}
    keep_task(read_task(rows_as("yaml", fine_rows())), run)
    assert kept_files(run) == {"mine": run / "tasks" / "mine.yaml"}
    keep_task(get_task("var_swap"), run)
    assert list(kept_files(run)) == ["mine"]
    assert kept_files(None) == kept_files(tmp_path / "nowhere") == {}


def test_the_version_of_a_task_is_its_text(rows_as: RowsAs) -> None:
    rows = fine_rows()
    task = read_task(rows_as("jsonl", rows))
    info = version_of(task)
    assert list(info) == ["task_sha256"]
    assert is_of(info, task)
    rows[0]["left"] += "x"
    rows[0]["right"] += "x"
    assert not is_of(info, read_task(rows_as("jsonl", rows)))
    built_in = get_task("var_swap")
    assert version_of(built_in) == {}
    assert is_of({}, built_in)
    assert not is_of(info, built_in)
    assert not is_of({}, task)


def test_code_is_kept_and_never_run_from_a_run(file: File, tmp_path: Path) -> None:
    run = tmp_path / "run"
    keep_task(read_task(file("mine.py", CODE)), run)
    kept = run / "tasks" / "heads.py"
    assert kept.read_text() == CODE
    kept.write_text("raise SystemExit('it was run')\n")
    reason = "the task 'heads' is code, and code in a run's folder is not run; name the file"
    with pytest.raises(TaskFileError, match=reason):
        named_task("heads", run)


def test_a_circuits_task_is_never_a_path(rows_as: RowsAs, tmp_path: Path) -> None:
    path = rows_as("jsonl", fine_rows())
    with pytest.raises(TaskError, match="unknown task"):
        named_task(str(path), tmp_path)
