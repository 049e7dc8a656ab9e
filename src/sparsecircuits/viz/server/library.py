"""Which runs and circuits there are to look at: a table, and the only way from a request to a file.

A request names a run and a circuit by *keys*, made here of their names: letters, digits, ``. _ -``. A key is
looked up; it is never part of a path. Files that lie outside their run, by a symbolic link, are not listed.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsecircuits.circuit import Circuit, load_circuit, model_hash
from sparsecircuits.circuit.files import CIRCUIT_FILE, VALUES_FILE
from sparsecircuits.errors import CheckpointError, SparseCircuitsError, TaskError
from sparsecircuits.examples import example_name
from sparsecircuits.tasks import SUITES, Task
from sparsecircuits.tasks.own import kept_files
from sparsecircuits.train import Run
from sparsecircuits.validate.card import CARD_FILE

#: Folders of a run that hold circuits, each at any depth.
HOLDING = ("circuits", "consensus", "complete", "sweeps")
_RUN_FILES = ("run.json", "tokenizer.json", "result.json", "metrics.jsonl")
_MODEL_FILES = ("config.json", "model.safetensors")
_MOST_CIRCUITS = 2_000


class NotListed(SparseCircuitsError):
    """A key that no listed run or circuit has."""


@dataclass(frozen=True)
class ListedCircuit:
    """A circuit that can be looked at."""

    key: str
    name: str
    """As people call it: the folder's name in ``RUN/circuits``, or its path in the run."""
    folder: Path
    facts: Mapping[str, Any]
    """Its task, size and losses, as its file says them; None what it does not say."""

    def load(self) -> Circuit:
        """The circuit itself."""
        return load_circuit(self.folder)


@dataclass(frozen=True)
class ListedRun:
    """A run that can be looked at."""

    key: str
    name: str
    run: Run
    circuits: Mapping[str, ListedCircuit] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)
    """Circuits that cannot be read, by name, and why; they are told of, and have no page."""

    @property
    def bundled(self) -> bool:
        """Whether it came with the package or from the Hub, so that nothing is written into it."""
        return self.run.origin is not None or example_name(self.run.folder) is not None

    def why_not_pruned(self) -> str | None:
        """Why no pruning can be started here; None: one can."""
        if self.bundled:
            place = "comes with the package" if self.run.origin is None else "is on the Hub"
            return f"it {place}, and nothing is written into it; make a copy of your own"
        if not self.run.corpus_folder.is_dir():
            return "its corpus, which a pruning needs, is not there"
        return None


class Library:
    """The table of runs and circuits. :meth:`scan` reads it anew, for what a pruning has added."""

    def __init__(
        self,
        runs: Callable[[], Iterable[tuple[str, Run]]],
        *,
        circuits: Sequence[str] = (),
        more: Sequence[Path] = (),
        tasks: Mapping[str, Task] | None = None,
    ) -> None:
        """Read it for the first time.

        Args:
            runs: gives the runs by name, in their order.
            circuits: those to list, by name; none: all.
            more: folders of other circuits, such as a study's; each goes to the run whose model it is of.
            tasks: a user's own tasks that are code, by name.
        """
        self._runs, self._names, self._more = runs, tuple(circuits), tuple(more)
        self.tasks = dict(tasks or {})
        self._hashes: dict[Path, str] = {}
        self._lock = threading.Lock()
        self._table: dict[str, ListedRun] = {}
        self.scan()

    def scan(self) -> None:
        """Read the folders anew."""
        with self._lock:
            table: dict[str, ListedRun] = {}
            for name, run in self._runs():
                if not _is_whole(run):
                    continue
                key = _new_key(name, table)
                damaged: dict[str, str] = {}
                table[key] = ListedRun(key, name, run, self._circuits(run, damaged), damaged)
            self._table = table

    def runs(self) -> list[ListedRun]:
        """All of them."""
        return list(self._table.values())

    def run(self, key: str) -> ListedRun:
        """The run of that key.

        Raises:
            NotListed: none has it.
        """
        if key not in self._table:
            raise NotListed("no such run is listed")
        return self._table[key]

    def circuit(self, run: str, key: str) -> ListedCircuit:
        """The circuit of that key, of the run of that.

        Raises:
            NotListed: none has it.
        """
        circuits = self.run(run).circuits
        if key not in circuits:
            raise NotListed("no such circuit is listed")
        return circuits[key]

    def task_names(self, run: Run) -> list[str]:
        """What the run's model can be pruned for: built-in tasks, those that it keeps, those of the user."""
        kept = [name for name, path in kept_files(run.folder).items() if path.suffix != ".py"]
        known = [name for suite in SUITES.values() for name in suite]
        return list(dict.fromkeys((*known, *kept, *self.tasks)))

    def _circuits(self, run: Run, damaged: dict[str, str]) -> dict[str, ListedCircuit]:
        """The run's circuits by key; those that cannot be read go into ``damaged``."""
        found: dict[str, ListedCircuit] = {}
        for top in HOLDING:
            for path in sorted((run.folder / top).rglob(CIRCUIT_FILE)):
                folder = path.parent
                name = folder.relative_to(run.circuits if top == "circuits" else run.folder).as_posix()
                self._add(found, damaged, name, folder, _root(run))
        for place in self._more:
            for path in sorted(place.rglob(CIRCUIT_FILE)):
                name = f"{place.name}/{path.parent.relative_to(place).as_posix()}"
                self._add(found, damaged, name, path.parent, place, of=self._hash(run))
        return found

    def _add(
        self,
        found: dict[str, ListedCircuit],
        damaged: dict[str, str],
        name: str,
        folder: Path,
        root: Path,
        of: str | None = None,
    ) -> None:
        if (self._names and name not in self._names) or len(found) + len(damaged) >= _MOST_CIRCUITS:
            return
        files = [folder / file for file in (CIRCUIT_FILE, VALUES_FILE, CARD_FILE)]
        if not all(_is_inside(path, root) for path in files):
            return
        facts = _facts(folder / CIRCUIT_FILE)
        if facts is None:
            damaged[_writable(name)] = _why_damaged(folder)
            return
        if of is not None and facts["model"] != of:
            return
        key = _new_key(name, found)
        found[key] = ListedCircuit(key, name, folder, facts)

    def _hash(self, run: Run) -> str:
        if run.folder not in self._hashes:
            self._hashes[run.folder] = model_hash(run.model())
        return self._hashes[run.folder]


