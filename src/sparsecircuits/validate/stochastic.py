"""Stochastic ablation: deleted nodes come back at random, and the task must go on.

A circuit that reaches its loss by what it leaves out, such as one of two nodes which cancel each other in the
model, breaks when that comes back. Each draw restores a share p of all deleted nodes, p uniform between 0 and
1, the same ones for every prompt. r = 1 for all *is* the full model, so a true circuit loses nothing on
either end.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import SparseGPT
from sparsecircuits.prune.restore import restored_losses
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import Calibration
from sparsecircuits.validate.thresholds import THRESHOLDS

#: Draws of which nodes come back.
DRAWS = 64
#: Pairs that each draw is measured on, the first of those given.
PAIRS = 64


@dataclass(frozen=True)
class StochasticAblation:
    """Task losses in nats, under the full model's scale, over :data:`DRAWS` draws.

    Attributes:
        mean, worst: over the draws; ``error`` is the mean's standard error over them.
        target: what the circuit was chosen by.
    """

    mean: float
    error: float
    worst: float
    target: float

    @classmethod
    def of(cls, losses: Sequence[float] | Tensor, target: float) -> Self:
        """Of [draws] losses, at least two."""
        losses = [float(loss) for loss in losses]
        return cls(
            mean=statistics.fmean(losses),
            error=statistics.stdev(losses) / math.sqrt(len(losses)),
            worst=max(losses),
            target=target,
        )

    @property
    def passed(self) -> bool:
        """Mean at most twice the target, worst at most that of a coin."""
        return (
            self.mean <= THRESHOLDS.stochastic_targets * self.target
            and self.worst <= THRESHOLDS.stochastic_worst
        )


@torch.no_grad()
def stochastic_ablation(
    model: SparseGPT,
    circuit: Circuit,
    pairs: TokenPairs,
    *,
    full_scale: float = 1.0,
    target: float = 0.15,
    draws: int = DRAWS,
    seed: int = 0,
) -> StochasticAblation:
    """Measure :class:`StochasticAblation` on the first pairs, which should be held out.

    Args:
        model: the full model.
        circuit: its nodes stay live, all others, and the edges that it cuts, are absent or restored.
        pairs: prompts; at most :data:`PAIRS` of them are used.
        full_scale: factor on the logits, the full model's own.
        target: of the circuit.
        draws: at least two.
        seed: of the draws.
    """
    restored = restored_losses(
        model,
        circuit,
        pairs.rows(slice(PAIRS)),
        held=Calibration(full_scale, 0.0),
        draws=range(draws),
        seed=seed,
    )
    return StochasticAblation.of(list(restored), target)
