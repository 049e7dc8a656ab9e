"""One step of the method: loss, gradients, optimizer step with its projection."""

from __future__ import annotations

from typing import NamedTuple

import torch

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.guard import require_finite_loss
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.memory import fitting
from sparsecircuits.train.optimizer import SparseOptimizer


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
) -> Step:
    """One step on ``tokens`` [rows, n_ctx + 1].

    Raises:
        ConfigError: ``micro_rows`` does not divide the rows.
        TrainingDiverged: the loss, a gradient, a weight or a moment is not finite.
    """

    def compute(micro: int) -> float:
        optimizer.forget_gradients()  # of a batch that took too much memory
        optimizer.begin(step)
        return batch_loss(model, tokens, step, config, micro)

    loss, micro = fitting(compute, len(tokens), step, machine)
    return Step(loss, optimizer.step(step), micro)


def batch_loss(model: SparseGPT, tokens: torch.Tensor, step: int, config: TrainConfig, micro: int) -> float:
    """The mean loss of ``tokens`` [rows, n_ctx + 1], ``micro`` rows at once; its gradients are the model's.

    Raises:
        ConfigError: ``micro_rows`` does not divide the rows.
        TrainingDiverged: the loss is not finite.
    """
    if len(tokens) % micro:
        raise ConfigError(f"Machine.micro_rows is {micro}; it must divide the batch of {len(tokens)} rows")
    parts = len(tokens) // micro
    value = 0.0
    for part in tokens.split(micro):
        loss = model.loss(part[:, :-1], part[:, 1:]) / parts
        value += float(loss.detach())
        require_finite_loss(value, step + 1, config.lr, model.named_parameters())
        loss.backward()
    return value
