"""How fast training is between two lines of its metrics, and how long it waited for data.

Only steps count: validation, saving and drawing are left out. These numbers depend on the machine and the
hour; all keys of that kind are :data:`~sparsecircuits.train.run.TIMING`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol


class Waiter(Protocol):
    """Something that knows how long it kept others waiting so far, such as a reader of batches."""

    @property
    def waited(self) -> float:
        """Seconds."""
        ...


class Pace:
    """A stop watch for steps, set back at each line."""

    def __init__(self, tokens_per_step: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._per_step, self._clock = tokens_per_step, clock
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0

    @contextmanager
    def step(self, reader: Waiter) -> Generator[None]:
        """Around one step, which takes its batch from ``reader``."""
        began, waited = self._clock(), reader.waited
        yield
        self._steps += 1
        self._seconds += self._clock() - began
        self._waited += reader.waited - waited

    def take(self) -> dict[str, float]:
        """What a line says of the steps since the last one; then counting begins anew."""
        seconds = max(self._seconds, 1e-9)
        row = {
            "tokens_per_second": round(self._steps * self._per_step / seconds, 1),
            "data_wait": round(self._waited, 6),
            "data_wait_share": round(self._waited / seconds, 6),
        }
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0
        return row
