"""Schedules at their corners."""

from __future__ import annotations

import math

import pytest

from sparsecircuits.errors import ConfigError
from sparsecircuits.train import TrainConfig
from sparsecircuits.train.schedules import Densities, densities_at, lr_at

# 100 steps: warm-up to step 10, annealing from step 20 to step 60.
CONFIG = TrainConfig(
    steps=100, lr=1.0, warmup=0.1, anneal_start=0.2, anneal_stop=0.6, density=1 / 16, embed_density=1 / 4
)


@pytest.mark.parametrize(
    ("step", "matrices", "embeddings"),
    [
        (0, 1.0, 1.0),
        (20, 1.0, 1.0),
        (21, 1 - 15 / 16 / 40, 1 - 3 / 4 / 40),
        (40, 1 - 15 / 32, 1 - 3 / 8),
        (59, 1 / 16 + 15 / 16 / 40, 1 / 4 + 3 / 4 / 40),
        (60, 1 / 16, 1 / 4),
        (99, 1 / 16, 1 / 4),
    ],
)
def test_density_falls_linearly(step: int, matrices: float, embeddings: float):
    got = densities_at(step, CONFIG)
    assert got.matrices == pytest.approx(matrices, rel=1e-12)
    assert got.embeddings == pytest.approx(embeddings, rel=1e-12)


def test_the_ends_are_exact():
    assert densities_at(20, CONFIG) == Densities(1.0, 1.0)
    assert densities_at(60, CONFIG) == densities_at(99, CONFIG) == Densities(1 / 16, 1 / 4)


@pytest.mark.parametrize("stop", [0.995, 1.0])
def test_the_last_step_is_at_the_target_however_late_annealing_ends(stop: float):
    config = CONFIG.replace(anneal_stop=stop)
    assert densities_at(98, config).matrices > 1 / 16
    assert densities_at(99, config) == Densities(1 / 16, 1 / 4)


def test_annealing_that_takes_no_time_is_sparse_from_there_on():
    config = CONFIG.replace(anneal_start=0.5, anneal_stop=0.5)
    assert densities_at(49, config).matrices == 1.0
    assert densities_at(50, config).matrices == 1 / 16
    assert densities_at(0, CONFIG.replace(anneal_start=0.0, anneal_stop=0.0)).matrices == 1 / 16


def test_embeddings_follow_the_matrices_unless_they_have_a_density():
    config = CONFIG.replace(embed_density=None)
    for step in (0, 30, 99):
        assert densities_at(step, config).embeddings == densities_at(step, config).matrices


def test_the_late_schedule_keeps_embeddings_dense_until_the_matrices_reach_the_ratio():
    # The paper's rule with e = 4: matrices min(1, x/16), embeddings min(1, x/4), so 4 times as dense.
    config = CONFIG.replace(embed_schedule="late")
    # At step 52 the matrices are at 1 - 15/16 · 32/40 = 1/4: only then do embeddings begin to fall.
    assert densities_at(51, config) == (pytest.approx(1 - 15 / 16 * 31 / 40), 1.0)
    assert densities_at(52, config) == (pytest.approx(1 / 4), pytest.approx(1.0))
    assert densities_at(56, config) == (pytest.approx(1 - 15 / 16 * 36 / 40), pytest.approx(0.625))
    assert densities_at(60, config) == Densities(1 / 16, 1 / 4)
    for step in range(100):
        assert densities_at(step, config).matrices == densities_at(step, CONFIG).matrices


def test_the_rate_at_its_corners():
    # warm-up x linear decay x sqrt(target / current)
    assert lr_at(0, CONFIG) == 0.0
    assert lr_at(5, CONFIG) == pytest.approx(0.5 * 0.95 * 0.25)
    assert lr_at(10, CONFIG) == pytest.approx(0.9 * 0.25)
    assert lr_at(20, CONFIG) == pytest.approx(0.8 * 0.25)
    assert lr_at(40, CONFIG) == pytest.approx(0.6 * math.sqrt(1 / 16 / (1 - 15 / 32)))
    assert lr_at(60, CONFIG) == pytest.approx(0.4)
    assert lr_at(99, CONFIG) == pytest.approx(0.01)


def test_the_sharkfin_peaks_where_annealing_ends():
    assert max(range(100), key=lambda step: lr_at(step, CONFIG)) == 60


def test_each_factor_can_be_switched_off():
    flat = CONFIG.replace(warmup=0.0, decay="constant", sharkfin=False)
    assert [lr_at(step, flat) for step in (0, 30, 99)] == [1.0, 1.0, 1.0]
    assert lr_at(5, flat.replace(warmup=0.1)) == 0.5
    assert lr_at(75, flat.replace(decay="linear")) == 0.25
    assert lr_at(0, flat.replace(sharkfin=True)) == 0.25
    assert lr_at(60, flat.replace(sharkfin=True)) == 1.0


def test_the_authors_example_peaks_at_half_time():
    # Base 1.28e-2 and annealing up to 50% of the run: the true peak is 6.4e-3 (reported: 6.5e-3).
    config = TrainConfig(steps=1000, density=1 / 64, embed_density=1 / 16)
    rates = [lr_at(step, config) for step in range(1000)]
    assert rates.index(max(rates)) == 500
    assert max(rates) == pytest.approx(6.4e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anneal_start": 0.7}, "anneal_start = 0.7 and anneal_stop = 0.6"),
        ({"anneal_stop": 1.1}, "anneal_stop = 1.1"),
        ({"density": 0.0}, "density is 0.0"),
        ({"embed_density": 1.5}, "embed_density is 1.5"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"steps": 0}, "steps is 0"),
        ({"lr": 0.0}, "lr is 0.0; it must be positive"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, float], message: str):
    with pytest.raises(ConfigError, match=message):
        CONFIG.replace(**changes)


def test_density_falls_by_a_power():
    # A quarter, half and three quarters of the way, p = 1/16 and exponent 2: p + 15/16 times 9/16, 1/4, 1/16.
    config = CONFIG.replace(anneal_shape="power", anneal_power=2.0)
    got = [densities_at(step, config).matrices for step in (20, 30, 40, 50, 60)]
    assert got == pytest.approx(
        [1, 1 / 16 + 135 / 256, 1 / 16 + 15 / 64, 1 / 16 + 15 / 256, 1 / 16], rel=1e-12
    )


def test_density_falls_by_the_same_factor_in_every_step():
    # A quarter of the way from 1 to 1/16 is 1/2, half is 1/4; embeddings, from 1 to 1/4, have 2**-0.5, 1/2.
    config = CONFIG.replace(anneal_shape="exponential")
    got = [densities_at(step, config) for step in (20, 30, 40, 50, 60)]
    assert [d.matrices for d in got] == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16], rel=1e-12)
    assert [d.embeddings for d in got] == pytest.approx([1, 2**-0.5, 1 / 2, 2**-1.5, 1 / 4], rel=1e-12)


def test_without_annealing_the_first_step_is_at_the_target():
    config = CONFIG.replace(anneal_start=0.0, anneal_stop=0.0)
    assert densities_at(0, config) == Densities(1 / 16, 1 / 4)


def test_the_rate_falls_by_half_a_cosine():
    # Steps 25, 50, 75 of 100: (1 + cos(pi / 4)) / 2, 1/2, (1 - cos(pi / 4)) / 2.
    config = CONFIG.replace(decay="cosine", sharkfin=False)
    got = [lr_at(step, config) for step in (25, 50, 75)]
    assert got == pytest.approx([0.8535533906, 0.5, 0.1464466094], rel=1e-9)
