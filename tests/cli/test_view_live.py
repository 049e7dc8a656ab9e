"""``sparsecircuits view`` as a server: which runs it takes, what it prints, how it ends."""

from __future__ import annotations

import builtins
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.cli import live
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.examples import example_folder

pytest.importorskip("uvicorn", reason="the extra app is not installed")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and the address that it prints."""
    command = [sys.executable, "-m", "sparsecircuits", "view", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_it_serves_until_interrupted() -> None:
    with serving("example", "--port", "0") as (process, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        assert status(address) == 200
        assert status(f"{address}c/example/for_while") == 200
        assert status(f"{address}c/example/with_as") == 404
        assert process.stdout is not None
        assert process.stdout.readline() == "Ctrl-C ends the viewer\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")


def test_open_to_others_it_warns_and_asks_for_the_token() -> None:
    """V1."""
    with serving("example", "--port", "0", "--host", "0.0.0.0") as (process, address):
        found = re.fullmatch(r"(http://localhost:\d+/)\?token=[\w-]{43}", address)
        assert found is not None
        local = found[1].replace("localhost", "127.0.0.1")
        assert status(local) == 401
        process.kill()
        assert process.communicate()[1].startswith("warning: --host 0.0.0.0 lets other machines reach")


class Stand:
    """What stands for a server that would not end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.libraries: list[Any] = []
        self.opened: list[str] = []

        def run(_bound: Any, library: Any, started: Any) -> None:
            self.libraries.append(library)
            started()
            _bound.sock.close()

        from sparsecircuits.viz.server.serve import Bound

        monkeypatch.setattr(Bound, "run", run)
        monkeypatch.setattr(webbrowser, "open", lambda url: self.opened.append(url) is None)


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(monkeypatch)


def test_the_browser_opens_in_a_terminal_or_when_asked_for(call, stand: Stand, monkeypatch) -> None:
    address = call("view", "example", "--port", "0").out.splitlines()[0]
    assert address.startswith("http://127.0.0.1:")
    assert stand.opened == []
    assert call("view", "example", "--port", "0", "--open").out.splitlines()[0] == stand.opened[0]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    call("view", "example", "--port", "0")
    call("view", "example", "--port", "0", "--no-browser")
    assert len(stand.opened) == 2
    assert call("view", "example", "--open", "--no-browser").code == 2


def test_which_runs_are_listed(call, stand: Stand) -> None:
    shutil.copytree(example_folder(), "runs/mine/sparse")
    shutil.copytree(example_folder(), "runs/yours")
    assert call("view", "--port", "0").code == 0
    assert [run.name for run in stand.libraries[-1].runs()] == [
        "mine/sparse",
        "yours",
        "example",
        "example-small",
    ]
    assert call("view", "yours", "for_while", "--port", "0").code == 0
    (run,) = stand.libraries[-1].runs()
    assert (run.key, list(run.circuits)) == ("yours", ["for_while"])


def test_other_circuits_go_to_the_run_of_their_model(call, stand: Stand, tmp_path: Path) -> None:
    shutil.copytree(example_folder() / "circuits", tmp_path / "study")
    assert call("view", "example", "--also", "study", "--port", "0").code == 0
    (run,) = stand.libraries[-1].runs()
    assert "study-for_while" in run.circuits
    assert call("view", "example-small", "--also", "study", "--port", "0").code == 0
    (run,) = stand.libraries[-1].runs()
    assert not [name for name in run.circuits if name.startswith("study")]
    assert "set_or_string" in run.circuits  # its own
    assert call("view", "example", "--also", "nowhere").err == "error: --also nowhere: no such folder\n"


def test_a_damaged_circuit_is_warned_of(call, stand: Stand) -> None:
    shutil.copytree(example_folder(), "runs/mine")
    Path("runs/mine/circuits/for_while/circuit.json").write_text("{")
    told = call("view", "mine", "--port", "0")
    assert told.code == 0
    assert "warning: mine: the circuit for_while is damaged: circuit.json: damaged" in told.err


def test_runs_and_circuits_that_are_not_there(call) -> None:
    assert "no run 'mine'" in call("view", "mine").err
    assert "did you mean 'for_while'?" in call("view", "example", "for_whil").err
    with pytest.raises(ConfigError, match="name the run of these circuits"):
        live.listed_runs(None, ["for_while"])
    with pytest.raises(CheckpointError):
        live.listed_runs("mine", [])
    assert call("view", "--export", "x.html").err == "error: name the run to draw\n"


def test_without_the_extra_it_says_what_to_install_and_still_exports(call, monkeypatch) -> None:
    real = builtins.__import__

    def missing(name: str, *more: Any) -> Any:
        if name.partition(".")[0] in ("starlette", "uvicorn"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", missing)
    done = call("view", "example")
    assert done.code == 2
    assert 'pip install "sparsecircuits[app]"' in done.err
    assert call("view", "example", "set_or_string_fixedvarname", "--export", "page.html").out == "page.html\n"