def runs_below(root: Path) -> list[tuple[str, Run]]:
    """The runs in a folder and in its folders, by name; links that lead out of it are passed over."""
    found = []
    for path in sorted([*root.glob("*/run.json"), *root.glob("*/*/run.json")]):
        if not _is_inside(path, root):
            continue
        try:
            found.append((path.parent.relative_to(root).as_posix(), Run.open(path.parent)))
        except CheckpointError:
            continue  # of another release, or damaged: `view NAME` says what is wrong with it
    return found


def task_named(library: Library, run: Run, name: str) -> Task:
    """One of :meth:`Library.task_names`.

    Raises:
        TaskError: it is none of them.
    """
    from sparsecircuits.tasks.own import named_task

    if name not in library.task_names(run):
        raise TaskError("no such task is known for this run")
    return library.tasks.get(name) or named_task(name, run.folder)


def _is_whole(run: Run) -> bool:
    """Whether a run is finished, and all of it lies where its files may."""
    if not (run.folder / "result.json").is_file() or not (run.folder / "model").is_dir():
        return False
    files = [run.folder / name for name in _RUN_FILES] + [
        run.folder / "model" / name for name in _MODEL_FILES
    ]
    return all(_is_inside(path, _root(run)) for path in files)


def _root(run: Run) -> Path:
    """Where a run's files may lie: in its folder; of one from the Hub, in its part of the cache, by links."""
    return run.folder if run.origin is None else run.folder.parents[1]


def _is_inside(path: Path, root: Path) -> bool:
    """Whether a path, with its links followed, lies below ``root``."""
    return path.resolve().is_relative_to(root.resolve())


def _facts(path: Path) -> dict[str, Any] | None:
    """What a circuit's file says of it; None if it says nothing that can be read."""
    try:
        data = json.loads(path.read_text())
        info = dict(data["info"])
        # Figures of another number of nodes are those of the circuit that this one was made of.
        own = info.get("nodes") == len(data["nodes"])
        return {
            "task": str(data["task"]),
            "nodes": len(data["nodes"]),
            **{key: info.get(key) if own else None for key in ("edges", "loss", "met")},
            "model": info.get("model_sha256"),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _why_damaged(folder: Path) -> str:
    """What is wrong with a circuit whose file says nothing that can be read; no path of this machine."""
    try:
        load_circuit(folder)
    except SparseCircuitsError as error:
        return _writable(str(error).replace(f"{folder}/", ""))
    return f"{CIRCUIT_FILE}: it lacks what a list tells of a circuit"


def _writable(text: str) -> str:
    """Without halves of characters, which names of undecodable bytes hold, and signs that steer a terminal.

    >>> _writable("a\\udce9b\\x1bc")
    'a?b?c'
    """
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _new_key(name: str, taken: Mapping[str, Any]) -> str:
    """A key made of a name, unlike those taken.

    >>> _new_key("demo/sparse", {}), _new_key("demo sparse", {"demo-sparse": 0}), _new_key("..", {})
    ('demo-sparse', 'demo-sparse-2', 'unnamed')
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+|\.\.+", "-", name).strip("-.") or "unnamed"
    key, count = plain, 1
    while key in taken:
        count += 1
        key = f"{plain}-{count}"
    return key
