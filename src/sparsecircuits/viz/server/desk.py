"""Where questions are answered: a few threads, a queue that ends, and the latest models, ready."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sparsecircuits.circuit import model_hash
from sparsecircuits.circuit.files import CIRCUIT_FILE
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import CheckpointError, SparseCircuitsError
from sparsecircuits.model import SparseGPT
from sparsecircuits.viz.collect import task_of
from sparsecircuits.viz.server.library import Library, ListedCircuit, ListedRun
from sparsecircuits.viz.server.workbench import Kept, Workbench

#: Threads that answer, questions that may wait, models and workbenches that are kept.
THREADS, MOST_WAITING, MOST_MODELS, MOST_BENCHES = 2, 32, 4, 16

Answer = TypeVar("Answer")


class Busy(SparseCircuitsError):
    """More is asked than can be answered soon."""


class LoadedModel:
    """A run's model; ``lock`` is held while it runs, as hooks sit on it."""

    def __init__(self, listed: ListedRun) -> None:
        self.model: SparseGPT = listed.run.model().requires_grad_(False)
        self.tokenizer: Tokenizer = listed.run.tokenizer()
        self.hash = model_hash(self.model)
        self.lock = threading.Lock()


class Desk:
    """Answers questions about a library's circuits."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._models: Kept[tuple[Path, int], LoadedModel] = Kept(MOST_MODELS)
        self._benches: Kept[tuple[Path, int, Path, int], Workbench] = Kept(MOST_BENCHES)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="questions")
        self._loading = threading.Lock()
        self._waiting = 0

    async def answer(self, call: Callable[[], Answer]) -> Answer:
        """Call it in one of the threads.

        Raises:
            Busy: too many wait already.
        """
        if self._waiting >= MOST_WAITING:
            raise Busy("too much is being asked; try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._pool.submit(call))
        finally:
            self._waiting -= 1

    @contextlib.contextmanager
    def at(self, run: ListedRun, circuit: ListedCircuit) -> Generator[Workbench]:
        """The workbench of a circuit, for this thread alone.

        Raises:
            CheckpointError: the circuit belongs to another model, or to another version of its task.
        """
        with self._loading:
            loaded = self.model(run)
            key = (*_stamp(run), circuit.folder, (circuit.folder / CIRCUIT_FILE).stat().st_mtime_ns)
            bench = self._benches.get(key, lambda: self._bench(loaded, run, circuit))
        with loaded.lock:
            yield bench

    def model(self, run: ListedRun) -> LoadedModel:
        """A run's model, loaded anew if its file has changed."""
        return self._models.get(_stamp(run), lambda: LoadedModel(run))

    def close(self) -> None:
        """Answer no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _bench(self, loaded: LoadedModel, run: ListedRun, listed: ListedCircuit) -> Workbench:
        circuit = listed.load()
        if circuit.info.get("model_sha256", loaded.hash) != loaded.hash:
            raise CheckpointError(f"the circuit for {circuit.task} belongs to another model")
        task = task_of(circuit, run.run, self._library.tasks)
        return Workbench(loaded.model, loaded.tokenizer, circuit, task)


def _stamp(run: ListedRun) -> tuple[Path, int]:
    file = run.run.folder / "model" / "model.safetensors"
    return run.run.folder, file.stat().st_mtime_ns if file.is_file() else 0
