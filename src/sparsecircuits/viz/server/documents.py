"""The document of each circuit's page: made when it is first asked for, in a thread, and kept for a while.

Making one takes from a second to minutes, with a model of its own, so that nobody's question waits for it.
Whoever asks is told how far it is. Documents are kept by what they are made of: the circuit's file, its
report card, its model's, and what was measured through the model's bridge; the oldest go when all together
exceed :data:`MOST_BYTES`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sparsecircuits.circuit import Labels, save_labels
from sparsecircuits.circuit.files import CIRCUIT_FILE
from sparsecircuits.errors import SparseCircuitsError
from sparsecircuits.validate.card import CARD_FILE
from sparsecircuits.viz.bridged import results_of
from sparsecircuits.viz.collect import card_entry, run_document
from sparsecircuits.viz.page import laid_out
from sparsecircuits.viz.server.desk import Busy
from sparsecircuits.viz.server.library import Library, ListedCircuit, ListedRun
from sparsecircuits.viz.watch import Watch

#: Bytes of all documents that are kept.
MOST_BYTES = 64_000_000
#: Documents that wait to be made.
MOST_WAITING = 8
#: Held-out pairs of effects in a bundled run's documents, which are to be there in seconds.
_BUNDLED_PAIRS = 32


@dataclass
class Making:
    """How far a document is."""

    done: int = 0
    of: int = 0
    what: str = "waiting"
    body: bytes | None = None
    error: str | None = None

    @property
    def finished(self) -> bool:
        """Whether there is a document, or the reason why there is none."""
        return self.body is not None or self.error is not None


class Documents:
    """All documents of a library."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._made: OrderedDict[str, Making] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="documents")

    def ask(self, run: ListedRun, circuit: ListedCircuit) -> Making:
        """How far the document is; begins it where nobody has. An error is told once, then tried anew.

        Raises:
            Busy: too many wait already.
        """
        key = _fingerprint(run, circuit)
        with self._lock:
            making = self._made.get(key)
            if making is None:
                waiting = sum(not other.finished for other in self._made.values())
                if waiting >= MOST_WAITING:
                    raise Busy("too many pages are being made; try again in a moment")
                making = self._made[key] = Making()
                self._pool.submit(self._make, making, run, circuit).add_done_callback(_log_fault)
            self._made.move_to_end(key)
            if making.error is not None:
                del self._made[key]
            return making

    def relabel(self, run: ListedRun, circuit: ListedCircuit, labels: Labels) -> None:
        """Write a circuit's labels into its file, and into its document if there is one: all else stays.

        Raises:
            CheckpointError: no sound circuit there, or a label of a node that it lacks.
        """
        with self._lock:
            before = self._made.get(_fingerprint(run, circuit))
        save_labels(circuit.folder, labels)
        if before is None or before.body is None:
            return
        document = json.loads(before.body)
        (entry,) = document["circuits"]
        kept = {key: value for key, value in entry.items() if key not in ("labels", "layout")}
        document["circuits"] = [{**kept, **({"labels": labels.to_dict()} if labels else {})}]
        with self._lock:
            self._made[_fingerprint(run, circuit)] = Making(body=_written(document))
        self._forget()

    def close(self) -> None:
        """Begin no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _make(self, making: Making, run: ListedRun, circuit: ListedCircuit) -> None:
        def watch(done: int, of: int, what: str) -> None:
            making.done, making.of, making.what = done, of, what

        making.what = "reading the model"
        try:
            making.body = self._document(run, circuit, watch)
        except SparseCircuitsError as error:
            making.error = str(error)
        finally:
            if not making.finished:  # a fault of ours, which the log shows
                making.error = "this page could not be made; the server's terminal says why"
        self._forget()

    def _document(self, run: ListedRun, circuit: ListedCircuit, watch: Watch) -> bytes:
        loaded = circuit.load()
        document = run_document(
            run.run,
            [loaded],
            f"{circuit.name} · {run.name}",
            run.name,
            _BUNDLED_PAIRS if run.bundled else None,
            self._library.tasks,
            watch,
        )
        (entry,) = document["circuits"]
        document["circuits"] = [{**entry, **card_entry(loaded, circuit.folder / CARD_FILE)}]
        return _written(document)

    def _forget(self) -> None:
        with self._lock:
            size = sum(len(making.body or b"") for making in self._made.values())
            for key, making in list(self._made.items())[:-1]:
                if size <= MOST_BYTES:
                    return
                if making.finished:
                    size -= len(making.body or b"")
                    del self._made[key]


def _written(document: dict[str, Any]) -> bytes:
    """The document as the page fetches it."""
    told = json.dumps(laid_out(document), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return told.encode("ascii")


def _log_fault(work: Future[None]) -> None:
    if not work.cancelled() and (fault := work.exception()) is not None:
        logging.getLogger("uvicorn.error").error("a document could not be made", exc_info=fault)


def _fingerprint(run: ListedRun, circuit: ListedCircuit) -> str:
    """Of all that a document is made of."""
    digest = hashlib.sha256(f"{run.run.folder}\0{circuit.folder}\0".encode("utf-8", "surrogateescape"))
    for file in (circuit.folder / CIRCUIT_FILE, circuit.folder / CARD_FILE):
        digest.update(file.read_bytes() if file.is_file() else b"")
        digest.update(b"\0")
    for file in (run.run.folder / "model" / "model.safetensors", *results_of(run.run)):
        if file.is_file():
            digest.update(f"{file}\0{file.stat().st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
