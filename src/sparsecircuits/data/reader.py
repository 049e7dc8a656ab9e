"""Batches that are ready when a step asks for them, and how long it had to wait all the same.

A thread makes the batches of the coming steps, a few ahead, and the training loop takes them in order. Each
is exactly that of :func:`~sparsecircuits.data.batches.batch`, a pure function of (seed, step): how many are
made ahead, on how many processes the rows are divided, and where a run was stopped and resumed, none of it
shows. Nor does any other random generator, since the reader uses none but the batch's own.

Of several processes each reads its share of a step's rows: process ``rank`` of ``world`` has the rows from
``rank * rows / world`` on, so that the shares one after the other are the batch of one process.

>>> with BatchReader(corpus.train, seed=0, rows=16, n_ctx=64, first_step=700, last_step=1000) as reader:
...     for step, tokens in enumerate(reader, start=700):                        # doctest: +SKIP
...         ...
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np
import torch

from sparsecircuits.data.batches import gather, offsets, require_window
from sparsecircuits.errors import ConfigError


class BatchReader:
    """An iterator over the batches of the steps from ``first_step`` to ``last_step - 1``.

    A context manager: leaving it ends the thread, whatever was read. With ``ahead=0`` there is no thread, and
    a batch is made when it is asked for.

    Attributes:
        waited: seconds that the iterator has kept its caller waiting so far.
        taken: batches handed on so far.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        *,
        seed: int,
        rows: int,
        n_ctx: int,
        first_step: int = 0,
        last_step: int | None = None,
        ahead: int = 2,
        rank: int = 0,
        world: int = 1,
        prepare: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        """Begin to make the first batches.

        Args:
            tokens: token ids, shape [tokens].
            seed: chooses the sequence of batches.
            rows: of a step's whole batch, that of all processes together.
            n_ctx: the model's context.
            first_step: the first step's number: that at which a resumed run goes on.
            last_step: where to end, itself left out; None: never.
            ahead: how many batches are made before they are asked for, at most.
            rank: which of the processes this is, from 0.
            world: how many processes share a batch.
            prepare: called with each batch, in the thread; such as ``torch.Tensor.pin_memory``.

        Raises:
            ConfigError: rows that ``world`` does not divide; a rank, count or step out of range.
            DataError: fewer than ``n_ctx + 1`` tokens.
        """
        if rows < 1 or world < 1 or rows % world:
            raise ConfigError(f"{rows} rows cannot be divided evenly on {world} processes")
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank}: {world} processes are numbered from 0 to {world - 1}")
        if ahead < 0 or first_step < 0:
            raise ConfigError(f"ahead is {ahead} and first_step {first_step}; neither may be below 0")
        require_window(len(tokens), n_ctx)
        self.waited = 0.0
        self.taken = 0
        self._tokens, self._seed, self._rows, self._n_ctx = tokens, seed, rows, n_ctx
        self._share = slice(rank * rows // world, (rank + 1) * rows // world)
        self._prepare = prepare
        self._next, self._last = first_step, last_step
        self._closed = False
        self._ready: deque[Future[torch.Tensor]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches") if ahead else None
        for _ in range(ahead):
            self._make_another()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> torch.Tensor:
        """The next step's rows of this process: int64, shape [rows / world, n_ctx + 1].

        Raises:
            StopIteration: ``last_step`` is reached, or the reader was closed.
            Exception: whatever went wrong in the thread.
        """
        if self._closed or (not self._ready and self._ended):
            raise StopIteration
        began = time.perf_counter()
        try:
            rows = self._make(self._take_step()) if self._thread is None else self._ready.popleft().result()
        except BaseException:
            self.close()
            raise
        self.waited += time.perf_counter() - began
        self.taken += 1
        self._make_another()
        return rows

    def close(self) -> None:
        """End the thread; what was made ahead is dropped. May be called again."""
        self._closed = True
        self._ready.clear()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    @property
    def _ended(self) -> bool:
        return self._last is not None and self._next >= self._last

    def _take_step(self) -> int:
        self._next += 1
        return self._next - 1

    def _make_another(self) -> None:
        if self._thread is not None and not self._ended:
            self._ready.append(self._thread.submit(self._make, self._take_step()))

    def _make(self, step: int) -> torch.Tensor:
        starts = offsets(len(self._tokens), seed=self._seed, step=step, rows=self._rows, n_ctx=self._n_ctx)
        rows = gather(self._tokens, starts[self._share], self._n_ctx)
        return rows if self._prepare is None else self._prepare(rows)
