"""One tiny run, trained by the command itself, for the tests of all commands; and a way to call them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.cli import main
from sparsecircuits.tasks import TASKS
from tests.prune import planted

#: Settings of a pruning that takes a second on the planted run, and its task.
QUICK = (
    *("--steps", "60", "--penalties", "28", "--train-pairs", "64", "--selection-pairs", "32"),
    *("--validation-pairs", "32", "--heldout-pairs", "32", "--mean-tokens", "512"),
)
NAME = planted.STRING_CLOSING.name


@dataclass(frozen=True)
class Outcome:
    """What a command returned and printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Outcome]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in this process; a wide terminal, so that no table is folded."""
    monkeypatch.setenv("COLUMNS", "250")

    def run(*words: str | Path) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stopped:  # tyro's way out
            code = int(stopped.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny preset, trained once; tests that write use a copy of it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", str(folder), "--preset", "tiny", "--json"]) == 0
    return folder


@pytest.fixture
def own_run(trained: Path, tmp_path: Path) -> Path:
    """A copy to write into."""
    return Path(shutil.copytree(trained, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def the_task() -> Iterator[None]:
    """The planted run's task is a built-in one meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, NAME, planted.STRING_CLOSING)
        yield


@pytest.fixture(scope="module")
def planted_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model whose circuit is known."""
    return planted.planted_run(tmp_path_factory.mktemp("planted")).folder


@pytest.fixture
def folder(planted_run: Path, tmp_path: Path) -> Path:
    """A copy of it to write into."""
    return Path(shutil.copytree(planted_run, tmp_path / "run"))
