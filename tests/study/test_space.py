"""What is searched lies around the centres, and comes back to settings unchanged."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.samplers import RandomSampler, TPESampler

from sparsecircuits.prune import PruneConfig
from sparsecircuits.study.space import centre_of, make_sampler, settings, space_around


@pytest.mark.parametrize("config", [PruneConfig(), PruneConfig(penalties=(18.0,), beta2=0.9, warmup=0.05)])
def test_the_centre_is_the_settings(config: PruneConfig) -> None:
    assert settings(config, centre_of(config)) == config


def test_a_gentler_penalty_and_nothing_else() -> None:
    config = PruneConfig()
    assert settings(config, centre_of(config, 0.25)) == config.replace(penalties=(1.0,))


def test_ranges_by_hand() -> None:
    """penalty 4 by 8 either way; beta2 0.95, so 0.05 by 5; bias 0.5 by 4, but not above 1."""
    space: dict[str, Any] = space_around(PruneConfig(init_bias=0.5))
    assert len(space) == 8
    found = {name: (axis.low, axis.high, axis.log) for name, axis in space.items()}
    assert found["penalty"] == (4 / 8, 4 * 8, True)
    assert found["one_minus_beta2"] == (pytest.approx(0.01), pytest.approx(0.25), True)
    assert found["init_bias"] == (0.125, 1.0, True)
    assert found["warmup"] == (0.0, 0.2, False)


def test_what_is_switched_off_stays_off() -> None:
    space: dict[str, Any] = space_around(PruneConfig(weight_decay=0.0))
    assert (space["weight_decay"].low, space["weight_decay"].high) == (0, 0)


def test_every_centre_lies_in_the_space() -> None:
    config = PruneConfig()
    space: dict[str, Any] = space_around(config)
    for factor in (0.25, 1, 4):
        for name, value in centre_of(config, factor).items():
            assert space[name].low <= value <= space[name].high


def test_samplers() -> None:
    assert isinstance(make_sampler("tpe", 0, 0), TPESampler)
    assert isinstance(make_sampler("random", 0, 0), RandomSampler)
