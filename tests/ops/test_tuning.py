"""Measuring the rule's constants: where the paths cross, the fit of planted ones, and a tiny measurement."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.ops import native, tuning
from sparsecircuits.ops.choice import DEFAULT, Costs, predicted
from sparsecircuits.ops.tuning import crossover


def test_a_crossover_by_hand():
    costs = Costs(dense=1, entry=4, move=2, few_dense=1, few_entry=10, call=100)
    # [10, 20], 100 tokens: 34 entries cost 19,700, 35 cost 20,100, a dense matrix 20,000.
    assert crossover(costs, 10, 20, 100) == 34 / 200
    assert crossover(costs, 2, 2, 100) == 0  # the call alone costs more


@pytest.mark.parametrize("threads", DEFAULT)
@pytest.mark.parametrize(("rows", "columns", "tokens"), [(256, 256, 1024), (1024, 256, 64), (1024, 1024, 1)])
def test_the_crossover_is_where_the_rule_changes(threads: int, rows: int, columns: int, tokens: int):
    costs = DEFAULT[threads]
    count = round(crossover(costs, rows, columns, tokens) * rows * columns)
    assert 0 < count < rows * columns
    assert predicted(costs, rows, columns, count, tokens)
    assert not predicted(costs, rows, columns, count + 1, tokens)


def test_planted_costs_are_found_again():
    sizes = [(100.0, 20.0), (1000.0, 50.0), (50.0, 500.0), (5000.0, 512.0)]
    times = [0.05 * entries + 0.4 * moved for entries, moved in sizes]
    assert tuning._fit(sizes, times) == pytest.approx((0.05, 0.4))


def test_fitted_costs_are_positive():
    sizes = [(100.0, 20.0), (1000.0, 50.0), (50.0, 500.0)]
    assert tuning._fit(sizes, [entries * 0.05 for entries, _ in sizes]) == pytest.approx((0.05, 1e-4))


def test_the_number_of_steps():
    # One call sparse and dense; for each of 4 shapes: dense many and few, and both at 3 densities.
    assert tuning.STEPS == 2 + 4 * (2 + 2 * 3)


@pytest.mark.skipif(native.available() == [native.OFF], reason="the kernels were not compiled")
def test_a_tiny_measurement(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tuning, "SHAPES", ((64, 64), (64, 16)))
    monkeypatch.setattr(tuning, "DENSITIES", (0.1, 0.5))
    monkeypatch.setattr(tuning, "TOKENS", 64)
    monkeypatch.setattr(tuning, "REPEATS", 2)
    ticks = []
    before = torch.get_num_threads()
    costs = tuning.measure(1, lambda: ticks.append(torch.get_num_threads()))
    assert all(value > 0 for value in costs.to_dict().values())
    assert ticks == [1] * (2 + 2 * (2 + 2 * 2))
    assert torch.get_num_threads() == before
