"""Controls on planted models: what would pruning say of something that nobody planted? (T8, T9.)"""

from __future__ import annotations

from dataclasses import dataclass

from sparsecircuits.circuit import Circuit
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.validate.controls import ControlResult
from sparsecircuits.validate.planted.plant import PlantedModel
from sparsecircuits.validate.planted.pruners import SETTINGS
from sparsecircuits.validate.prune_controls import (
    Watch,
    controls_of,
    prune_controls,
    real_one,
    rounds,
    settings,
    trained_scale,
)


@dataclass(frozen=True)
class PlantedControls:
    """The program's circuit as pruning finds it, and what controls came to.

    Attributes:
        real: the figures of the program's own task.
        circuit: of it; None where pruning found none.
        controls: the others' figures.
    """

    real: ControlResult
    circuit: Circuit | None
    controls: tuple[ControlResult, ...]


def planted_controls(
    planted: PlantedModel,
    maps: int = 3,
    config: PruneConfig = SETTINGS,
    *,
    weights: int = 0,
    watch: Watch | None = None,
) -> PlantedControls:
    """Prune a planted model for its own task and for nonsense.

    Args:
        planted: the model.
        maps: so many nonsense tasks, the first of :data:`~sparsecircuits.validate.nonsense.MAPS`; 0: none.
        config: of every pruning, but for the objective, which is ``task``.
        weights: besides, so many models with random weights and as many with shuffled ones.
        watch: told of every mask step.

    Raises:
        ConfigError: more maps than there are.
        PruneError: the model misses the target on its own task.
    """
    config, task = settings(config), planted.task
    counts = {"nonsense": maps, "random-weights": weights, "shuffled-weights": weights}
    controls = controls_of(task, {kind: count for kind, count in counts.items() if count})
    scale = trained_scale(planted.model, task, planted.tokenizer, config)
    real, *found = [
        each
        for some in rounds([real_one(task), *controls])
        for each in prune_controls(
            some[0].model(planted.model),
            some,
            planted.tokenizer,
            planted.corpus,
            config,
            scale=scale,
            watch=watch,
        )
    ]
    return PlantedControls(real.result, real.circuit, tuple(each.result for each in found))
