"""The run that comes with the package: drawn, opened, read by every command, and written by none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import webbrowser
from pathlib import Path

import pytest

from sparsecircuits.cli.arguments import new_run_folder, open_own_run, open_run, saved_circuits
from sparsecircuits.errors import ConfigError
from sparsecircuits.examples import example_folder

#: The smallest circuit, for tests that draw.
TASK = "set_or_string_fixedvarname"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened in a browser; none opens."""
    urls: list[str] = []

    def note(url: str) -> bool:
        urls.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", note)
    return urls


def contents() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in example_folder().rglob("*")}


def test_view_example_is_a_page_in_seconds(tmp_path: Path) -> None:
    before, start = contents(), time.perf_counter()
    used = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "sparsecircuits", "view", "example", "--export", "example.html"],
        capture_output=True,
        text=True,
        check=True,
    )
    after = os.times()
    # Seconds of the processor, which other programs' load does not change much.
    spent = after.children_user + after.children_system - used.children_user - used.children_system
    assert min(spent, time.perf_counter() - start) < 12
    assert done.stdout == "example.html\n"
    page = (tmp_path / "example.html").read_text(encoding="utf-8")
    for circuit in saved_circuits(open_run("example")):
        assert f'"example/{circuit.task}"' in page
    assert "<title>Circuits of the bundled run example</title>" in page
    assert contents() == before


EXPORT = ("--export", "example.html")


def test_it_is_opened_when_asked_for(call, opened: list[str], tmp_path: Path) -> None:
    assert call("view", "example", TASK, *EXPORT).out == "example.html\n"
    assert opened == []
    call("view", "example", TASK, *EXPORT, "--open")
    call("view", "example", TASK, "--png", "circuit.png", "--open")
    assert opened == [(tmp_path / name).as_uri() for name in ("example.html", "circuit.png")]


def test_without_a_browser_it_says_so(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    done = call("view", "example", TASK, *EXPORT, "--open")
    assert (done.code, done.out) == (0, "example.html\n")
    assert done.err.endswith("no browser was found; open the file in one\n")


def test_every_command_that_reads_takes_it(call) -> None:
    before = contents()
    report = call("eval", "example", "--task", TASK, "--pairs", "32", "--json").json
    assert report["val_loss_measured"] is False
    assert report["tasks"][0]["done"] is True
    assert call("generate", "example", "for item in", "--tokens", "4").out.startswith("for item in")
    assert "<|endoftext|>" in call("task", "show", TASK, "--run", "example", "--pairs", "1").out
    assert call("view", "example", TASK, "--png", "circuit.png").out == "circuit.png\n"
    assert contents() == before


@pytest.mark.parametrize("name", ["example", str(example_folder())])
def test_no_command_writes_into_it(call, name: str, tmp_path: Path) -> None:
    before = contents()
    pruned = call("prune", name, TASK)
    assert pruned.code == 2
    assert len(pruned.err.splitlines()) == 1
    assert f"cp -r {example_folder()} mine" in pruned.err
    trained = call("train", name)
    assert trained.code == 2
    assert trained.err.startswith(
        f"error: {name!r} is a run that comes with the package; choose another name"
    )
    assert call("view", name, TASK, *EXPORT).out == "example.html\n"
    assert contents() == before


def test_the_copy_that_is_advised_is_ones_own(call, tmp_path: Path) -> None:
    shutil.copytree(example_folder(), "mine")
    assert open_own_run("mine").folder == Path("mine")
    done = call("prune", "mine", "else_elif")
    assert done.code == 2
    assert (
        f"the run's corpus is not at {tmp_path / 'mine' / 'data'}; {Path('mine/README.md')} says" in done.err
    )


def test_the_word_always_means_the_bundled_run(tmp_path: Path) -> None:
    """Runs of that name are opened by their path."""
    for folder in (Path("example"), Path("runs/example")):
        shutil.copytree(example_folder(), folder)
        assert open_run("example").folder == example_folder()
        assert open_run(f".{os.sep}{folder}").folder == folder
    with pytest.raises(ConfigError, match=r"choose another name, or a path such as runs.example"):
        new_run_folder("example")
    assert new_run_folder("runs/example") == Path("runs/example")
