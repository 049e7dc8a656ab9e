"""Prunings that a page starts: what may be asked for, how they are watched, and that they end."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.errors import ConfigError, TaskError
from sparsecircuits.examples import example_folder
from sparsecircuits.train import Run
from sparsecircuits.viz.server.app import build_app
from sparsecircuits.viz.server.library import Library, NotListed
from sparsecircuits.viz.server.prunings import Order, Pruning, Prunings, Refused
from tests.prune import planted
from tests.prune.planted import CLOSES
from tests.viz.server.asking import POLICY, call, own, post

ORDER = {"run": "planted", "task": "closes", "objective": "task", "target": 0.3}


@pytest.fixture
def run(served_run: Run, tmp_path: Path) -> Run:
    """A copy to write into, which keeps a task."""
    folder = Path(shutil.copytree(served_run.folder, tmp_path / "planted"))
    (folder / "tasks").mkdir()
    (folder / "tasks" / "closes.yaml").write_text(CLOSES)
    return Run.open(folder)


@pytest.fixture
def library(run: Run) -> Library:
    return Library(lambda: [("planted", run)], tasks={planted.STRING_CLOSING.name: planted.STRING_CLOSING})


def script(library: Library, code: str) -> Pruning:
    return Pruning(Order.read(dict(ORDER), library), [sys.executable, "-c", code])


def ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_command_that_is_run(library: Library, run: Run) -> None:
    order = Order.read(dict(ORDER), library)
    assert order.command[1:] == [
        *("-m", "sparsecircuits", "prune", str(run.folder), "closes"),
        *("--objective", "task", "--target", "0.3", "--json", "--progress", "json"),
    ]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"run": "nowhere"}, NotListed, "no such run"),
        ({"task": "--help"}, TaskError, "no such task"),
        ({"task": "/etc/passwd"}, TaskError, "no such task"),
        ({"task": "../planted/tasks/closes.yaml"}, TaskError, "no such task"),
        ({"task": None}, TaskError, "no such task"),
        ({"objective": "best"}, ConfigError, "objective"),
        ({"objective": None}, ConfigError, "objective"),
        ({"target": 0}, ConfigError, r"0\.001 to 10"),
        ({"target": "0.3"}, ConfigError, r"0\.001 to 10"),
        ({"target": True}, ConfigError, r"0\.001 to 10"),
        ({"target": float("inf")}, ConfigError, r"0\.001 to 10"),
        ({"steps": 10**9}, ConfigError, "no 'steps'"),
        ({"task": planted.STRING_CLOSING.name}, Refused, "has a circuit for string_closing already"),
    ],
)
def test_orders_that_are_refused(library: Library, change: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Order.read({**ORDER, **change}, library)


def test_a_circuit_is_replaced_when_that_is_said(library: Library) -> None:
    order = Order.read({**ORDER, "task": planted.STRING_CLOSING.name, "replace": True}, library)
    assert order.task == planted.STRING_CLOSING.name


def test_a_bundled_run_and_one_without_corpus_are_not_pruned(run: Run) -> None:
    library = Library(lambda: [("example", Run.open(example_folder()))])
    with pytest.raises(Refused, match="it comes with the package"):
        Order.read({**ORDER, "run": "example", "task": "for_while"}, library)
    shutil.rmtree(run.corpus_folder)
    library = Library(lambda: [("planted", run)])
    with pytest.raises(Refused, match="its corpus"):
        Order.read(dict(ORDER), library)


def test_progress_is_read_from_the_lines(library: Library) -> None:
    code = """
import sys, time
for step in (10, 50):
    told = '{"progress": "prune", "done": %d, "total": 100, "loss": 0.5, "seconds_left": 9.5}' % step
    print(told, file=sys.stderr, flush=True)
print("not JSON", file=sys.stderr, flush=True)
sys.stdin.read()
time.sleep(60)
"""
    pruning = script(library, code)
    until = time.monotonic() + 20
    while pruning.to_dict()["done"] != 50 and time.monotonic() < until:
        time.sleep(0.02)
    told = pruning.to_dict()
    assert (told["state"], told["done"], told["total"], told["loss"], told["seconds_left"]) == (
        "running",
        50,
        100,
        0.5,
        9.5,
    )
    pruning.cancel()
    assert pruning.to_dict()["state"] == "cancelled"


def test_cancelling_ends_all_that_it_has_started(library: Library, tmp_path: Path) -> None:
    """A child too, and a process that takes no hint."""
    code = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(tmp_path / "ids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}} ")
time.sleep(60)
"""
    import sparsecircuits.viz.server.prunings as prunings

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prunings, "_SECONDS_TO_END", 0.5)
        pruning = script(library, code)
        until = time.monotonic() + 20
        while not ((tmp_path / "ids").exists() and (tmp_path / "ids").read_text().endswith(" ")):
            assert time.monotonic() < until
            time.sleep(0.02)
        own_id, child = map(int, (tmp_path / "ids").read_text().split())
        pruning.cancel()
    until = time.monotonic() + 5
    while not (ended(own_id) and _gone(child)) and time.monotonic() < until:
        time.sleep(0.02)
    assert ended(own_id)
    assert _gone(child)


def _gone(process: int) -> bool:
    """Whether a process has ended, though nobody may have taken note of it yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_what_goes_wrong_is_told(library: Library) -> None:
    pruning = script(library, "import sys; print('error: no disk', file=sys.stderr); sys.exit(2)")
    pruning.wait(20)
    told = pruning.to_dict()
    assert (told["state"], told["note"]) == ("failed", "error: no disk")
    row = '{"tasks": [{"nodes": null, "note": "the model does not do it"}]}'
    pruning = script(library, f"import sys; print({row!r}); sys.exit(1)")
    pruning.wait(20)
    assert (pruning.to_dict()["state"], pruning.to_dict()["note"]) == ("failed", "the model does not do it")


def test_one_at_a_time_and_the_server_ends_it(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Order, "command", [sys.executable, "-c", "import time; time.sleep(60)"])
    prunings = Prunings(library)
    pruning = prunings.start(dict(ORDER))
    with pytest.raises(Refused, match="another pruning is running"):
        prunings.start(dict(ORDER))
    prunings.cancel()
    assert pruning.state == "cancelled"
    assert ended(pruning._process.pid)
    assert prunings.start(dict(ORDER)).state == "running"
    prunings.cancel()


def test_a_pruning_is_started_watched_and_listed(library: Library, run: Run) -> None:
    """The real command, from the first question to the new circuit."""
    shutil.rmtree(run.circuits)  # they are for a task that only this process knows
    app = build_app(library, POLICY)
    begun = post(app, "/api/prune", ORDER)
    assert begun.status == 202
    assert begun.json["pruning"]["state"] == "running"
    assert post(app, "/api/prune", ORDER).status == 409
    until, seen = time.monotonic() + 120, set()
    while True:
        told = call(app, "GET", "/api/pruning", own()).json["pruning"]
        seen.add(told["total"])
        if told["state"] != "running" or time.monotonic() > until:
            break
        time.sleep(0.1)
    assert told["state"] == "done", told
    assert told["note"].endswith(f"held-out loss {told['loss']:.3f}")
    assert 100 in seen  # mask steps
    listed = call(app, "GET", "/api/runs", own()).json["runs"][0]
    circuit = next(one for one in listed["circuits"] if one["key"] == "closes")
    assert circuit["nodes"] == int(told["note"].split()[0])
    assert circuit["loss"] <= 0.3
    assert (run.circuits / "closes" / "circuit.json").is_file()
