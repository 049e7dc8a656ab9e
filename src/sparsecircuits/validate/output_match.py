"""Output match: does the circuit answer as the full model does, where that is right and where it is wrong?

Both are asked for the answer at the end of a prompt: one candidate against the other, or against everything
else. The circuit's logits are scaled (and biased) as stored in it, the full model's by the scale that fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import SparseGPT
from sparsecircuits.tasks.loss import answer_log_probabilities
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import calibrated, pair_logits
from sparsecircuits.validate.interval import Interval, clustered_interval, templates_of_rows
from sparsecircuits.validate.thresholds import THRESHOLDS


@dataclass(frozen=True)
class OutputMatch:
    """How near a circuit's answers are to the full model's.

    Attributes:
        divergence: mean KL(full model, circuit) over prompts, in nats; ``interval`` its 95% interval.
        worst: the 99th percentile of it.
        agreement: share of prompts on which both prefer the same answer.
    """

    divergence: float
    interval: Interval
    worst: float
    agreement: float

    @property
    def passed(self) -> bool:
        """Whether mean, 99th percentile and agreement are all good enough."""
        return (
            self.divergence <= THRESHOLDS.divergence
            and self.worst <= THRESHOLDS.worst_divergence
            and self.agreement >= THRESHOLDS.agreement
        )


@torch.no_grad()
def output_match(
    model: SparseGPT, circuit: Circuit, pairs: TokenPairs, *, full_scale: float = 1.0
) -> OutputMatch:
    """Measure :class:`OutputMatch` on ``pairs``; ``full_scale`` is the full model's own scale."""
    wanted = answer_log_probabilities(full_scale * pair_logits(model, pairs), pairs)
    with circuit.installed(model):
        logits = calibrated(pair_logits(model, pairs), pairs, circuit.calibration)
    found = answer_log_probabilities(logits, pairs)
    divergences = (wanted.exp() * (wanted - found)).sum(-1)
    return OutputMatch(
        divergence=float(divergences.mean()),
        interval=clustered_interval(divergences, templates_of_rows(pairs)),
        worst=float(divergences.quantile(0.99)),
        agreement=float((wanted.argmax(-1) == found.argmax(-1)).float().mean()),
    )
