"""Run jobs side by side in worker processes, and hear from them while they work.

In go jobs, each a module-level function with its arguments; out come their results by name. With one
worker the jobs run in this process, one after the other; with more, each worker is a fresh process
with one thread that takes the next job as soon as it is free. Jobs keep their own results on disk, so an
interruption loses what was in progress and nothing else.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import Any

from sparsecircuits.errors import SparseCircuitsError

#: ``report(done, loss, tokens)``: units done so far, the latest loss, tokens seen so far.
Report = Callable[[int, float | None, int | None], None]
#: ``watch(job name, done, loss, tokens)``.
Watch = Callable[[str, int, float | None, int | None], None]


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: unique; what people read.
        work: called as ``work(report=…, **arguments)``; must be importable by name.
        arguments: what it takes; must be picklable.
        total: units of the whole job, for a progress bar.
    """

    name: str
    work: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    total: int = 1


class WorkerDied(SparseCircuitsError, RuntimeError):
    """A worker process ended without giving its result; its own output says why."""


def run_jobs(jobs: Sequence[Job], watch: Watch, workers: int) -> dict[str, Any]:
    """Run all jobs; returns their results by name.

    Raises:
        SparseCircuitsError: what a job raised, its class and message; the others are stopped.
        WorkerDied: a worker process was killed, or hit a fault of ours.
    """
    if workers <= 1 or len(jobs) <= 1:
        return {job.name: _work(job, watch) for job in jobs}
    return _run_in_workers(jobs, watch, min(workers, len(jobs)))


def _work(job: Job, watch: Watch) -> Any:
    return job.work(
        report=lambda done, loss=None, tokens=None: watch(job.name, done, loss, tokens), **job.arguments
    )


def _run_in_workers(jobs: Sequence[Job], watch: Watch, workers: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    team: list[_Worker] = []
    try:
        for _ in range(workers):
            team.append(_Worker(context))
        return _share_out(jobs, team, watch)
    finally:
        for worker in team:
            worker.process.terminate()
        for worker in team:
            worker.process.join()


def _share_out(jobs: Sequence[Job], team: Sequence[_Worker], watch: Watch) -> dict[str, Any]:
    waiting = deque(jobs)
    results: dict[str, Any] = {}
    for worker in team:
        worker.begin(waiting.popleft())
    while len(results) < len(jobs):
        ready = wait([worker.connection for worker in team if worker.job is not None])
        for worker in team:
            if worker.connection not in ready:
                continue
            name, event = worker.name, worker.hear()
            match event:
                case "progress", done, loss, tokens:
                    watch(name, done, loss, tokens)
                case "error", kind, message:
                    raise kind.__new__(kind, message)  # past its own __init__, which may take other arguments
                case "result", result:
                    results[name] = result
                    worker.begin(waiting.popleft() if waiting else None)
    return results


class _Worker:
    """A process, our end of the pipe to it, and the job that it has."""

    def __init__(self, context: SpawnContext) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends when the process does
        self.job: Job | None = None

    @property
    def name(self) -> str:
        return self.job.name if self.job else "no job"

    def begin(self, job: Job | None) -> None:
        self.job = job
        if job is not None:
            with self._alive():
                self.connection.send(job)

    def hear(self) -> Any:
        with self._alive():
            return self.connection.recv()

    @contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            raise WorkerDied(f"{self.name}: its worker process ended with exit code {code}") from None


def _serve(connection: Connection) -> None:
    """Do the jobs that come. Ctrl-C is the parent's to handle: it ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _one_thread()

    def watch(name: str, done: int, loss: float | None, tokens: int | None) -> None:
        connection.send(("progress", done, loss, tokens))

    with suppress(EOFError, BrokenPipeError):  # the parent is gone, and nobody waits for results
        while True:
            job = connection.recv()
            try:
                result = _work(job, watch)
            except SparseCircuitsError as error:
                connection.send(("error", type(error), str(error)))
                continue
            connection.send(("result", result))


def _one_thread() -> None:
    import torch

    from sparsecircuits.ops.memory import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
