"""What a bridge is worth: errors by location, and the loss of hybrids (Gao et al. 2025, §2.3).

All on validation tokens that neither model was trained on:

- by location, the share of variance that encoder and decoder miss;
- the next-token loss of every hybrid with one crossing, both ways, and of both models alone: the least to
  hope for is that no hybrid is worse than the worse of the two;
- the loss of random mixtures, in which each sublayer is of a side drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.losses import drawn_sides, mixed
from sparsecircuits.bridges.sides import Side, onward, sublayers, traced
from sparsecircuits.data.batches import sequential_batches


class Measured(NamedTuple):
    """Losses in nats a token; lists are by location, in forward order."""

    tokens: int
    dense: float
    """The dense model's own loss."""
    sparse: float
    """The sparse model's own."""
    encode: list[float]
    """Share of the variance of the sparse stream that the encoder misses."""
    decode: list[float]
    """Share of the dense stream's that the decoder misses."""
    to_sparse: list[float]
    """Loss of the run that is dense up to the location, and sparse from there."""
    to_dense: list[float]
    """The other way round."""
    mixtures: list[float]
    """Loss of each random mixture."""
    crossings: list[int]
    """How often each mixture crosses."""

    @property
    def worse(self) -> float:
        """The loss of the worse of the two models."""
        return max(self.dense, self.sparse)

    @property
    def mean_excess(self) -> float:
        """How far the hybrids of one crossing lie above the worse model, on average."""
        both = [*self.to_sparse, *self.to_dense]
        return sum(both) / len(both) - self.worse

    @property
    def largest_excess(self) -> float:
        """The same of the worst of them."""
        return max(*self.to_sparse, *self.to_dense) - self.worse


class _Sums:
    """Of squares, by location, so that the variance is around the mean over all tokens."""

    def __init__(self) -> None:
        self.missed, self.count = 0.0, 0
        self.first: Tensor | None = None
        self.second: Tensor | None = None

    def add(self, found: Tensor, wanted: Tensor) -> None:
        flat = wanted.flatten(0, -2).double()
        self.missed += float((found - wanted).double().square().sum())
        self.count += len(flat)
        self.first = flat.sum(0) if self.first is None else self.first + flat.sum(0)
        squares = flat.square().sum(0)
        self.second = squares if self.second is None else self.second + squares

    def share(self) -> float:
        assert self.first is not None
        assert self.second is not None
        spread = self.second - self.first.square() / self.count
        return self.missed / float(spread.sum())


@torch.no_grad()
def measure(
    dense: Side,
    sparse: Side,
    bridge: Bridge,
    tokens: np.ndarray,
    *,
    limit: int = 65_536,
    context: int | None = None,
    mixtures: int = 32,
    rows: int = 16,
    seed: int = 0,
    watch: Callable[[int], None] | None = None,
) -> Measured:
    """Measure a bridge on the first ``limit`` of ``tokens``.

    Args:
        dense: the one side.
        sparse: the other.
        bridge: between them.
        tokens: [n] ids of a validation split.
        limit: how many of them.
        context: tokens of a sequence; None: what both models have room for.
        mixtures: how many random ones.
        rows: sequences at once.
        seed: which mixtures.
        watch: called with how many tokens are done.

    Raises:
        DataError: fewer tokens than one sequence has.
    """
    device = next(bridge.parameters()).device
    context = context or min(dense.n_ctx, sparse.n_ctx)
    drawn = _mixtures(sublayers(dense) + 1, mixtures, seed)
    places = len(bridge)
    encode, decode = [_Sums() for _ in range(places)], [_Sums() for _ in range(places)]
    own, hybrids, mixed_losses, count = np.zeros(2), np.zeros((2, places)), np.zeros(mixtures), 0
    for ids in (one.to(device) for one in sequential_batches(tokens[: limit + 1], rows=rows, n_ctx=context)):
        inputs, targets = ids[:, :-1], ids[:, 1:]
        there, here = traced(dense, inputs), traced(sparse, inputs)
        count += targets.numel()
        own += [_loss(there.logits, targets), _loss(here.logits, targets)]
        for index in range(places):
            encoded, decoded = (
                bridge.encode(there.stream[index], index),
                bridge.decode(here.stream[index], index),
            )
            encode[index].add(encoded, here.stream[index])
            decode[index].add(decoded, there.stream[index])
            hybrids[0, index] += _loss(onward(sparse, encoded, index, inputs), targets)
            hybrids[1, index] += _loss(onward(dense, decoded, index, inputs), targets)
        for index, sides in enumerate(drawn):
            logits = mixed(dense, sparse, bridge, there.stream[0], here.stream[0], sides, inputs)
            mixed_losses[index] += _loss(logits, targets)
        if watch is not None:
            watch(count)
    return Measured(
        tokens=count,
        dense=float(own[0]) / count,
        sparse=float(own[1]) / count,
        encode=[one.share() for one in encode],
        decode=[one.share() for one in decode],
        to_sparse=(hybrids[0] / count).tolist(),
        to_dense=(hybrids[1] / count).tolist(),
        mixtures=(mixed_losses / count).tolist(),
        crossings=[sum(a != b for a, b in zip(sides, sides[1:], strict=False)) for sides in drawn],
    )


def _loss(logits: Tensor, targets: Tensor) -> float:
    """Sum over tokens, in nats."""
    return float(F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum"))


def _mixtures(parts: int, count: int, seed: int) -> list[Sequence[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [drawn_sides(parts, generator) for _ in range(count)]
