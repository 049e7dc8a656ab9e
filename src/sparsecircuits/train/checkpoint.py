"""Checkpoints of a run in progress: everything that its next step depends on, whole or not at all.

A checkpoint is a folder ``step_000200``: the model's tensors (in the sparse form of a finished model's file,
so that they shrink as density anneals), a file of tensors for each further part, such as the optimizer, and
``state.json``, which has the step, the seconds, the validation loss measured there if there was one, and the
SHA-256 of every file and of itself. The batches of a step and its place in the schedules are functions of the
step, so that nothing else is state.

1. It is written beside its place, flushed, read back, compared, and renamed (:mod:`sparsecircuits.files`):
   a kill at any moment leaves the one before intact.
2. The latest ``keep`` stay, and the one of the lowest validation loss.
3. The latest that verifies is the one that is resumed; a damaged one is passed over with a warning, and then
   called ``step_000200.damaged``, so that it counts no longer, neither as one of the latest nor as the best.

Format 2. Format 1, of the first release, had neither a version nor a hash of ``state.json``; it is read too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from sparsecircuits.errors import CheckpointError
from sparsecircuits.files import PARTIAL, placed_folder, saving, sha256_of, write_atomic
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.checkpoint import load_tensors, load_weights, save_tensors, save_weights

MODEL_FILE, STATE_FILE = "model.safetensors", "state.json"
DAMAGED = ".damaged"
"""What the name of a folder ends with that was set aside."""
FORMAT, VERSION = "sparsecircuits.checkpoint", 2
_KEYS = {
    1: {"step", "seconds", "sha256"},
    2: {"format", "version", "step", "seconds", "val_loss", "files", "sha256"},
}


class Part(Protocol):
    """Something beside the model that the next step depends on: the optimizer, and whoever joins it."""

    def state(self) -> dict[str, Tensor]:
        """All of it as named tensors."""
        ...

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`state`."""
        ...


class TrainState(NamedTuple):
    """Where training stands: steps done, and seconds spent on them."""

    step: int
    seconds: float


class Checkpoint(NamedTuple):
    """What ``state.json`` says, where it is whole."""

    path: Path
    step: int
    seconds: float
    val_loss: float | None
    """Nats per token on the tokens of every interim validation; None: not measured at this step."""
    files: dict[str, str]
    """File -> SHA-256."""

    @property
    def parts(self) -> set[str]:
        """What it holds beside the model."""
        return {name.removesuffix(".safetensors") for name in self.files} - {"model"}

    def verify(self) -> None:
        """Raise :class:`CheckpointError` unless every file has its hash."""
        for name, expected in self.files.items():
            if not (self.path / name).is_file():
                raise CheckpointError(f"{self.path / name}: missing")
            if sha256_of(self.path / name) != expected:
                raise CheckpointError(
                    f"{self.path / name}: its content does not match the hash in {STATE_FILE}"
                )


class NewerFormat(CheckpointError):
    """A checkpoint, whole, of a release newer than this."""


def save_checkpoint(
    folder: Path,
    model: SparseGPT,
    parts: Mapping[str, Part],
    step: int,
    seconds: float,
    *,
    val_loss: float | None = None,
    keep: int = 2,
) -> Path:
    """Write the state after ``step`` steps; older checkpoints but the latest ``keep`` and the best go.

    One that cannot be removed is told as a warning: the new one is whole all the same.

    Raises:
        SaveError: it could not be written; those that were there are as they were.
    """
    target = folder / f"step_{step:06d}"
    with placed_folder(target) as partial:
        save_weights(model, partial / MODEL_FILE)
        for name, part in parts.items():
            save_tensors(part.state(), partial / f"{name}.safetensors")
        files = {path.name: sha256_of(path) for path in sorted(partial.iterdir())}
        state = {"step": step, "seconds": seconds, "val_loss": val_loss, "files": files}
        write_atomic(partial / STATE_FILE, _sealed({"format": FORMAT, "version": VERSION, **state}))
    best = best_checkpoint(folder)
    for old in found_checkpoints(folder)[:-keep]:
        if best is None or old != best.path:
            _discard(old)
    return target


def latest_checkpoint(folder: Path, model: SparseGPT, parts: Mapping[str, Part]) -> TrainState:
    """Load the newest checkpoint that verifies into model and parts; step 0 if there is none.

    One that is damaged, or of another model, is passed over with a warning that says which and why.

    Raises:
        CheckpointError: there are checkpoints, and none is whole; or one is of a newer release.
    """
    problems: list[str] = []
    for path in reversed(found_checkpoints(folder)):
        try:
            state = _load(path, model, parts)
        except NewerFormat:
            raise
        except CheckpointError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            warnings.warn(f"passed over a damaged checkpoint: {problem}", stacklevel=2)
        return state
    if problems:
        raise CheckpointError(f"{folder}: no checkpoint is whole: " + "; ".join(problems))
    return TrainState(0, 0.0)


