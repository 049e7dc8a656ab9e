"""Which optimizer a recipe asks for."""

from __future__ import annotations

from sparsecircuits.model import SparseGPT
from sparsecircuits.train.amortised import AmortisedOptimizer
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.hard_concrete import GatedOptimizer
from sparsecircuits.train.optimizer import SparseOptimizer


def optimizer_for(model: SparseGPT, config: TrainConfig) -> SparseOptimizer:
    """By ``config.sparsity`` and ``config.dense_every``."""
    if config.sparsity == "hard_concrete":
        return GatedOptimizer(model, config)
    return (AmortisedOptimizer if config.dense_every > 1 else SparseOptimizer)(model, config)
