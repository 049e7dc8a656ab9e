"""Measure this machine's constants for the rule in :mod:`sparsecircuits.ops.choice`.

Steps, for one number of threads: time dense and sparse products at a few shapes, densities and numbers of
tokens, each the median of several; the cost of an entry of a dense one is the median over shapes, those of an
entry and of an input or output of a sparse one are fitted by least squares.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from sparsecircuits.ops.choice import Costs, predicted
from sparsecircuits.ops.linear import Pattern, sparse_linear

#: (rows, columns) and densities of what is timed.
SHAPES = ((256, 256), (1024, 256), (256, 1024), (1024, 1024))
DENSITIES = (0.002, 0.02, 0.1)
TOKENS = 2048
REPEATS = 7
#: How many products :func:`measure` times, for progress.
STEPS = len(SHAPES) * (2 + 2 * len(DENSITIES)) + 2


def measure(threads: int, tick: Callable[[], None] = lambda: None) -> Costs:
    """Constants for so many threads; ``tick`` is called after each of :data:`STEPS` timings."""
    dense, few_dense, few_entry = [], [], []
    sizes, times = [], []
    generator = torch.Generator().manual_seed(0)

    def timed(work: Callable[[], object]) -> float:
        nanoseconds = _median_time(work)
        tick()
        return nanoseconds

    with _threads(threads), torch.no_grad():
        small = torch.randn(16, 16, generator=generator)
        empty = Pattern.of(torch.zeros(16, 16))
        values = torch.zeros(0)
        call = timed(lambda: sparse_linear(small, values, None, empty)) - timed(
            lambda: F.linear(small, small)
        )
        for rows, columns in SHAPES:
            weight = torch.randn(rows, columns, generator=generator)
            x, one = (torch.randn(n, columns, generator=generator) for n in (TOKENS, 1))
            dense.append(timed(lambda w=weight, x=x: F.linear(x, w)) / (TOKENS * rows * columns))
            few_dense.append(timed(lambda w=weight, x=one: F.linear(x, w)) / (rows * columns))
            for density in DENSITIES:
                sparse = weight * (torch.rand(rows, columns, generator=generator) < density)
                pattern = Pattern.of(sparse)
                kept = pattern.gather(sparse)

                def product(x: torch.Tensor, w: torch.Tensor = kept, p: Pattern = pattern) -> torch.Tensor:
                    return sparse_linear(x, w, None, p)

                sizes.append((float(pattern.count), float(rows + columns)))
                times.append((timed(lambda x=x, product=product: product(x)) - max(call, 0.0)) / TOKENS)
                few = timed(lambda x=one, product=product: product(x)) - max(call, 0.0)
                few_entry.append(max(few, 1.0) / max(1, pattern.count))
    entry, move = _fit(sizes, times)
    return Costs(
        dense=statistics.median(dense),
        entry=entry,
        move=move,
        few_dense=statistics.median(few_dense),
        few_entry=statistics.median(few_entry),
        call=max(call, 1.0),
    )


def crossover(costs: Costs, rows: int, columns: int, tokens: int) -> float:
    """The density below which the rule takes the sparse path, found by bisection; 0 where it never does."""
    low, high = 0, rows * columns + 1
    while high - low > 1:
        middle = (low + high) // 2
        if predicted(costs, rows, columns, middle, tokens):
            low = middle
        else:
            high = middle
    return low / (rows * columns)


def _fit(sizes: list[tuple[float, float]], times: list[float]) -> tuple[float, float]:
    """Nanoseconds of an entry and of an input or output, by least squares on relative errors."""
    weight = 1 / torch.tensor(times, dtype=torch.double).clamp(min=1e-3)
    matrix = torch.tensor(sizes, dtype=torch.double) * weight[:, None]
    solution = torch.linalg.lstsq(matrix, torch.ones(len(times), 1, dtype=torch.double)).solution.flatten()
    entry, move = solution.clamp(min=1e-4).tolist()
    return entry, move


def _median_time(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter_ns()
        work()
        taken.append(time.perf_counter_ns() - started)
    return float(statistics.median(taken))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
