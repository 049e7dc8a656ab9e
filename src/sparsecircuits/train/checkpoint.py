"""Checkpoints of a run in progress: model, optimizer and position, whole or not at all.

A checkpoint is a folder ``step_000200`` with the model's and the optimizer's tensors (the model's in the
sparse form of a finished model's file, so that they shrink as density anneals) and a ``state.json`` that
names the step and the SHA-256 of both files. It is written beside its final
place and renamed, so that a kill at any moment leaves the previous one intact; the latest that
verifies is the one that is resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor

from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.checkpoint import (
    load_tensors,
    load_weights,
    save_tensors,
    save_weights,
    write_atomic,
)
from sparsecircuits.train.optimizer import SparseOptimizer

_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"


class TrainState(NamedTuple):
    """Where training stands: steps done, and seconds spent on them."""

    step: int
    seconds: float


class Stateful(Protocol):
    """An optimizer, or what was gathered of one."""

    def state(self) -> dict[str, Tensor]:
        """Everything that its next step depends on, as named tensors."""
        ...


def save_checkpoint(
    folder: Path, model: SparseGPT, optimizer: Stateful, step: int, seconds: float, *, keep: int = 2
) -> Path:
    """Write the state after ``step`` steps; older checkpoints but the latest ``keep`` go."""
    target = folder / f"step_{step:06d}"
    partial = folder / f"{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_weights(model, partial / _MODEL)
    save_tensors(optimizer.state(), partial / _OPTIMIZER)
    hashes = {name: _sha256(partial / name) for name in (_MODEL, _OPTIMIZER)}
    state = {"step": step, "seconds": seconds, "sha256": hashes}
    write_atomic(partial / _STATE, (json.dumps(state, indent=2) + "\n").encode())
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
    for old in _found(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def latest_checkpoint(folder: Path, model: SparseGPT, optimizer: SparseOptimizer) -> TrainState:
    """Load the newest checkpoint that verifies into model and optimizer; step 0 if there is none.

    A damaged one is passed over with a warning that names it and what is wrong.

    Raises:
        CheckpointError: there are checkpoints, and none is whole.
    """
    problems = []
    for path in reversed(_found(folder)):
        try:
            state = _verified(path)
            tensors = load_tensors(path / _OPTIMIZER)
            load_weights(model, path / _MODEL)
        except CheckpointError as error:
            problems.append(str(error))
            warnings.warn(f"passed over a damaged checkpoint: {error}", stacklevel=2)
            continue
        optimizer.load_state(tensors)
        return state
    if problems:
        raise CheckpointError(f"{folder}: no checkpoint is whole: " + "; ".join(problems))
    return TrainState(0, 0.0)


def _found(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the oldest first; those half written are not among them."""
    steps = {int(path.name[5:]): path for path in folder.glob("step_*") if path.name[5:].isdecimal()}
    return [steps[step] for step in sorted(steps)]


def _verified(path: Path) -> TrainState:
    try:
        state = json.loads((path / _STATE).read_text())
        step, seconds, hashes = int(state["step"]), float(state["seconds"]), dict(state["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / _STATE}: damaged or missing: {error}") from error
    for name in (_MODEL, _OPTIMIZER):
        if not (path / name).is_file():
            raise CheckpointError(f"{path / name}: missing")
        if _sha256(path / name) != hashes.get(name):
            raise CheckpointError(f"{path / name}: its content does not match the hash in {_STATE}")
    return TrainState(step, seconds)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
