"""Send what ``metrics.jsonl`` gets to wandb, trackio or TensorBoard as well.

A tracker is anything that logs a row at a step and closes. Which ones a run has, and by what name each knows
it, is in the folder's ``trackers.json``, so that a run that goes on does so there too: nothing twice, nothing
left out. Rows that a resumed run writes again are the same as before, and are not sent again; a tracker that
joins late is sent the rows so far, and one that was let go those behind the last step that it got, which is
in the same file.

The packages are looked for before training starts. One that fails while training goes on, such as for want of
the network, warns once and is let go: no run is lost for the sake of its curves.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import json
import os
import re
import secrets
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NamedTuple, Protocol, Self

from sparsecircuits.errors import ConfigError, SaveError
from sparsecircuits.files import write_atomic
from sparsecircuits.train.machine import TrackerName
from sparsecircuits.train.run import Run

FILE = "trackers.json"
#: What runs are filed under, unless ``WANDB_PROJECT`` or ``TRACKIO_PROJECT`` says otherwise.
PROJECT = "sparsecircuits"
#: What must be there to be imported.
_MODULES: dict[TrackerName, str] = {
    "wandb": "wandb",
    "trackio": "trackio",
    "tensorboard": "torch.utils.tensorboard",
}
#: What trackio, by its version, reaches the network with.
_CLIENTS = ("httpx", "httpx2")


class Tracker(Protocol):
    """Where curves go."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What may go wrong without being a mistake of ours."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of one step; steps rise."""
        ...

    def close(self, finished: bool) -> None:
        """Hand on what is left; ``finished`` unless an error ended the training."""
        ...


class Place(Protocol):
    """Opens a tracker: for a run, by the name that it has there, from ``first`` step on."""

    def __call__(self, run: Run, key: str, first: int) -> Tracker: ...


def require_trackers(names: Iterable[TrackerName]) -> None:
    """Raise :class:`~sparsecircuits.errors.ConfigError` if a package is missing."""
    for name in names:
        _import(name)


class Known(NamedTuple):
    """What ``trackers.json`` says of one."""

    key: str
    """The run's name there."""
    sent: int | None = None
    """The last step that it got, if it was let go; None: it got all."""


class Trackers:
    """All trackers of a run; a context manager that closes them."""

    def __init__(self, names: Sequence[TrackerName], run: Run, step: int) -> None:
        """Open them, for a run that goes on from ``step`` (0: that begins).

        To be called before the run's metrics behind ``step`` are dropped, to see what had been sent.

        Raises:
            ConfigError: a package is missing, or a tracker cannot be opened.
        """
        self._open: dict[TrackerName, Tracker] = {}
        self._sent: dict[TrackerName, int] = {}
        if not names:
            return
        self._path = run.folder / FILE
        self._known = _read(self._path)
        rows = run.metrics()
        try:
            for name in names:
                self._join(name, run, step, max((row["step"] for row in rows), default=0))
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        for row in rows:
            if row["step"] <= step:
                self.log(row)
        self._write()

    def _join(self, name: TrackerName, run: Run, step: int, last: int) -> None:
        """Open one; ``last`` is the step of the last row."""
        known = self._known.get(name, Known(_new_key(run), 0))
        got = last if known.sent is None else known.sent
        self._open[name] = _opened(name, run, known.key, min(got, step) + 1)
        self._known[name] = Known(known.key)
        # TensorBoard drops what is behind the step that it goes on from; the others keep it.
        self._sent[name] = min(got, step) if name == "tensorboard" else got

    def _write(self) -> None:
        names = {name: known._asdict() for name, known in self._known.items()}
        write_atomic(self._path, (json.dumps(names, indent=2) + "\n").encode())

    def log(self, row: Mapping[str, Any]) -> None:
        """Send a line of the metrics."""
        for name, tracker in list(self._open.items()):
            if row["step"] > self._sent[name]:
                self._attempt(name, tracker, lambda tracker=tracker: tracker.log(row["step"], flat(row)))
                if name in self._open:
                    self._sent[name] = row["step"]

    def _attempt(self, name: TrackerName, tracker: Tracker, act: Callable[[], None]) -> None:
        try:
            act()
        except tracker.errors as error:
            self._open.pop(name, None)
            self._known[name] = self._known[name]._replace(sent=self._sent[name])
            with contextlib.suppress(SaveError):  # it then gets again what it has
                self._write()
            warnings.warn(
                f"{name} gets no more of this run: {type(error).__name__}: {error}; metrics.jsonl goes on",
                stacklevel=2,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for name, tracker in list(self._open.items()):
            self._attempt(name, tracker, lambda tracker=tracker: tracker.close(kind is None))
        self._open.clear()


def flat(row: Mapping[str, Any], above: str = "") -> dict[str, float]:
    """The numbers of a row; those of what is nested by their path, of lists by their place.

    >>> flat({"step": 20, "loss": 2.5, "dead": {"0.mlp.post_act": 3}, "event": "saved", "kurtosis": None})
    {'loss': 2.5, 'dead/0.mlp.post_act': 3}
    """
    found: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, list):
            value = {str(place): one for place, one in enumerate(value)}
        if isinstance(value, Mapping):
            found |= flat(value, f"{above}{key}/")
        elif isinstance(value, (int, float)) and key != "step":
            found[above + key] = value
    return found


