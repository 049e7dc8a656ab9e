"""The losses of a bridge and their gradients, location by location (Gao et al. 2025, §A.3).

Of one batch, with D_i and S_i the residual streams of the dense and of the sparse model at location i:

1. *pretraining*: the sparse model's next-token loss, nats a token;
2. *encode*: |encode(D_i) - S_i|^2 / |S_i - mean|^2, both summed over tokens and channels, the mean over
   tokens: the share of the variance that is missed; *decode*: the same of decode(S_i) and D_i;
3. *to_sparse*: KL(dense logits || logits of the run that is dense up to i, and sparse from there), nats a
   token; *to_dense*: the same of the run that is sparse up to i, and dense from there;
4. *mixtures*: the same of runs in which each sublayer is of a side drawn at random, with a crossing at least.

2 and 3 are summed over locations; the dense model is frozen. Each model runs once, and all hybrids begin in
the middle of these runs. The gradients that they have for the sparse model's stream are gathered there and go
through its own run together, at the end: memory holds one hybrid at a time, however deep the models are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.config import BridgeConfig
from sparsecircuits.bridges.sides import Side, Trace, onward, sublayers, traced


class Losses(NamedTuple):
    """Of one batch; lists are by location, in forward order."""

    pretraining: float
    encode: list[float]
    decode: list[float]
    to_sparse: list[float]
    to_dense: list[float]
    mixtures: list[float]


class Crossing(NamedTuple):
    """What is lost at one location."""

    encode: Tensor
    decode: Tensor
    to_sparse: Tensor
    to_dense: Tensor


def add_gradients(
    dense: Side,
    sparse: Side,
    bridge: Bridge,
    tokens: Tensor,
    config: BridgeConfig,
    *,
    scale: float = 1.0,
    generator: torch.Generator | None = None,
) -> Losses:
    """Add the gradients of the weighted sum of all losses to the sparse model and to the bridge.

    Args:
        dense: frozen: its parameters have no gradients.
        sparse: the model that is trained.
        bridge: between the two.
        tokens: [rows, pos + 1] ids.
        config: the weights.
        scale: a factor of the gradients, for a part of a batch.
        generator: which mixtures; needed if the config asks for any.
    """
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    with torch.no_grad():
        there = traced(dense, inputs)
        wanted = there.logits.float().log_softmax(-1)
    here = traced(sparse, inputs)
    leaves = [x.detach().requires_grad_() for x in here.stream]
    weights = (config.encode, config.decode, config.to_sparse, config.to_dense)
    rows: list[list[float]] = []
    for index in range(len(leaves)):
        found = crossing(dense, sparse, bridge, there.stream[index], leaves[index], index, inputs, wanted)
        total = sum(weight * loss for weight, loss in zip(weights, found, strict=True))
        (scale * total).backward()  # type: ignore[union-attr]
        rows.append([float(loss.detach()) for loss in found])
    mixtures = []
    for _ in range(config.mixtures):
        sides = drawn_sides(sublayers(dense) + 1, generator)
        logits = mixed(dense, sparse, bridge, there.stream[0], leaves[0], sides, inputs)
        loss = divergence(wanted, logits)
        (scale * config.mixture * loss).backward()
        mixtures.append(float(loss.detach()))
    own = F.cross_entropy(here.logits.flatten(0, 1), targets.flatten())
    _go_back(scale * own, here, leaves)
    by_kind = [list(column) for column in zip(*rows, strict=True)]
    return Losses(float(own.detach()), by_kind[0], by_kind[1], by_kind[2], by_kind[3], mixtures)


def _go_back(loss: Tensor, here: Trace, leaves: Sequence[Tensor]) -> None:
    """The sparse model's own run: its loss, and what hybrids want of its stream."""
    pairs = [(x, leaf.grad) for x, leaf in zip(here.stream, leaves, strict=True) if leaf.grad is not None]
    torch.autograd.backward([loss, *(x for x, _ in pairs)], [None, *(grad for _, grad in pairs)])


def crossing(
    dense: Side,
    sparse: Side,
    bridge: Bridge,
    there: Tensor,
    here: Tensor,
    index: int,
    tokens: Tensor,
    wanted: Tensor,
) -> Crossing:
    """The losses at location ``index``, both ways.

    Args:
        dense: the one side.
        sparse: the other.
        bridge: between them.
        there: [batch, pos, dense] the dense stream at the location.
        here: [batch, pos, sparse] the sparse one.
        index: of the location.
        tokens: [batch, pos].
        wanted: [batch, pos, vocab] the dense model's log-probabilities.
    """
    encoded, decoded = bridge.encode(there, index), bridge.decode(here, index)
    return Crossing(
        missed(encoded, here),
        missed(decoded, there),
        divergence(wanted, onward(sparse, encoded, index, tokens)),
        divergence(wanted, onward(dense, decoded, index, tokens)),
    )


def mixed(
    dense: Side,
    sparse: Side,
    bridge: Bridge,
    there: Tensor,
    here: Tensor,
    sides: Sequence[int],
    tokens: Tensor,
) -> Tensor:
    """Logits of a run whose parts are of either model.

    Args:
        dense: 0 in ``sides``.
        sparse: 1 in ``sides``.
        bridge: what is crossed wherever the side changes.
        there: [batch, pos, dense] the dense stream at the first location.
        here: [batch, pos, sparse] the sparse one.
        sides: for each sublayer, and for the unembedding, whose it is.
        tokens: [batch, pos].
    """
    models = (dense, sparse)
    now, x = sides[0], (there, here)[sides[0]]
    for index, side in enumerate(sides):
        if side != now:
            x, now = (bridge.encode if side else bridge.decode)(x, index), side
        if index < sublayers(dense):
            x = models[now].sublayer(x, index)
    return models[now].leave(x, tokens)


def drawn_sides(parts: int, generator: torch.Generator | None) -> list[int]:
    """Whose each part of a mixture is, 0 or 1 alike likely; those without a crossing are drawn again."""
    while True:
        sides = torch.randint(2, (parts,), generator=generator).tolist()
        if 0 < sum(sides) < parts:
            return sides


def missed(found: Tensor, wanted: Tensor) -> Tensor:
    """Share of the variance of ``wanted`` [..., width] around its mean that ``found`` does not have."""
    spread = wanted - wanted.flatten(0, -2).mean(0)
    return (found - wanted).square().sum() / spread.square().sum()


def divergence(wanted: Tensor, logits: Tensor) -> Tensor:
    """KL(wanted || logits) in nats a token; ``wanted`` [batch, pos, vocab] are log-probabilities."""
    found = logits.float().log_softmax(-1)
    return F.kl_div(found.flatten(0, -2), wanted.flatten(0, -2), reduction="batchmean", log_target=True)
