"""The arithmetic behind the price of speed: FLOPs, seconds, equal time, the search for the cheapest model."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from benchmarks.speed_circuits import Sizes, ratio
from benchmarks.speed_flops import (
    attention_flops,
    dense_flops,
    nonzero_flops,
    sparse_flops,
    weights_of,
)
from benchmarks.speed_frontier import Point, best_rates, frontier, least, next_rate
from benchmarks.speed_price import Costs, Price, both, price_table, rows
from benchmarks.speed_time import Profile
from benchmarks.speed_trials import equal_steps
from sparsecircuits.model import GPTConfig
from sparsecircuits.train import RunConfig, TrainConfig

#: 12 x 16² = 3072 weights a block and 512 x 16 = 8192 of the unembedding; attention 6 x 16 x 8 a token.
MODEL = GPTConfig(vocab_size=512, n_ctx=8, n_layer=1, d_model=16)


def config(**changes: object) -> RunConfig:
    recipe = TrainConfig(
        steps=10, rows=2, density=0.25, floor=0, anneal_start=0.0, anneal_stop=0.0, decay="constant"
    )
    return RunConfig(model=MODEL, train=recipe.replace(**changes))


def test_weights_and_attention_by_hand() -> None:
    weights = weights_of(MODEL)
    assert (weights.blocks, weights.unembedding, weights.all) == (3072, 8192, 11264)
    assert attention_flops(MODEL, 8) == 768


def test_flops_by_hand() -> None:
    tokens = 10 * 2 * 8
    assert dense_flops(config(density=1.0)) == tokens * (6 * 11264 + 768)
    # A quarter is kept, 2816; the gradient is of all 11264.
    assert sparse_flops(config()) == tokens * (4 * 2816 + 2 * 11264 + 768)
    assert nonzero_flops(config()) == tokens * (6 * 2816 + 768)
    # With M = 5, of all in one step of five.
    expected = 4 * 2816 + 2 * (0.2 * 11264 + 0.8 * 2816) + 768
    assert sparse_flops(config(dense_every=5)) == pytest.approx(tokens * expected)


def test_before_a_matrix_joins_an_amortised_step_counts_as_an_exact_one() -> None:
    dense = {"density": 0.6}
    assert sparse_flops(config(**dense, dense_every=5)) == sparse_flops(config(**dense))


PROFILE = Profile(
    (1.0, 0.5, 0.1), exact=(90.0, 80.0, 40.0), dense=(90.0, 80.0, 44.0), between=(90.0, 60.0, 4.0)
)


def test_times_lie_on_straight_lines_between_densities() -> None:
    assert PROFILE.step_ms(1.0, 1) == 90
    assert PROFILE.step_ms(0.75, 1) == 85
    assert PROFILE.step_ms(0.3, 1) == 60
    assert PROFILE.step_ms(0.01, 1) == 40  # below the lowest, as there
    assert PROFILE.step_ms(0.1, 10) == (44 + 9 * 4) / 10
    assert PROFILE.step_ms(0.75, 10) == 85  # none has joined yet
    assert Profile.from_json(PROFILE.to_json()) == PROFILE


def test_a_trainings_seconds_are_the_sum_of_its_steps() -> None:
    recipe = config(density=0.1, steps=1000).train
    assert PROFILE.seconds(recipe) == pytest.approx(40.0)
    assert PROFILE.seconds(recipe.replace(dense_every=10)) == pytest.approx(8.0)
    annealed = recipe.replace(anneal_stop=1.0)  # half of 0.9 is passed above 0.5: 90 to 80, then 80 to 40
    expected = (5 / 9) * 85 + (4 / 9) * 60
    assert PROFILE.seconds(annealed) == pytest.approx(expected, rel=1e-3)


def test_equal_time() -> None:
    assert equal_steps(config(density=0.1, steps=100).train, 10, PROFILE) == 500  # 40 ms against 8


A = [
    Point("plain_64", 100, 0.1, 3.0, 1.0),
    Point("plain_64", 400, 0.1, 2.0, 4.0),
    Point("plain_64", 400, 0.2, 1.0, 4.0),
]
B = [Point("b", 100, 0.1, 2.5, 8.0), Point("b", 200, 0.1, 0.5, 16.0)]


def test_each_length_counts_at_its_best_rate() -> None:
    assert best_rates([*A, *B]) == {"plain_64": [A[0], A[2]], "b": B}


def test_the_cheapest_lies_between_two_lengths() -> None:
    found = least([*A, *B], 2.0)  # half way from 3 to 1, and so at the square root of 1 x 4
    assert found is not None
    assert (found.cost, found.curve, found.trained, found.first) == (
        pytest.approx(2.0),
        "plain_64",
        A[1],
        False,
    )
    found = least([*A, *B], 0.75)  # which a does not reach; 7/8 of the way from 8 to 16
    assert found is not None
    assert (found.cost, found.curve) == (pytest.approx(8 * 2 ** (7 / 8)), "b")
    assert least([*A, *B], 0.4) is None
    found = least(A, 3.5)
    assert found is not None
    assert (found.cost, found.first) == (1.0, True)


def test_what_diverged_is_no_end_of_a_line() -> None:
    points = [Point("a", 100, 0.1, math.inf, 1.0), Point("a", 400, 0.1, 2.0, 4.0)]
    found = least(points, 2.5)
    assert found is not None
    assert found.cost == 4.0


def test_the_frontier_leaves_out_what_another_beats() -> None:
    worse = Point("c", 1, 0.1, 2.6, 9.0)
    assert frontier([*A, *B, worse]) == [A[0], A[2], B[1]]


def test_rates_are_tried_until_the_best_lies_between_two() -> None:
    tried: dict[float, float] = {}
    while (rate := next_rate(tried, 0.01)) is not None:
        tried[rate] = abs(math.log2(rate / 0.04))  # the best is 0.04
    assert sorted(tried) == [0.01, 0.02, 0.04, 0.08]
    endless: dict[float, float] = {}
    while (rate := next_rate(endless, 0.01, most=3)) is not None:
        endless[rate] = -rate
    assert sorted(endless) == [0.01, 0.02, 0.04]


def test_prices_of_the_same_loss() -> None:
    sparse = Point("preset_m1", 2200, 0.03, 2.0, 20.0)
    cheaper = Point("no_anneal_m10", 2200, 0.03, 1.9, 5.0)
    price = Price(
        2.0, Costs([sparse, cheaper], [sparse._replace(cost=100), cheaper._replace(cost=50)]), Costs(A, A)
    )
    first, second = rows(price)
    assert (first.time_ratio, first.flop_ratio) == (pytest.approx(10.0), pytest.approx(50.0))
    assert second.time_ratio == pytest.approx(5 / 4**0.55)
    best = both(price.sparse.seconds, price.dense.seconds, price.target)
    assert best is not None
    assert (best.sparse.curve, best.ratio) == ("no_anneal_m10", pytest.approx(2.5))
    table = price_table(price)
    assert "| exact step, annealed | 2200 | 2.0000 | 20 | 2 | 10.0 | 50.0 | plain GPT, width 64 |" in table
    assert "the cheapest sparse way is M = 10, not annealed: 5 s." in table
    assert "400 steps at rate 0.1, 4 s). That is 2.5 times as long" in table
    assert "Not complete" not in table
    assert "**Not complete**: 3 trainings or searches" in price_table(replace(price, missing=3))
    unreached = price_table(Price(0.5, price.sparse, Costs(A[:1], A[:1])))
    assert unreached == "The losses of 2 sparse trainings are reached by none of the dense ones."


def test_circuits_are_compared_pair_by_pair() -> None:
    def size(edges: int, met: bool = True) -> dict[str, object]:
        return {"edges": edges, "nodes": 2 * edges, "met": met, "loss": 0.1}

    mine: dict[int, Sizes] = {
        0: {"a": size(20), "b": size(8), "c": None},
        1: {"a": size(0), "b": size(9, met=False)},
    }
    theirs: dict[int, Sizes] = {
        0: {"a": size(10), "b": size(4), "c": size(3)},
        1: {"a": size(1), "b": size(9)},
    }
    found = ratio(mine, theirs, "edges")  # 2, 2 and 1 of three pairs; an empty circuit counts as 1
    assert found is not None
    assert found.value == pytest.approx(4 ** (1 / 3))
    assert (found.pairs, found.left_out) == (3, 2)
    assert found.mine == pytest.approx(160 ** (1 / 3))
    # Whole tasks are drawn: a alone gives sqrt 2, b alone 2.
    assert found.interval == pytest.approx((math.sqrt(2), 2.0))
    assert ratio(mine, {}, "edges") is None
