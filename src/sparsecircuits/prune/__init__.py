"""Pruning: from a model and a task to the smallest circuit that does it."""

from sparsecircuits.prune.complete import Complete, prune_complete
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.means import pretraining_means
from sparsecircuits.prune.prune import PruneJob, prune, prune_many
from sparsecircuits.prune.search import PruneResult, UnreachableError
from sparsecircuits.prune.splits import Splits
from sparsecircuits.tasks.score import Calibration, Score, fit_scale, fit_scale_and_bias, pair_logits, score

__all__ = [
    "Calibration",
    "Complete",
    "PruneConfig",
    "PruneJob",
    "PruneResult",
    "Score",
    "Splits",
    "UnreachableError",
    "fit_scale",
    "fit_scale_and_bias",
    "pair_logits",
    "pretraining_means",
    "prune",
    "prune_complete",
    "prune_many",
    "score",
]
