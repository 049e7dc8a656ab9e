"""What RUN means."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.cli.arguments import new_run_folder, open_run
from sparsecircuits.errors import CheckpointError


def test_a_new_run_goes_into_runs_unless_its_name_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_run_folder("mine") == Path("runs/mine")
    assert new_run_folder("./mine") == Path("mine")
    assert new_run_folder("demo/sparse") == Path("demo/sparse")
    assert new_run_folder(str(tmp_path)) == tmp_path
    (tmp_path / "mine").mkdir()
    assert new_run_folder("mine") == Path("mine")


def test_an_empty_folder_is_no_run_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo" / "sparse").mkdir(parents=True)
    for name in (str(tmp_path), "demo/sparse"):
        with pytest.raises(CheckpointError, match=r"no run here: it holds no run\.json"):
            open_run(name)


def test_no_such_run_names_those_that_sound_like_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no run 'demo/spare', here or in runs; known: example"):
        open_run("demo/spare")
    (tmp_path / "runs" / "demo" / "sparse").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "sparse" / "run.json").touch()
    with pytest.raises(CheckpointError, match="did you mean 'demo/sparse'"):
        open_run("demo/spare")
