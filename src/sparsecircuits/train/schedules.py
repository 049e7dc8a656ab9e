"""Schedules: pure functions of the step (Gao et al. 2025, §A.2).

Density falls from 1 to its target between two shares of the run. The learning rate is
warm-up × decay × ``sqrt(target density / current density)``: the "sharkfin", which rises while
the model grows sparser and falls to 0 at the end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sparsecircuits.train.config import TrainConfig


class Densities(NamedTuple):
    """Shares of nonzero entries at one step."""

    matrices: float
    embeddings: float


def densities_at(step: int, config: TrainConfig) -> Densities:
    """What the projection after step ``step`` (from 0) leaves, as shares of each matrix."""
    embed_target = config.density if config.embed_density is None else config.embed_density
    matrices = _anneal(step, config, config.density)
    if config.embed_schedule == "late":
        # The paper's rule min(1, x / e) beside min(1, x / e²): their ratio e is that of the targets.
        return Densities(matrices, min(1.0, matrices * embed_target / config.density))
    return Densities(matrices, _anneal(step, config, embed_target))


def lr_at(step: int, config: TrainConfig) -> float:
    """The learning rate of step ``step`` (from 0); 0 at step 0 if there is a warm-up."""
    warmup_steps = config.warmup * config.steps
    rate = config.lr if step >= warmup_steps else config.lr * step / warmup_steps
    if config.decay == "linear":
        rate *= 1 - step / config.steps
    elif config.decay == "cosine":
        rate *= (1 + math.cos(math.pi * step / config.steps)) / 2
    if config.sharkfin:
        rate *= math.sqrt(config.density / densities_at(step, config).matrices)
    return rate


def _anneal(step: int, config: TrainConfig, target: float) -> float:
    start, stop = config.anneal_start * config.steps, config.anneal_stop * config.steps
    if step >= min(stop, config.steps - 1):  # the last step is exact, whatever anneal_stop
        return target
    if step <= start:
        return 1.0
    share = (step - start) / (stop - start)
    if config.anneal_shape == "power":
        return target + (1.0 - target) * (1.0 - share) ** config.anneal_power
    if config.anneal_shape == "exponential":
        return target**share
    return 1.0 + (target - 1.0) * (step - start) / (stop - start)
