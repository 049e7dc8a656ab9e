"""Batches as a pure function of (seed, step), and the fixed windows of the validation split.

In goes a one-dimensional array of token ids (a memory-mapped shard), out come rows of ``n_ctx + 1``
tokens: ``row[:-1]`` is what a model reads, ``row[1:]`` what it is to predict. There is no state: a run
that resumes at step 700 asks for step 700. A row may span several documents, each of which starts
with ``<|endoftext|>``.

Training rows start at uniformly random offsets, drawn by Philox, a generator that turns (key, counter)
into random bits (Salmon et al. 2011); the key is (seed, step). Its raw bits are used, which, unlike
the distributions built on them, are promised to stay the same from one numpy to the next.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.random import Philox

from sparsecircuits.errors import DataError


def batch(tokens: np.ndarray, *, seed: int, step: int, rows: int, n_ctx: int) -> torch.Tensor:
    """The batch of one training step.

    Args:
        tokens: token ids, shape [tokens].
        seed: chooses the sequence of batches; 0 to 2**64 - 1.
        step: which of them, from 0.
        rows: how many rows.
        n_ctx: the model's context.

    Returns:
        Token ids, int64, shape [rows, n_ctx + 1].

    Raises:
        DataError: fewer than ``n_ctx + 1`` tokens.
    """
    starts = offsets(len(tokens), seed=seed, step=step, rows=rows, n_ctx=n_ctx)
    return gather(tokens, starts, n_ctx)


def offsets(total: int, *, seed: int, step: int, rows: int, n_ctx: int) -> np.ndarray:
    """Where the rows of :func:`batch` start: shape [rows], each from 0 to ``total - n_ctx - 1``."""
    require_window(total, n_ctx)
    if not (0 <= seed < 2**64 and 0 <= step < 2**64):
        raise ValueError(f"seed {seed} and step {step} must be from 0 to 2**64 - 1")
    bits = Philox(key=np.array([seed, step], dtype=np.uint64)).random_raw(rows)
    choices = total - n_ctx
    return np.array([(int(word) * choices) >> 64 for word in bits], dtype=np.int64)


def sequential_batches(tokens: np.ndarray, rows: int, n_ctx: int) -> Iterator[torch.Tensor]:
    """Windows that lie end to end, in order: each token but the first is predicted exactly once.

    Window ``i`` is ``tokens[i * n_ctx : (i + 1) * n_ctx + 1]``; there are ``(len(tokens) - 1) // n_ctx``,
    and up to ``n_ctx - 1`` tokens at the end are left out.

    Yields:
        Token ids, int64, shape [rows, n_ctx + 1]; the last batch may have fewer rows.

    Raises:
        DataError: fewer than ``n_ctx + 1`` tokens.
    """
    require_window(len(tokens), n_ctx)
    if rows < 1:
        raise ValueError(f"rows is {rows}; it must be at least 1")
    starts = np.arange((len(tokens) - 1) // n_ctx, dtype=np.int64) * n_ctx
    return (gather(tokens, starts[first : first + rows], n_ctx) for first in range(0, len(starts), rows))


def require_window(total: int, n_ctx: int, where: str = "the tokens") -> None:
    """Raise :class:`DataError` with both sizes unless one row of ``n_ctx + 1`` tokens fits in ``total``."""
    if n_ctx < 1:
        raise ValueError(f"n_ctx is {n_ctx}; it must be at least 1")
    if total < n_ctx + 1:
        raise DataError(f"{where}: {total} tokens; a context of {n_ctx} needs at least {n_ctx + 1}")


def gather(tokens: np.ndarray, starts: np.ndarray, n_ctx: int) -> torch.Tensor:
    """The rows of ``n_ctx + 1`` tokens that begin at ``starts``: int64, shape [len(starts), n_ctx + 1]."""
    rows = tokens[starts[:, None] + np.arange(n_ctx + 1)]
    return torch.from_numpy(rows.astype(np.int64))
