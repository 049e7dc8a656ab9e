"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sparsecircuits.errors import SaveError
from sparsecircuits.files import (
    append_line,
    cause_of,
    placed,
    placed_folder,
    sweep,
    write_atomic,
    written,
)


def test_a_failed_block_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "a"
    write_atomic(path, b"old")

    def fail() -> None:
        with written(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_the_system_refuses_names_file_and_cause(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(SaveError, match=f"^{path}: not saved: No space left on device$") as caught:
        write_atomic(path, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_read_back_is_compared_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a"
    write_atomic(path, b"old")
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: self.open("wb").close())
    with pytest.raises(SaveError, match="what was read back is not what was written"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_an_error_of_the_block_is_not_taken_for_one_of_the_disk(tmp_path: Path):
    def read_another() -> None:
        with placed(tmp_path / "a"):
            (tmp_path / "missing").read_bytes()

    with pytest.raises(FileNotFoundError, match="missing"):
        read_another()


def test_a_folder_takes_its_place_when_it_is_full(tmp_path: Path):
    for text in ("one", "two"):
        with placed_folder(tmp_path / "deep" / "b") as partial:
            (partial / "file").write_text(text)
            assert partial.name == "b.partial"
        assert (tmp_path / "deep" / "b" / "file").read_text() == text
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["b"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path):
    with placed_folder(tmp_path / "b") as partial:
        (partial / "file").write_text("old")

    def fail() -> None:
        with placed_folder(tmp_path / "b"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(SaveError, match="b: not saved: Input/output error"):
        fail()
    assert (tmp_path / "b" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_line_is_appended_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "lines"
    append_line(path, "one")
    append_line(path, "two")
    assert path.read_text() == "one\ntwo\n"


def test_leftovers_are_swept_and_nothing_else(tmp_path: Path):
    for name in (".a.17.tmp", ".b.17.tmp", ".tmpQuWPcl", "a", "keep.tmp"):
        (tmp_path / name).touch()
    (tmp_path / "step_000004.partial").mkdir()
    sweep(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.17.tmp", "a", "keep.tmp"]


def test_the_cause_in_the_words_of_a_library():
    cause = cause_of(ValueError("I/O error: No space left on device (os error 28)"))
    assert (cause.errno, cause.strerror) == (28, "No space left on device")
    assert str(cause_of(ValueError("something else"))) == "something else"
