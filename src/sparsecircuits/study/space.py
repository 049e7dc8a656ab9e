"""Which settings a tuning searches, how far around the centres, and what proposes them (§A.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sparsecircuits.prune import PruneConfig

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

#: The first trials: the centres with their penalty times this.
FIRST_PENALTIES = (1.0, 0.25, 4.0)


@dataclass(frozen=True)
class Axis:
    """How far one setting is searched: between ``low`` and ``high`` times its centre."""

    low: float
    high: float


#: What is searched log-uniformly around the settings given (Table 2's nine, less k_coef, which is
#: ``penalty`` / nodes). ``warmup`` is linear, from 0 to :data:`MOST_WARMUP`.
SPACE = {
    "penalty": Axis(1 / 8, 8),
    "init_scale": Axis(1 / 8, 8),
    "init_bias": Axis(1 / 4, 4),
    "weight_decay": Axis(1 / 10, 10),
    "lr": Axis(1 / 4, 4),
    "one_minus_beta2": Axis(1 / 5, 5),
    "temperature": Axis(1 / 3, 3),
}
MOST_WARMUP = 0.2


def centre_of(config: PruneConfig, factor: float = 1.0) -> dict[str, float]:
    """The settings that are searched, as ``config`` has them, with the penalty times ``factor``."""
    told = {name: getattr(config, name) for name in SPACE if hasattr(config, name)}
    return {
        **told,
        "penalty": config.penalties[0] * factor,
        "one_minus_beta2": 1 - config.beta2,
        "warmup": min(config.warmup, MOST_WARMUP),
    }


def settings(config: PruneConfig, found: dict[str, float]) -> PruneConfig:
    """``config`` with the values of a trial; the inverse of :func:`centre_of`.

    >>> settings(PruneConfig(), centre_of(PruneConfig())) == PruneConfig()
    True
    """
    changes = dict(found)
    penalty, beta2 = changes.pop("penalty"), 1 - changes.pop("one_minus_beta2")
    return config.replace(penalties=(penalty,), beta2=round(beta2, 12), **changes)


def space_around(config: PruneConfig) -> dict[str, BaseDistribution]:
    """Where each setting is searched; no init_bias or 1 - beta2 above 1, where masks and Adam end."""
    from optuna.distributions import FloatDistribution

    space: dict[str, BaseDistribution] = {}
    for name, middle in centre_of(config).items():
        if name == "warmup":
            space[name] = FloatDistribution(0.0, MOST_WARMUP)
        elif middle > 0:  # what is switched off stays so
            axis = SPACE[name]
            highest = 1.0 if name in ("init_bias", "one_minus_beta2") else math.inf
            space[name] = FloatDistribution(axis.low * middle, min(axis.high * middle, highest), log=True)
        else:
            space[name] = FloatDistribution(middle, middle)
    return space


def make_sampler(name: Literal["tpe", "random"], seed: int, done: int) -> optuna.samplers.BaseSampler:
    """A sampler whose proposals depend on the study's trials, on ``seed`` and how many trials there are."""
    from optuna.samplers import RandomSampler, TPESampler

    seed = (1_000_003 * seed + done) % 2**32
    if name == "random":
        return RandomSampler(seed=seed)
    # All settings at once, since they hang together; trials still running count as bad: a batch spreads.
    return TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=len(FIRST_PENALTIES))
