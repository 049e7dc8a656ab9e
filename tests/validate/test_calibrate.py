"""Counting of false fails and passes, and the tests on one planted model of each kind."""

from __future__ import annotations

import pytest

from sparsecircuits.prune.splits import Splits
from sparsecircuits.validate.calibrate import ALLOWED, Judged, Rate, calibrate, judge, summarise
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.planted.decoys import closed_circuit
from sparsecircuits.validate.planted.pruners import SETTINGS
from tests.validate.subjects import planted, truth


def one(kind: str, **words: bool | None) -> Judged:
    outcomes = {test: Outcome(test=test, estimate=0.0, passed=passed) for test, passed in words.items()}
    return Judged("quote", 0, 2, kind, outcomes)


def test_false_fails_and_passes_are_counted_by_hand() -> None:
    judged = [
        one("true", T1=True, T4=False, T12=None),
        one("true", T1=True, T4=True, T12=None),
        one("bare", T4=False, T5=True),
        one("half pair", T1=True, T4=True),
        one("half pair", T1=True, T4=False),
        one("random", T1=False, T4=True),
    ]
    found = summarise(judged)
    assert found.false_fails == (
        Rate("T1", 0, 2),
        Rate("T4", 1, 2),
        Rate("T12", 0, 0),
        Rate("any of them", 1, 2),
    )
    assert found.false_passes == (
        Rate("half pair: passes T1 and T4", 1, 2),
        Rate("random: passes T1 and T4", 0, 1),
        Rate("any decoy: Robust", 0, 3),
    )
    assert found.bare == (Rate("T4", 1, 1), Rate("T5", 0, 1))
    assert (found.false_fails[1].share, found.false_fails[2].share) == (0.5, 0.0)
    assert not found.passed
    assert summarise([one("true", T1=True), one("random", T1=False)]).passed
    assert ALLOWED == 0.05


def test_robust_needs_all_of_sufficient_and_its_own() -> None:
    words = dict.fromkeys(("T1", "T2", "T3", "T4", "T10", "T11", "T13", "T16"), True)
    assert one("random", **words).robust
    assert not one("random", **{**words, "T11": False}).robust
    assert not one("random", **{**words, "T16": False}).robust


def test_truth_and_decoys_of_one_model() -> None:
    told: list[str] = []
    found = calibrate(
        [planted("quote", 0, 2)], tests=("T1", "T3", "T4"), watch=lambda done, model, kind: told.append(kind)
    )
    assert told == ["true", "bare", "random", "lacking", "half pair"]
    assert [(rate.name, rate.wrong) for rate in found.false_fails] == [
        ("T1", 0),
        ("T3", 0),
        ("T4", 0),
        ("T21", 0),
        ("any of them", 0),
    ]
    assert all(rate.wrong == 0 for rate in found.false_passes)
    half = found.judged[-1].outcomes
    assert half["T1"].passed
    assert half["T4"].passed is False


def test_a_truth_is_closed_under_restoring_only_with_the_pair_that_cancels() -> None:
    """In ``depth`` one of the two, restored alone, overrules the program."""
    model = planted("depth", 0, 2)
    bare = judge(model, "bare", truth("depth", 0, 2), ("T4",)).outcomes["T4"]
    closed = judge(model, "true", truth("depth", 0, 2), ("T4",)).outcomes["T4"]
    assert bare.passed is False
    assert bare.figures["worst"] == pytest.approx(0.726, abs=0.01)
    assert closed.passed
    assert closed.figures["worst"] < 0.01
    pairs = Splits.draw(model.task, model.tokenizer, SETTINGS, model.model.config.n_ctx)
    nodes = closed_circuit(model, truth("depth", 0, 2).frozen, pairs).nodes
    assert nodes == truth("depth", 0, 2).nodes | set(model.truth.cancelling[0])
