"""What several commands take: a run by name or folder, tasks by name, the circuits that a run holds."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparsecircuits.errors import CheckpointError, ConfigError, HubError, near_misses
from sparsecircuits.examples import EXAMPLES, example_folder, example_name

if TYPE_CHECKING:
    from sparsecircuits.circuit import Circuit
    from sparsecircuits.train import Run

RUNS = Path("runs")
"""Where runs lie that are called by name."""


def new_run_folder(name: str) -> Path:
    """Where a run that is to be made goes: a bare name into ``runs/``, anything else is a path.

    >>> [new_run_folder(name).as_posix() for name in ("mine", "there/mine")]
    ['runs/mine', 'there/mine']

    Raises:
        ConfigError: it is nothing, or the name or the folder of a bundled run.
    """
    if not name.strip():
        raise ConfigError("a run needs a name, or a folder")
    if name in EXAMPLES or example_name(name):
        raise ConfigError(
            f"{name!r} is a run that comes with the package; choose another name, or a path such as "
            f"{RUNS / (example_name(name) or name)}"
        )
    bare = name not in (".", "..") and not any(sign in name for sign in ("/", os.sep))
    return RUNS / name if bare and not Path(name).is_dir() else Path(name)


def open_run(name: str) -> Run:
    """Open RUN: a bundled run by its name, such as ``example``, a folder, one in ``runs/``, or ``org/name``.

    The last is a run on the Hugging Face Hub, where nothing here is called so: what is here, and what is
    written as a path, never touches the network (:mod:`sparsecircuits.interop.names`).

    Raises:
        CheckpointError: there is none; the message names the runs that sound like it.
    """
    from sparsecircuits.train.run import RUN_FILE, Run, load_run

    if name in EXAMPLES:
        return Run.open(example_folder(name))
    folder = next((path for path in (Path(name), RUNS / name) if path.is_dir()), None)
    if folder is None:
        from sparsecircuits.interop.names import SCHEME, hub_name  # it waits for more than most runs need

        found = [path.parent for depth in ("*", "*/*") for path in RUNS.glob(f"{depth}/{RUN_FILE}")]
        known = {*EXAMPLES, *(path.relative_to(RUNS).as_posix() for path in found)}
        missing = f"no run {name!r}, here or in {RUNS}; {near_misses(name, known)}"
        remote = hub_name(name, (Path(), RUNS))
        if remote is None:
            raise CheckpointError(missing)
        try:
            return dataclasses.replace(load_run(f"{SCHEME}{remote}"), origin=str(remote))
        except HubError as error:
            raise HubError(f"{missing}; on the Hub: {error}") from error
    return Run.open(folder)


def dense_place(name: str | None) -> str | Path | None:
    """Where a bridge's dense model is: a folder, one in ``runs/``, or a name as it is; None: not said."""
    if name is None:
        return None
    return next((path for path in (Path(name), RUNS / name) if path.is_dir()), name)


def checkpoint_of(word: str | None) -> int | str | None:
    """What ``--checkpoint`` means to ``Run.model``: a step, ``latest``, ``best``; None: the finished model.

    >>> [checkpoint_of(word) for word in ("200", "best", None)]
    [200, 'best', None]

    Raises:
        ConfigError: it is none of these.
    """
    if word is None or word in ("latest", "best"):
        return word
    if not word.isdecimal():
        raise ConfigError(f"--checkpoint is {word!r}; allowed: a step, such as 200, latest, best")
    return int(word)


def open_own_run(name: str) -> Run:
    """Open RUN to write into it.

    Raises:
        CheckpointError: there is none.
        ConfigError: it is a bundled run, or one on the Hub; the message says how to make a copy.
    """
    run = open_run(name)
    if run.origin is not None:
        raise ConfigError(
            f"{name!r} is on the Hub, and nothing is written into the cache's copy; make one of your own: "
            f"sparsecircuits fetch {shlex.quote(run.origin)} --out mine"
        )
    if example_name(run.folder):
        raise ConfigError(
            f"{name!r} comes with the package, and nothing is written into it; make a copy of your own: "
            f"cp -r {shlex.quote(str(run.folder))} mine (mine/README.md then says how to build its corpus)"
        )
    return run


def is_read_only(run: Run) -> bool:
    """Whether nothing is to be written into a run: it came with the package, or from the Hub."""
    return run.origin is not None or example_name(run.folder) is not None


def saved_circuits(run: Run, names: Sequence[str] = ()) -> list[Circuit]:
    """The circuits in ``RUN/circuits``, in the order of the tasks; those of ``names`` if any are given.

    Raises:
        CheckpointError: none there, an unknown name (with near misses), or a damaged file.
    """
    from sparsecircuits.circuit.files import CIRCUIT_FILE, load_circuit
    from sparsecircuits.tasks import TASKS

    order = list(TASKS)
    known = sorted(
        (path.parent.name for path in run.circuits.glob(f"*/{CIRCUIT_FILE}")),
        key=lambda name: (order.index(name) if name in order else len(order), name),
    )
    if not known:
        raise CheckpointError(f"{run.circuits}: no circuits yet; sparsecircuits prune {run.folder} --all")
    for name in names:
        if name not in known:
            raise CheckpointError(f"{run.circuits}: no circuit {name!r}; {near_misses(name, known)}")
    return [load_circuit(run.circuits / name) for name in known if not names or name in names]
