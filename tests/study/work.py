"""Jobs for worker processes, which import them by name; and progress bars that only listen."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from sparsecircuits.errors import SparseCircuitsError, TaskError
from sparsecircuits.study.jobs import Report


class Particular(SparseCircuitsError):
    """Cannot be built from its message alone."""

    def __init__(self, where: Path, line: int) -> None:
        super().__init__(f"{where}, line {line}: not like this")


def square(number: int, report: Report) -> int:
    """Reports the steps 1 to ``number`` with a loss and tokens that can be told apart."""
    for step in range(1, number + 1):
        report(step, step / 2, 10 * step)
    return number**2


def process_and_threads(report: Report) -> tuple[int, int]:
    return os.getpid(), torch.get_num_threads()


def misfit(report: Report) -> None:
    raise TaskError("the tokens do not fit")


def particular(report: Report) -> None:
    raise Particular(Path("notes.txt"), 7)


def die(report: Report) -> None:
    os._exit(3)


def unsendable(report: Report) -> Any:
    return lambda: None


def endless(report: Report) -> None:
    while True:
        report(1, None, None)
        time.sleep(0.02)


class Bars:
    """Takes the place of bars on a terminal: counts what it hears, and may interrupt."""

    def __init__(self, interrupt: tuple[str, int] | None = None) -> None:
        self.heard: dict[str, list[tuple[int, float | None, int | None]]] = {}
        self.interrupt = interrupt

    def add(self, description: str, total: int | None = None) -> Bar:
        assert total is not None
        return Bar(self, description)

    def stage(self, name: str, done: int, total: int | None = None) -> None:
        self.hear(name, done, None, None)

    def hear(self, name: str, done: int, loss: float | None, tokens: int | None) -> None:
        self.heard.setdefault(name, []).append((done, loss, tokens))
        if (name, done) == self.interrupt:
            raise KeyboardInterrupt


class Bar:
    def __init__(self, bars: Bars, name: str) -> None:
        self.bars, self.name = bars, name

    def update(self, done: int, *, loss: float | None = None, tokens: int | None = None) -> None:
        self.bars.hear(self.name, done, loss, tokens)
