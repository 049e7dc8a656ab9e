"""One step of the method: loss, gradients, optimizer step with its projection."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from sparsecircuits.errors import SparseCircuitsError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.worker import Worker


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
    worker: Worker | None = None,
) -> Step:
    """One step on ``tokens`` [rows, n_ctx + 1].

    Args:
        model: the model.
        optimizer: its optimizer.
        tokens: the whole batch.
        step: which step, from 0.
        config: the recipe.
        machine: how it is computed.
        worker: what computes gradients of the model; None: this process alone.

    Raises:
        ConfigError: ``micro_rows`` does not divide the rows.
        TrainingDiverged: the loss or its gradients are not finite.
    """
    worker = worker or Worker(model, config.replace(rows=len(tokens)), machine)
    value = worker.gradients(tokens)
    _require_finite("the loss", value, step, config)
    rms = optimizer.step(step)
    _require_finite("the gradients' RMS", rms, step, config)
    return Step(value, rms)


def _require_finite(what: str, value: float, step: int, config: TrainConfig) -> None:
    if not math.isfinite(value):
        raise TrainingDiverged(
            f"{what} at step {step} is {value}; start anew with a lower learning rate (now {config.lr})"
        )
