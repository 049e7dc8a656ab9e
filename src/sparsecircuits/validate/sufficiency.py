"""Sufficiency: the circuit alone, all else at its frozen values, does the task on prompts it never saw.

The loss is judged after the scale (and the bias) stored in the circuit; the raw loss is given beside it, not
judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import SparseGPT
from sparsecircuits.tasks.loss import correct, task_loss
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import calibrated, pair_logits, score
from sparsecircuits.validate.interval import Interval, clustered_interval, templates_of_rows
from sparsecircuits.validate.thresholds import THRESHOLDS


@dataclass(frozen=True)
class Sufficiency:
    """How well a circuit alone does its task.

    Attributes:
        loss: in nats, after the circuit's scale and bias; ``interval`` is its 95% interval over templates.
        raw_loss: without either.
        accuracy: share of prompts right.
        target: what the circuit was chosen by.
    """

    loss: float
    interval: Interval
    raw_loss: float
    accuracy: float
    target: float

    @property
    def passed(self) -> bool:
        """Whether the loss is about within the target."""
        return self.loss <= self.target + THRESHOLDS.sufficiency_slack


@torch.no_grad()
def sufficiency(
    model: SparseGPT, circuit: Circuit, pairs: TokenPairs, *, target: float = 0.15
) -> Sufficiency:
    """Measure :class:`Sufficiency` on ``pairs``, which should be held out."""
    with circuit.installed(model):
        logits = pair_logits(model, pairs)
    scaled = calibrated(logits, pairs, circuit.calibration)
    losses = task_loss(scaled, pairs)
    return Sufficiency(
        loss=float(losses.mean()),
        interval=clustered_interval(losses, templates_of_rows(pairs)),
        raw_loss=score(logits, pairs).loss,
        accuracy=float(correct(scaled, pairs).float().mean()),
        target=target,
    )
