"""What one row of the GPU's table is, and how its times are taken.

In go functions that do the same work; out comes a :class:`Row`: our time, the others' times with the goals
that the ratios are held against, how far our result is from the definition's, and how many bytes the work has
to move. The clock is the GPU's own; before each turn the second cache is emptied, and what a turn needs is
prepared, untimed.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

Work = Callable[[], object]
#: More than the second cache of any GPU holds.
FLUSHED = 2**28


@dataclass(frozen=True)
class Other:
    """Another way to do the same."""

    ms: float
    goal: float | None = None
    """How many times as long as ours it is to take, at least."""


@dataclass(frozen=True)
class Row:
    """One piece of work."""

    name: str
    ms: float
    others: dict[str, Other] = field(default_factory=dict)
    moved: int | None = None
    """Bytes that are read and written at the least; None where that is not a bound worth a look."""
    error: float | None = None
    """How far our result is from the definition's."""
    tolerance: float = 0.0

    @property
    def right(self) -> bool:
        """Whether the result is the definition's; NaN is not."""
        return self.error is None or self.error <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; the inverse is :meth:`from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Row:
        """The inverse of :meth:`to_json`."""
        others = {name: Other(**other) for name, other in data["others"].items()}
        return cls(**{**data, "others": others})


@dataclass(frozen=True)
class Clock:
    """How a piece of work is timed.

    Attributes:
        device: where it runs; off a GPU each is timed once, for the toy run.
        seconds: about how long one of them is repeated.
    """

    device: torch.device
    seconds: float = 0.3

    def ms(self, work: Work, prepare: Work = lambda: None) -> float:
        """Median milliseconds of ``work``, after ``prepare`` each time."""
        prepare()
        begun = time.perf_counter()
        work()  # compiles
        if self.device.type != "cuda":
            return 1e3 * (time.perf_counter() - begun)
        return self._on_gpu(work, prepare)

    def _on_gpu(self, work: Work, prepare: Work) -> float:
        flushed = torch.empty(FLUSHED, dtype=torch.int8, device=self.device)

        def turn() -> tuple[torch.cuda.Event, torch.cuda.Event]:
            prepare()
            flushed.zero_()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            return start, end

        start, end = turn()
        torch.cuda.synchronize()
        count = min(100, max(3, int(1e3 * self.seconds / max(start.elapsed_time(end), 0.01))))
        turns = [turn() for _ in range(count)]
        torch.cuda.synchronize()
        return statistics.median(start.elapsed_time(end) for start, end in turns)


def apart(got: Tensor, right: Tensor) -> float:
    """Largest difference, as a share of the largest number there should be."""
    got, right = got.detach().double(), right.detach().double()
    return float((got - right).abs().max() / right.abs().max().clamp(min=1e-30))


def differing(got: Tensor, right: Tensor) -> float:
    """Share of entries that are not equal."""
    return float((got != right).double().mean())


def worst(*errors: float) -> float:
    """The largest; NaN if one is."""
    return math.nan if any(map(math.isnan, errors)) else max(errors)


def short(kind: torch.dtype) -> str:
    """A type for people.

    >>> short(torch.bfloat16)
    'bfloat16'
    """
    return str(kind).removeprefix("torch.")
