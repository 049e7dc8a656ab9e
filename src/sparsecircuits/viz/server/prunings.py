"""Prunings that a page starts: one at a time, watched, and ended when asked to.

A pruning is the command that a person would type, ``sparsecircuits prune``, in a process of its own: it does
exactly what is documented, cannot take the server down with it, and can be ended at any moment without
leaving hooks or half a circuit behind (circuits are written whole). It tells its progress as JSON lines on
its stderr. It ends with the server: when the reader of those lines is gone, the next line ends it too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sparsecircuits.errors import ConfigError, SparseCircuitsError
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.viz.server.library import Library, ListedRun, task_named

State = Literal["running", "done", "failed", "cancelled"]
_SECONDS_TO_END = 5.0
_LINES_KEPT = 20


class Refused(SparseCircuitsError):
    """A pruning that cannot be started now."""


@dataclass(frozen=True)
class Order:
    """What a page may ask a pruning for; everything else is as the command has it."""

    run: ListedRun
    task: str
    objective: str
    target: float
    word: str
    """What stands for the task on the command line: its name, or the file of code that it was read from."""

    @classmethod
    def read(cls, asked: dict[str, Any], library: Library) -> Order:
        """Check a request.

        Raises:
            NotListed: no such run.
            ConfigError: an objective or a target that pruning does not have.
            TaskError: no such task.
            Refused: the run's circuits cannot be written, or one would be replaced and nobody said so.
        """
        extra = asked.keys() - {"run", "task", "objective", "target", "replace"}
        if extra:
            raise ConfigError(f"a pruning has no {sorted(extra)[0]!r}")
        run, task, target = library.run(str(asked.get("run"))), str(asked.get("task")), asked.get("target")
        why = run.why_not_pruned()
        if why is not None:
            raise Refused(f"{run.name} cannot be pruned: {why}")
        found = task_named(library, run.run, task)
        if isinstance(target, bool) or not isinstance(target, int | float) or not 0.001 <= target <= 10:
            raise ConfigError("the target is a loss in nats, 0.001 to 10")
        config = PruneConfig.from_dict({"objective": asked.get("objective"), "target": float(target)})
        if (run.run.circuits / task).is_dir() and asked.get("replace") is not True:
            raise Refused(f"{run.name} has a circuit for {task} already; say that it may be replaced")
        coded = task in library.tasks and found.definition is not None
        word = str(Path(found.definition.file).resolve()) if coded and found.definition else task
        return cls(run, task, config.objective, config.target, word)

    @property
    def command(self) -> list[str]:
        """The words of the process."""
        settings = ["--objective", self.objective, "--target", repr(self.target)]
        folder = str(self.run.run.folder.resolve())
        begin = [sys.executable, "-m", "sparsecircuits", "prune", folder, self.word]
        return [*begin, *settings, "--json", "--progress", "json"]


class Pruning:
    """One pruning in its process."""

    def __init__(self, order: Order, command: list[str] | None = None) -> None:
        """Start it.

        Args:
            order: what for.
            command: None: the order's own.
        """
        self.order, self.note = order, ""
        self.state: State = "running"
        self._began = time.monotonic()
        self._told: dict[str, Any] = {}
        self._process = subprocess.Popen(
            command or order.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # so that all of it can be ended
        )
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def to_dict(self) -> dict[str, Any]:
        """How it goes, for the page."""
        keys = ("done", "total", "loss", "remark", "seconds_left")
        return {
            "run": self.order.run.key,
            "run_name": self.order.run.name,
            "task": self.order.task,
            "objective": self.order.objective,
            "target": self.order.target,
            "state": self.state,
            "note": self.note,
            "seconds": round(time.monotonic() - self._began, 1),
            **{key: self._told.get(key) for key in keys},
        }

    def cancel(self) -> None:
        """End it, and wait until it has."""
        if self.state == "running":
            self.state = "cancelled"
            _end(self._process)
        self._watcher.join(_SECONDS_TO_END)

    def wait(self, seconds: float) -> None:
        """Wait until it has ended, at most so long."""
        self._watcher.join(seconds)

    def _watch(self) -> None:
        lines: deque[str] = deque(maxlen=_LINES_KEPT)
        printed: list[str] = []
        with self._process as process:
            out, err = process.stdout, process.stderr
            assert out is not None
            assert err is not None
            reader = threading.Thread(target=lambda: printed.append(out.read()), daemon=True)
            reader.start()
            for line in err:
                told = _progress(line)
                if told is None:
                    lines.append(line.strip())
                else:
                    self._told = told
            reader.join()
        if self.state == "cancelled":
            return
        code = self._process.returncode
        self.note = _outcome("".join(printed)) if code in (0, 1) else " ".join(lines)[-500:]
        self.state = "done" if code == 0 else "failed"


class Prunings:
    """The pruning that runs, or the one that ran last."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._latest: Pruning | None = None

    def start(self, asked: dict[str, Any]) -> Pruning:
        """Start one.

        Raises:
            Refused: another is running. Besides, as :meth:`Order.read`.
        """
        order = Order.read(asked, self._library)
        with self._lock:
            if self._latest is not None and self._latest.state == "running":
                raise Refused("another pruning is running; wait for it, or cancel it")
            self._latest = Pruning(order)
            return self._latest

    def latest(self) -> dict[str, Any] | None:
        """How the latest goes; None before there was one."""
        latest = self._latest
        return None if latest is None else latest.to_dict()

    def cancel(self) -> None:
        """End the one that runs, if one does."""
        latest = self._latest
        if latest is not None:
            latest.cancel()


def _end(process: subprocess.Popen[str]) -> None:
    """Ask the process and all that it started to end, then make them."""
    for how in ("SIGTERM", "SIGKILL"):
        try:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, getattr(signal, how))
            else:
                process.kill()
            process.wait(_SECONDS_TO_END)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _progress(line: str) -> dict[str, Any] | None:
    """What a line of progress says; None of any other line."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) and "progress" in told else None


def _outcome(printed: str) -> str:
    """What the command's table says of its one task, in a sentence."""
    try:
        (row,) = json.loads(printed)["tasks"]
    except (ValueError, KeyError, TypeError):
        return ""
    if row.get("nodes") is None:
        return str(row.get("note") or "no circuit was found")
    return f"{row['nodes']} nodes, {row.get('edges')} edges, held-out loss {row['loss']:.3f}"
