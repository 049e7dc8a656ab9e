"""Jobs side by side: results, progress, errors, and nobody left behind however it ends."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sparsecircuits.errors import TaskError
from sparsecircuits.study.jobs import Job, WorkerDied, run_jobs
from tests.study import work


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """Other tests' processes may be there; after one of these tests there is no one more."""
    before = set(multiprocessing.active_children())
    yield
    assert set(multiprocessing.active_children()) <= before


def ignore(*event: Any) -> None:
    """Nobody watches."""


@pytest.mark.parametrize("workers", [1, 2])
def test_results_by_name_and_progress_in_order(workers: int) -> None:
    """Nothing is lost while the parent is busy either: it looks up when the workers have long finished."""
    heard: dict[str, list[tuple[Any, ...]]] = {}

    def watch(name: str, *event: Any) -> None:
        if workers == 2 and not heard:
            time.sleep(0.5)
        heard.setdefault(name, []).append(event)

    jobs = [Job(f"square {n}", work.square, {"number": n}, total=n) for n in (3, 1, 2)]
    results = run_jobs(jobs, watch, workers)
    assert results == {"square 3": 9, "square 1": 1, "square 2": 4}
    assert heard == {
        "square 1": [(1, 0.5, 10)],
        "square 2": [(1, 0.5, 10), (2, 1.0, 20)],
        "square 3": [(1, 0.5, 10), (2, 1.0, 20), (3, 1.5, 30)],
    }


def test_no_jobs() -> None:
    assert run_jobs([], ignore, 2) == {}


def test_a_single_job_needs_no_process() -> None:
    pid, _ = run_jobs([Job("here", work.process_and_threads)], ignore, 2)["here"]
    assert pid == os.getpid()


def test_no_more_workers_than_jobs_with_one_thread_each() -> None:
    jobs = [Job(name, work.process_and_threads) for name in "ab"]
    pids, threads = zip(*run_jobs(jobs, ignore, 8).values(), strict=True)
    assert threads == (1, 1)
    assert len({*pids, os.getpid()}) == 3  # both went to a worker that was free, none ran here


def test_an_error_here_is_the_error() -> None:
    with pytest.raises(TaskError, match=r"^the tokens do not fit$"):
        run_jobs([Job("a", work.misfit), Job("b", work.endless)], ignore, 1)


def test_an_error_in_a_worker_comes_back_as_what_it_was() -> None:
    """Also one that pickle cannot build again, since its constructor takes something else."""
    with pytest.raises(work.Particular, match=r"^notes.txt, line 7: not like this$"):
        run_jobs([Job("a", work.endless), Job("b", work.particular)], ignore, 2)


@pytest.mark.parametrize(("job", "code"), [(work.die, 3), (work.unsendable, 1)])
def test_a_worker_that_dies_is_named_at_once(job: Any, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    """While the other one keeps talking: silence is no condition."""
    with pytest.raises(WorkerDied, match=rf"^b: its worker process ended with exit code {code}$"):
        run_jobs([Job("a", work.endless), Job("b", job)], ignore, 2)
    assert ("Traceback" in capfd.readouterr().err) == (code == 1)  # a fault of ours shows where


def test_ctrl_c_ends_the_workers() -> None:
    def interrupt(*event: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs([Job("a", work.endless), Job("b", work.endless)], interrupt, 2)