def set_aside_damaged(folder: Path, resumed: int) -> None:
    """Rename what is damaged, and whatever was passed over for the step ``resumed``.

    Else a resumed run would count them among its latest, or hold one of them to be its best. Those newer than
    ``resumed`` were told by :func:`latest_checkpoint`; a damaged older one is told here, as a warning.

    Raises:
        SaveError: one could not be renamed.
    """
    for path in found_checkpoints(folder):
        step = int(path.name[5:])
        if step == resumed:
            continue  # it has just been loaded
        aside = path.with_name(path.name + DAMAGED)
        if step < resumed:
            try:
                read_state(path).verify()
                continue
            except NewerFormat:
                continue
            except CheckpointError as error:
                warnings.warn(f"a damaged checkpoint is now called {aside.name}: {error}", stacklevel=2)
        with saving(aside):
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(path, aside)


def best_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint of the lowest validation loss, the earliest of equals; None if none has one.

    It goes by what each ``state.json`` says; whether the tensors are whole is for :meth:`Checkpoint.verify`.
    """
    measured = []
    for path in found_checkpoints(folder):
        try:
            checkpoint = read_state(path)
        except CheckpointError:  # whoever would resume from it is told
            continue
        if checkpoint.val_loss is not None:
            measured.append(checkpoint)
    return min(measured, key=lambda checkpoint: checkpoint.val_loss or 0.0, default=None)


def find_checkpoint(folder: Path, which: int | str) -> Checkpoint:
    """A verified checkpoint: of a step, the ``"latest"``, or the ``"best"`` by validation loss.

    Raises:
        CheckpointError: there is none such, or it is damaged.
    """
    paths = {int(path.name[5:]): path for path in found_checkpoints(folder)}
    there = ", ".join(map(str, paths)) or "none"
    if which == "best":
        found = best_checkpoint(folder)
        if found is None:
            raise CheckpointError(f"{folder}: no checkpoint with a validation loss; checkpoints: {there}")
    elif which == "latest" and paths:
        found = read_state(paths[max(paths)])
    elif which in paths:
        found = read_state(paths[int(which)])
    else:
        raise CheckpointError(f"{folder}: no checkpoint {which!r}; there: {there}, and best, latest")
    found.verify()
    return found


def found_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the oldest first; those half written are not among them."""
    steps = {int(path.name[5:]): path for path in folder.glob("step_*") if path.name[5:].isdecimal()}
    return [steps[step] for step in sorted(steps)]


def read_state(path: Path) -> Checkpoint:
    """What a checkpoint's ``state.json`` says; every byte of it counts.

    Raises:
        CheckpointError: it is missing, damaged or of another step.
        NewerFormat: it is whole, and of a newer release.
    """
    where = path / STATE_FILE
    try:
        raw = where.read_bytes()
        data = json.loads(raw)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{where}: damaged or missing: {error}") from error
    try:
        data = _unsealed(data, raw)
        checkpoint = Checkpoint(
            path, int(data["step"]), float(data["seconds"]), data["val_loss"], dict(data["files"])
        )
    except CheckpointError as error:
        raise type(error)(f"{where}: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: damaged: {error}") from error
    if path.name != f"step_{checkpoint.step:06d}":
        raise CheckpointError(f"{where}: of step {checkpoint.step}, in the folder of another")
    return checkpoint


def _load(path: Path, model: SparseGPT, parts: Mapping[str, Part]) -> TrainState:
    checkpoint = read_state(path)
    checkpoint.verify()
    if checkpoint.parts != set(parts):
        there, here = (", ".join(sorted(names)) or "nothing" for names in (checkpoint.parts, parts))
        raise CheckpointError(f"{path}: it holds the state of {there}; this run has {here}")
    tensors = {name: load_tensors(path / f"{name}.safetensors") for name in parts}
    load_weights(model, path / MODEL_FILE)
    for name, part in parts.items():
        try:
            part.load_state(tensors[name])
        except KeyError as error:
            raise CheckpointError(f"{path / name}.safetensors: it lacks {error}") from error
    return TrainState(checkpoint.step, checkpoint.seconds)


def _discard(path: Path) -> None:
    """Remove a checkpoint; whatever stops that leaves it whole, or under a name that is swept."""
    try:
        going = path.with_name(path.name + PARTIAL)
        os.replace(path, going)
        shutil.rmtree(going)
    except OSError as error:
        warnings.warn(f"{path}: an old checkpoint, not removed: {error.strerror or error}", stacklevel=3)


def _sealed(data: dict[str, Any]) -> bytes:
    """JSON of the data and, as its last entry, the SHA-256 of the JSON of all the others."""
    return _json({**data, "sha256": hashlib.sha256(_json(data)).hexdigest()})


def _unsealed(data: dict[str, Any], raw: bytes) -> dict[str, Any]:
    """What was sealed, from what was read; format 1 as if it were format 2."""
    if data.keys() == _KEYS[1]:
        return {"val_loss": None, "files": data["sha256"], **data}
    if _sealed({key: value for key, value in data.items() if key != "sha256"}) != raw:
        raise CheckpointError("damaged: it does not match its own hash")
    if data["format"] != FORMAT or data["version"] != VERSION:
        raise NewerFormat(
            f"{data['format']} version {data['version']}; this release reads 1 and {VERSION}: "
            f"use the release that trained this run"
        )
    if data.keys() != _KEYS[2]:
        raise CheckpointError(f"damaged: its entries are {', '.join(data)}")
    return data


def _json(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, indent=2) + "\n").encode()
