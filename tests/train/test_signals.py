"""The two signals are collected, and handled as before afterwards."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import Terminated
from sparsecircuits.train import Progress, RunConfig, load_run, train
from sparsecircuits.train.signals import Stop, stop_signals


def sends(number: int, step: int) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if progress.step == step:
            os.kill(os.getpid(), number)

    return watch


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_saves_the_step_that_it_comes_in(
    number: int, kind: type[BaseException], config: RunConfig, corpus: Corpus, tmp_path: Path
):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(config, corpus, tmp_path / "run", sends(number, 5))
    assert type(caught.value) is kind
    assert signal.getsignal(number) is before
    run = load_run(tmp_path / "run")
    assert (run.checkpoints / "step_000005").is_dir()
    assert run.metrics()[-1]["step"] == 5
    assert not (run.folder / "lock").exists()


def test_the_second_ctrl_c_does_not_wait():
    with stop_signals() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def trouble(presses: int) -> None:
    """Code that makes an error of its own of a second Ctrl-C."""
    with stop_signals():
        try:
            for _ in range(presses):
                os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("not readable") from None
        raise ValueError("another matter")


def test_the_second_ctrl_c_stays_one_whatever_made_another_error_of_it():
    with pytest.raises(KeyboardInterrupt):
        trouble(presses=2)
    with pytest.raises(ValueError, match="another matter"):
        trouble(presses=1)


def test_a_scheduler_that_asks_twice_can_wait():
    with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Terminated):
            stop.leave()


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
        assert not stop
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_has_no_handlers():
    seen: list[Stop] = []

    def work() -> None:
        with stop_signals() as stop:
            seen.append(stop)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(seen) == 1
    assert signal.getsignal(signal.SIGTERM) is before
