"""What runs there are in a folder, and how far each is.

A run is a folder that holds a ``run.json`` or a ``metrics.jsonl``. Of models and checkpoints only the headers
are read: a file that is cut, missing or something else shows, a flipped bit does not before it is loaded.
Whatever is wrong with a run stands in its row, so that one that is damaged hides no other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from sparsecircuits.circuit.files import CIRCUIT_FILE
from sparsecircuits.errors import CheckpointError, SparseCircuitsError
from sparsecircuits.model.checkpoint import WEIGHTS_FILE, glance
from sparsecircuits.train.checkpoint import found_checkpoints, read_state
from sparsecircuits.train.lock import lock_holder
from sparsecircuits.train.run import METRICS_FILE, RUN_FILE, Run

State = Literal["finished", "running", "stopped", "damaged"]
#: How deep below the folder runs are looked for.
DEPTH = 4


class RunRow(NamedTuple):
    """One run; None is what it does not say."""

    run: str
    """Its path below the folder."""
    state: State
    """finished; running: somebody trains in it; stopped: the same command goes on; damaged: see note."""
    step: int | None = None
    """Steps that the latest line of its metrics has."""
    steps: int | None = None
    """Steps in all."""
    saved: int | None = None
    """Where it has stopped: the step of the checkpoint from which it goes on; 0: it begins again."""
    val_loss: float | None = None
    """Nats a token: the final one, or the latest."""
    val_tokens: int | None = None
    """On so many tokens, if the corpus has them: the final one on more than those before."""
    density: float | None = None
    """Of the attention and MLP matrices."""
    l0: int | None = None
    """Nonzero weights."""
    dead_neurons: float | None = None
    """Share of the MLP's neurons that do not fire."""
    tokens: int | None = None
    """Tokens seen."""
    seconds: float | None = None
    """Of training."""
    circuits: int | None = None
    """Tasks that have a circuit."""
    when: str = ""
    """Last change, local time, ``2026-01-31 12:00``."""
    note: str | None = None
    """Who trains in it, what is wrong, or which dense model a finished one has a bridge to."""


def survey(folder: Path) -> list[RunRow]:
    """A row for every run in ``folder`` and in the folders below it, by name."""
    return [row_of(path, _name(path, folder)) for path in find_runs(folder)]


def find_runs(folder: Path) -> Iterator[Path]:
    """Folders of runs, sorted; nothing is looked for inside a run."""
    for path, below, files in os.walk(folder):
        here = Path(path)
        if RUN_FILE in files or METRICS_FILE in files:
            yield here
            below.clear()
        elif len(here.relative_to(folder).parts) >= DEPTH:
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))


def row_of(path: Path, name: str) -> RunRow:
    """The row of one run."""
    row = RunRow(name, "damaged", when=_changed(path))
    try:
        run = Run.open(path)
        row = _figures(row, run)
        holder = lock_holder(path)
        if holder is not None:
            return row._replace(state="running", note=str(holder))
        if run.result() is None:
            return _stopped(row, run)
        if not (path / "model").is_dir():
            return row._replace(note=f"{path / 'model'}: missing, although training has finished")
        glance(path / "model" / WEIGHTS_FILE)
        told = None if run.beside is None else f"with a bridge to {run.beside.found(path)}"
        return row._replace(state="finished", note=told)
    except (SparseCircuitsError, OSError, ValueError, KeyError, TypeError) as error:
        return row._replace(note=_told(error, path))


def _figures(row: RunRow, run: Run) -> RunRow:
    circuits = len(list(run.circuits.glob(f"*/{CIRCUIT_FILE}")))
    row = row._replace(steps=run.config.train.steps, circuits=circuits)
    metrics, result = run.metrics(), run.result()
    for line in metrics:
        known = {key: line[key] for key in _LOGGED if line.get(key) is not None}
        if "val_loss" in known:
            known["val_tokens"] = run.config.train.validated_on(line["step"])
        row = row._replace(**known)
    if result is not None:
        row = row._replace(step=result["steps"], **{key: result[key] for key in _RESULT})
        row = row._replace(val_tokens=run.config.train.eval_tokens)
    return row._replace(step=row.step or 0)


def _stopped(row: RunRow, run: Run) -> RunRow:
    """The row of a run that goes on when it is asked to, with what is wrong with its checkpoints."""
    wrong: list[str] = []
    for path in reversed(found_checkpoints(run.checkpoints)):
        try:
            checkpoint = read_state(path)
            for name in checkpoint.files:
                glance(path / name)
        except CheckpointError as error:
            wrong.append(str(error))
            continue
        notes = [_last_event(run), *wrong]
        note = "; ".join(note for note in notes if note) or None
        return row._replace(state="stopped", saved=checkpoint.step, note=note)
    if wrong:
        return row._replace(note="no checkpoint is whole: " + "; ".join(wrong))
    return row._replace(
        state="stopped", saved=0, note=_last_event(run) or "nothing is saved: it begins again"
    )


_LOGGED = ("step", "val_loss", "density", "l0", "dead_neurons", "tokens", "seconds")
_RESULT = ("val_loss", "density", "tokens", "seconds")


def _last_event(run: Run) -> str | None:
    """What happened after the last line of figures, such as that training diverged."""
    events, metrics = run.events(), run.metrics()
    if not events or (metrics and events[-1]["step"] < metrics[-1]["step"]):
        return None
    kind, step = events[-1]["event"], events[-1]["step"]
    facts = {key: value for key, value in events[-1].items() if key not in ("event", "step")}
    return f"{kind} at step {step}: " + ", ".join(f"{key} {value}" for key, value in facts.items())


def _changed(path: Path) -> str:
    """When the latest of a run's own files was written."""
    files = [path / name for name in (RUN_FILE, METRICS_FILE, "result.json")]
    times = [file.stat().st_mtime for file in files if file.exists()]
    return datetime.fromtimestamp(max(times)).strftime("%Y-%m-%d %H:%M")


def _told(error: Exception, path: Path) -> str:
    if isinstance(error, SparseCircuitsError):
        return str(error)
    what = "not JSON" if isinstance(error, json.JSONDecodeError) else type(error).__name__
    return f"{path}: {what}: {error}"


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path != folder else path.name
