"""The pruners that ``sparsecircuits planted score`` knows: functions from a planted model to a circuit."""

from __future__ import annotations

import functools
from collections.abc import Callable

from sparsecircuits.circuit import Circuit
from sparsecircuits.prune.attribution import IMPORTANCES, Importance, prune_by_importance
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.prune import prune
from sparsecircuits.validate.planted.plant import PlantedModel

#: The pruner's defaults for ``task`` on few pairs: these models have 512 nodes and prompts of one kind.
SETTINGS = PruneConfig(
    objective="task",
    steps=100,
    train_pairs=64,
    selection_pairs=32,
    validation_pairs=32,
    heldout_pairs=32,
    mean_tokens=2048,
)


def by_masks(planted: PlantedModel, config: PruneConfig = SETTINGS) -> Circuit:
    """Learned masks, as :func:`sparsecircuits.prune.prune` has them."""
    return prune(planted.model, planted.task, planted.tokenizer, planted.corpus, config).circuit


def by_importance(importance: Importance, planted: PlantedModel, config: PruneConfig = SETTINGS) -> Circuit:
    """A baseline that learns nothing."""
    return prune_by_importance(
        planted.model, planted.task, planted.tokenizer, planted.corpus, importance, config
    ).circuit


#: The authors' pruning (§A.5) on as many pairs.
PAPER = PruneConfig.paper().replace(
    penalties=(18.0, 4.5, 1.1, 0.3),  # the authors tune it for every task
    train_pairs=SETTINGS.train_pairs,
    selection_pairs=SETTINGS.selection_pairs,
    validation_pairs=SETTINGS.validation_pairs,
    heldout_pairs=SETTINGS.heldout_pairs,
    mean_tokens=SETTINGS.mean_tokens,
)

PRUNERS: dict[str, Callable[[PlantedModel], Circuit]] = {
    "task": by_masks,
    "faithful": functools.partial(by_masks, config=SETTINGS.replace(objective="faithful")),
    "paper": functools.partial(by_masks, config=PAPER),
    **{importance: functools.partial(by_importance, importance) for importance in IMPORTANCES},
}
