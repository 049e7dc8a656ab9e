"""One step of the method: loss, gradients, optimizer step with its projection."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from sparsecircuits.errors import ConfigError, SparseCircuitsError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.optimizer import SparseOptimizer


class TrainingDiverged(SparseCircuitsError, RuntimeError):
    """The loss or its gradients are no longer finite."""


class Step(NamedTuple):
    """What a step saw."""

    loss: float
    """Nats a token over the whole batch, before the step."""
    grad_rms: float
    """Root mean square of all gradients, before they were normalised."""


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
        TrainingDiverged: the loss or its gradients are not finite.
    """
    micro = machine.micro_rows or len(tokens)
    if len(tokens) % micro:
        raise ConfigError(f"Machine.micro_rows is {micro}; it must divide the batch of {len(tokens)} rows")
    parts = len(tokens) // micro
    optimizer.begin(step)
    value = 0.0
    for part in tokens.split(micro):
        loss = model.loss(part[:, :-1], part[:, 1:]) / parts
        value += float(loss.detach())
        _require_finite("the loss", value, step, config)
        loss.backward()
    rms = optimizer.step(step)
    _require_finite("the gradients' RMS", rms, step, config)
    return Step(value, rms)


def _require_finite(what: str, value: float, step: int, config: TrainConfig) -> None:
    if not math.isfinite(value):
        raise TrainingDiverged(
            f"{what} at step {step} is {value}; start anew with a lower learning rate (now {config.lr})"
        )
