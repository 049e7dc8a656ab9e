"""One run a folder: who holds it is told; a folder that stays empty goes again."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from sparsecircuits.errors import RunLocked, SaveError
from sparsecircuits.train.lock import LOCK_FILE, lock_holder, run_lock


def test_the_holder_is_told_and_the_lock_goes(tmp_path: Path):
    folder = tmp_path / "run"
    assert lock_holder(folder) is None
    with run_lock(folder):
        holder = lock_holder(folder)
        assert holder is not None
        assert holder.pid == os.getpid()
        (folder / "run.json").touch()
    assert lock_holder(folder) is None
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_another_thread_is_refused_and_the_same_one_may_nest(tmp_path: Path):
    caught: list[RunLocked] = []

    def intrude() -> None:
        try:
            with run_lock(tmp_path):
                pass
        except RunLocked as error:
            caught.append(error)

    with run_lock(tmp_path):
        with run_lock(tmp_path / "." / "sub" / ".."):
            pass
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
        assert lock_holder(tmp_path) is not None
    assert f"{tmp_path} is being trained: process {os.getpid()} on " in str(caught[0])


def test_a_file_that_nobody_holds_is_taken_over(tmp_path: Path):
    (tmp_path / LOCK_FILE).write_text('{"pid": 1, "host": "gone", "since": "long ago"}')
    assert lock_holder(tmp_path) is None
    with run_lock(tmp_path):
        assert lock_holder(tmp_path) is not None


def test_an_empty_folder_is_not_left_behind(tmp_path: Path):
    with run_lock(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()


def test_a_disk_that_has_become_read_only_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    before = len(os.listdir("/dev/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(SaveError, match="model: not saved"), run_lock(tmp_path):
            raise SaveError("model: not saved")
    assert len(os.listdir("/dev/fd")) == before
    with run_lock(tmp_path):  # the file that stayed is taken over
        pass
