"""Random circuits never do what a truth does; a random one does not stand out."""

from __future__ import annotations

import math

import pytest

from sparsecircuits.validate.random_circuits import binomial_tail, random_circuits
from tests.validate.subjects import subject


def test_binomial_tail_by_hand() -> None:
    """All of 50 at 0.9: 0.9^50; at least 0: 1; at least 49 of 50: 0.9^50 + 50 * 0.1 * 0.9^49."""
    assert binomial_tail(50, 50, 0.9) == pytest.approx(0.9**50)
    assert binomial_tail(50, 0, 0.9) == pytest.approx(1)
    assert binomial_tail(50, 49, 0.9) == pytest.approx(0.9**50 + 5 * 0.9**49)


def test_a_truth_beats_all_of_them() -> None:
    outcome = random_circuits(subject("quote"), draws=50)
    assert outcome.passed
    assert outcome.estimate == 1
    assert outcome.figures["p"] == pytest.approx(0.9**50)
    assert outcome.figures["random_best"] > outcome.figures["loss"]
    assert outcome.settings["draws"] == 50
    assert outcome.interval == pytest.approx((50 / (50 + 1.96**2), 1.0))  # Wilson's, of all of 50
    assert 0 <= (outcome.control or 0) <= 1


def test_too_few_draws_cannot_reject_the_null_hypothesis() -> None:
    """0.9^20 = 0.12 > 0.05: twenty wins of twenty could be luck."""
    outcome = random_circuits(subject("quote"), draws=20)
    assert outcome.estimate == 1
    assert not outcome.passed
    assert 0.9 ** math.ceil(math.log(0.05, 0.9)) <= 0.05  # 29 are enough
    assert random_circuits(subject("quote"), draws=29).passed


def test_a_random_circuit_does_not_stand_out() -> None:
    whole = subject("quote")
    (other,) = whole.random_circuits(1, seed=5)
    outcome = random_circuits(whole.about(other), draws=50)
    assert not outcome.passed
