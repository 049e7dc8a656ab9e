"""New prompts and shifted ones: statistics by hand, then circuits that generalise and one that does not."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch

from sparsecircuits.data.idioms.names import Split
from sparsecircuits.tasks.pairs import Task, TextPair
from sparsecircuits.validate.generalise import correlation, heldout_gap, kappa, kappa_interval, shifted
from tests.validate.subjects import planted, subject, truth


def test_kappa_by_hand() -> None:
    """Same on 3 of 4; shares 1/2 and 3/4: chance 1/2; (3/4 - 1/2) / (1 - 1/2) = 1/2."""
    one = torch.tensor([True, True, False, False])
    assert kappa(one, torch.tensor([True, True, True, False])) == pytest.approx(0.5)
    assert kappa(one, ~one) == pytest.approx(-1)
    assert kappa(one | True, one | True) == 1  # always agree
    assert kappa(one, one | True) == 0  # one of them always says yes


def test_the_interval_of_kappa_by_hand() -> None:
    """In template a both agree, in b never: kappa is 1, 0 or -1 as a, each once or b is drawn."""
    one = torch.tensor([True, False, True, False])
    other = torch.tensor([True, False, False, True])
    assert kappa_interval(one, other, ["a", "a", "b", "b"]) == (-1.0, 1.0)
    assert kappa_interval(one, one, ["a", "a", "b", "b"]) == (1.0, 1.0)
    assert kappa_interval(one | True, one | True, ["a", "a", "b", "b"]) == (1.0, 1.0)


def test_correlation_by_hand() -> None:
    """(-1, 0, 1) and (1, 0, 5) less its mean 2: (-1, -2, 3): 4 / sqrt(2 * 14)."""
    found = correlation(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 0.0, 5.0]))
    assert found == pytest.approx(4 / 28**0.5)
    assert correlation(torch.ones(3), torch.tensor([1.0, 2.0, 3.0])) == 0


def test_a_truth_loses_nothing_on_new_prompts() -> None:
    outcome = heldout_gap(subject("quote"))
    assert outcome.passed
    assert abs(outcome.estimate or 0) < 1e-6
    assert outcome.figures["train_accuracy"] == outcome.figures["heldout_accuracy"] == 1


def test_a_circuit_that_knows_train_prompts_only_fails() -> None:
    """Where the train prompts ask ``quote`` and the held-out ones ``depth``, the quote's circuit is lost."""
    one, other = subject("quote"), subject("depth")
    outcome = heldout_gap(dataclasses.replace(one, heldout=other.heldout))
    assert not outcome.passed
    assert (outcome.estimate or 0) > 0.5


def _twice(rng: random.Random, split: Split, room: int) -> TextPair:
    """A quote of the other kind before the one that is asked for: the model cannot tell them apart."""
    letters = "".join(rng.choice("ijkl") for _ in range(6))
    first = rng.random() < 0.5
    before = ("'", '"') if first else ('"', "'")
    return TextPair(f"i{before[0]}{letters}'k", f'i{before[1]}{letters}"k', "'", '"', "two")


TWO_QUOTES = Task("quote:two", "another quote before", "contrast", _twice)


def test_a_truth_foretells_where_its_model_fails() -> None:
    outcome = shifted(subject("quote"), variants=[TWO_QUOTES], pairs=32)
    (row,) = outcome.figures["variants"]
    assert row["judged"]
    assert row["model_accuracy"] < 0.9
    assert outcome.passed
    assert outcome.figures["correlation"] > 0.999  # they differ where the model is torn between the two
    assert (outcome.estimate or 0) > 0.8
    assert outcome.interval is not None
    assert outcome.interval.low <= (outcome.estimate or 0) <= outcome.interval.high <= 1
    assert list(outcome.interval) == row["kappa_interval"]
    assert row["foretold"] > 0.8
    assert len(row["examples"]) == 3
    assert all(example["model"] < 0.5 and example["circuit"] < 0.5 for example in row["examples"])


def test_a_circuit_without_its_value_channels_foretells_nothing() -> None:
    whole = truth("quote")
    lame = whole.without([node for node in whole.nodes if node.site == "attn.v"])
    outcome = shifted(subject("quote", circuit=lame), variants=[TWO_QUOTES], pairs=32)
    assert outcome.passed is False
    assert (outcome.estimate or 0) < 0.6


def test_where_the_model_does_not_fail_nothing_is_judged() -> None:
    own = planted("quote").task
    same = dataclasses.replace(own, name="quote:same")
    outcome = shifted(subject("quote"), variants=[same], pairs=16)
    assert outcome.passed is None
    assert not outcome.open
    assert outcome.note == "the model does not fail on its shifted variants"
    assert shifted(subject("quote")).note == "the task has no shifted variants"


def test_a_circuit_that_always_says_the_same_foretells_nothing() -> None:
    """On every shifted prompt the model says one answer, as an empty circuit does: kappa means nothing."""

    def same(rng: random.Random, split: Split, room: int) -> TextPair:
        letters = "".join(rng.choice("ijkl") for _ in range(8))
        return TextPair(f"i{letters}'k\"'i'", f"i{letters}'k\"'j'", "'", '"', "last")

    shift = Task("quote:same", "ends alike", "contrast", same)
    nothing = subject("quote", circuit=truth("quote").keeping(()))
    outcome = shifted(nothing, variants=[shift], pairs=32)
    (row,) = outcome.figures["variants"]
    assert row["judged"]
    assert outcome.passed is False
    assert row["correlation"] == pytest.approx(0, abs=1e-6)
