"""One step of the method: loss, gradients, optimizer step with its projection."""

from __future__ import annotations

from typing import NamedTuple

import torch

from sparsecircuits.memory import memory_advice
from sparsecircuits.model import SparseGPT
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.guard import require_finite_loss
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.memory import SIZE_KNOBS, fitting
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.worker import Worker


class Step(NamedTuple):
    """What a step saw."""

    loss: float
    """Nats a token over the whole batch, before the step."""
    grad_rms: float
    """Root mean square of all gradients, before they were normalised."""
    micro_rows: int
    """Rows that were computed at once."""


def train_step(
    model: SparseGPT,
    optimizer: SparseOptimizer,
    tokens: torch.Tensor,
    step: int,
    config: TrainConfig,
    machine: Machine,
    worker: Worker | None = None,
) -> Step:
    """One step on ``tokens`` [rows, n_ctx + 1].

    Args:
        model: the model.
        optimizer: its optimizer.
        tokens: the batch, or this process's share of it.
        step: which step, from 0.
        config: the recipe.
        machine: how it is computed.
        worker: what computes gradients of the model; None: this process alone.

    Raises:
        ConfigError: ``micro_rows`` does not divide the rows.
        OutOfMemory: memory ran out, and smaller pieces were not allowed or would not help.
        TrainingDiverged: the loss, a gradient, a weight or a moment is not finite.
    """
    worker = worker or Worker(model, config.replace(rows=len(tokens)), machine)

    def compute(micro: int) -> float:
        optimizer.forget_gradients()  # of a batch that took too much memory
        optimizer.begin(step)
        loss = worker.gradients(tokens, micro)
        weights = zip(optimizer.names, optimizer.locals, strict=True)
        require_finite_loss(loss, step + 1, config.lr, weights, optimizer.agreed)
        return loss

    loss, micro = fitting(compute, len(tokens), step, machine)
    with memory_advice(f"the optimizer, step {step + 1}", SIZE_KNOBS):
        return Step(loss, optimizer.step(step), micro)
