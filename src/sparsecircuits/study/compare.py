"""Two models on the same text, token by token (Gao et al. 2025, Fig 33).

In go two models of one vocabulary and a text as token ids, out comes a :class:`Comparison`:

1. the text is cut into windows that lie end to end, as for the validation loss;
2. each model gives the loss of every next token, from the same tokens before it: where one model's context
   is longer, both get windows of the shorter;
3. the losses of the two are correlated over tokens. A high correlation says that the same tokens are hard
   for both; in the paper a sparse and a dense model are about as close (0.93) as two dense ones (0.94).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparsecircuits.data.batches import sequential_batches
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SparseGPT

#: ``watch(done, total)`` is told of how many tokens both models have read so far.
Watch = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Losses of two models on the same tokens, and what they say."""

    first: np.ndarray
    """[tokens] nats of the first model for each token, in the order of the text."""
    second: np.ndarray
    """[tokens] those of the second."""
    n_ctx: int
    """The context that both were given."""

    @property
    def tokens(self) -> int:
        """How many tokens were predicted."""
        return len(self.first)

    @property
    def first_loss(self) -> float:
        """Mean loss of the first model, nats per token."""
        return float(self.first.mean(dtype=np.float64))

    @property
    def second_loss(self) -> float:
        """Mean loss of the second model, nats per token."""
        return float(self.second.mean(dtype=np.float64))

    @property
    def correlation(self) -> float | None:
        """Pearson's r of the two losses over tokens; None where a model's loss never changes."""
        return pearson(self.first, self.second)

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's: r of the losses' ranks, which the few very hard tokens do not decide."""
        return pearson(ranks(self.first), ranks(self.second))

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data, without the losses themselves."""
        keys = ("tokens", "n_ctx", "first_loss", "second_loss", "correlation", "rank_correlation")
        return {key: getattr(self, key) for key in keys}


def compare_models(
    first: SparseGPT,
    second: SparseGPT,
    tokens: np.ndarray,
    *,
    limit: int | None = None,
    rows: int = 32,
    watch: Watch | None = None,
) -> Comparison:
    """The losses of two models on the same tokens.

    Args:
        first: any model.
        second: another whose token ids mean the same; that is the caller's to know.
        tokens: [count] token ids, such as ``corpus.val``.
        limit: stop after about so many predicted tokens, but not before one batch (None: all).
        rows: windows in a batch.
        watch: told of the progress after every batch.

    Raises:
        ConfigError: vocabularies of different sizes.
        DataError: fewer tokens than one window.
    """
    sizes = first.config.vocab_size, second.config.vocab_size
    if sizes[0] != sizes[1]:
        raise ConfigError(f"the models have vocabularies of {sizes[0]} and {sizes[1]} tokens; one is needed")
    n_ctx = min(first.config.n_ctx, second.config.n_ctx)
    whole = (len(tokens) - 1) // n_ctx * n_ctx
    total = whole if limit is None else min(whole, limit)
    losses: tuple[list[Tensor], list[Tensor]] = ([], [])
    count = 0
    for window in sequential_batches(tokens, rows=rows, n_ctx=n_ctx):
        if limit is not None and count >= max(1, limit):
            break
        for model, found in zip((first, second), losses, strict=True):
            found.append(token_losses(model, window))
        count += window[:, 1:].numel()
        if watch is not None:
            watch(min(count, total), total)
    ours, theirs = (torch.cat(found).numpy() for found in losses)
    return Comparison(ours, theirs, n_ctx)


@torch.no_grad()
def token_losses(model: SparseGPT, window: Tensor) -> Tensor:
    """[rows · (pos - 1)] nats of every token of ``window`` [rows, pos] but each row's first."""
    logits = model(window[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1).float(), window[:, 1:].flatten(), reduction="none").cpu()


def pearson(x: np.ndarray, y: np.ndarray) -> float | None:
    """Pearson's correlation of two arrays [count]; None where one of them is constant.

    >>> round(pearson(np.array([0, 1, 2]), np.array([1, 3, 2])), 6)
    0.5
    """
    if len(x) == 0 or (x == x[0]).all() or (y == y[0]).all():
        return None
    x, y = (side.astype(np.float64) - side.mean(dtype=np.float64) for side in (x, y))
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def ranks(x: np.ndarray) -> np.ndarray:
    """[count] the place of each value in order, from 1; equal values share their mean place.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, which, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[which]