class _TensorBoard:
    errors = (OSError,)

    def __init__(self, run: Run, key: str, first: int) -> None:
        writer = _import("tensorboard").SummaryWriter
        # A reader of the files forgets what earlier ones have from this step on.
        self._writer = writer(str(run.folder / "tensorboard"), purge_step=first)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def close(self, finished: bool) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, run: Run, key: str, first: int) -> None:
        wandb = _import("wandb")
        self.errors = _errors("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=key,
            name=run.name,
            dir=str(run.folder),
            config=run.config.to_dict(),
            resume="allow",
            settings=wandb.Settings(console="off"),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class _Trackio:
    def __init__(self, run: Run, key: str, first: int) -> None:
        self.errors = _errors("trackio")
        self._trackio = _import("trackio")
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._trackio.init(project=project, name=key, config=run.config.to_dict(), resume="allow")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._trackio.log(dict(values), step=step)

    def close(self, finished: bool) -> None:
        self._trackio.finish()


_PLACES: dict[TrackerName, Place] = {"wandb": _Wandb, "trackio": _Trackio, "tensorboard": _TensorBoard}


def _opened(name: TrackerName, run: Run, key: str, first: int) -> Tracker:
    try:
        return _PLACES[name](run, key, first)
    except _errors(name) as error:
        how = "; WANDB_MODE=offline keeps it on this machine" if name == "wandb" else ""
        raise ConfigError(f"--track {name}: {type(error).__name__}: {error}{how}") from error


def _errors(name: TrackerName) -> tuple[type[Exception], ...]:
    """What a package raises for want of a network or of room, in opening or later."""
    module, usual = _import(name), (OSError, RuntimeError, ValueError)
    if name == "wandb":
        return (*usual, module.Error)
    if name == "trackio":  # a database here, and the network
        clients = [importlib.import_module(name) for name in _CLIENTS if importlib.util.find_spec(name)]
        return (*usual, sqlite3.Error, *(client.HTTPError for client in clients))
    return usual


def _import(name: TrackerName) -> ModuleType:
    try:
        module = importlib.import_module(_MODULES[name])
    except ImportError as error:
        raise ConfigError(
            f"--track {name} needs a package that cannot be imported ({error}): "
            f"pip install 'sparsecircuits[track]'"
        ) from error
    if name == "trackio" and "step" not in inspect.signature(module.log).parameters:
        raise ConfigError("--track trackio needs a newer trackio: pip install -U trackio")
    return module


def _new_key(run: Run) -> str:
    """A name that nothing else has; of signs that all take."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', run.name)[:60]}-{secrets.token_hex(4)}"


def _read(path: Path) -> dict[TrackerName, Known]:
    """What is known of a run's trackers; nothing if the file is missing."""
    try:
        names = json.loads(path.read_text())
        # A name alone is of an earlier release.
        return {
            name: Known(**names[name]) if isinstance(names[name], dict) else Known(str(names[name]))
            for name in _PLACES
            if name in names
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: damaged ({error}); remove it to begin anew at the trackers") from error
