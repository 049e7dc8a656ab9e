"""Run jobs side by side in worker processes, and hear from them while they work.

In go jobs, each a module-level function with its arguments; out come their results by name. With one
worker the jobs run in this process, one after the other; with more, each worker is a fresh process
with one thread that takes the next job as soon as it is free. Jobs keep their own results on disk, so an
interruption loses what was in progress and nothing else.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
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
        SparseCircuitsError: what a job raised; the others are stopped.
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
    waiting, events = context.Queue(), context.Queue()
    for job in jobs:
        waiting.put(job)
    for _ in range(workers):
        waiting.put(None)  # one for each worker: nothing left to do
    processes = [context.Process(target=_worker, args=(waiting, events), daemon=True) for _ in range(workers)]
    for process in processes:
        process.start()
    try:
        return _collect(jobs, processes, events, watch)
    finally:
        for process in processes:
            process.terminate()


def _collect(jobs: Sequence[Job], processes: list[SpawnProcess], events: Any, watch: Watch) -> dict[str, Any]:
    results: dict[str, Any] = {}
    while len(results) < len(jobs):
        try:
            kind, name, content = events.get(timeout=0.5)
        except queue.Empty:
            died = [process for process in processes if process.exitcode not in (None, 0)]
            if died:
                raise WorkerDied(f"a worker process ended with exit code {died[0].exitcode}") from None
            continue
        if kind == "error":
            raise content
        if kind == "result":
            results[name] = content
        else:
            watch(name, *content)
    return results


def _worker(waiting: Any, events: Any) -> None:
    """Take jobs until there are none. Ctrl-C is the parent's to handle: it ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _one_thread()

    def watch(name: str, done: int, loss: float | None, tokens: int | None) -> None:
        events.put(("progress", name, (done, loss, tokens)))

    while (job := waiting.get()) is not None:
        try:
            result = _work(job, watch)
        except SparseCircuitsError as error:
            events.put(("error", job.name, error))
            return
        events.put(("result", job.name, result))


def _one_thread() -> None:
    import torch

    from sparsecircuits.ops.memory import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
