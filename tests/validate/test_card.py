"""Verdicts by hand, and a card there and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.errors import CheckpointError
from sparsecircuits.validate.card import Card, check_circuit, level_tests, verdicts_of
from sparsecircuits.validate.catalogue import KINDS, VERDICTS
from sparsecircuits.validate.interval import Interval
from sparsecircuits.validate.outcome import Outcome
from tests.validate.subjects import subject


def outcomes(**words: bool | None) -> list[Outcome]:
    return [Outcome(test=test, estimate=0.0, passed=passed) for test, passed in words.items()]


def states(found: list[Outcome]) -> dict[str, str]:
    return {verdict.name: verdict.state for verdict in verdicts_of(found)}


SUFFICIENT = {"T1": True, "T2": True, "T10": True, "T11": True, "T24": True}


def test_verdicts_follow_from_their_tests() -> None:
    robust = {"T3": True, "T4": True, "T13": True, "T16": True}
    found = states(outcomes(**SUFFICIENT, **robust))
    assert found == {
        "Sufficient": "yes",
        "Robust": "yes",
        "Controlled": "open",
        "Faithful": "open",
        "Verified": "open",
    }
    assert states(outcomes(**SUFFICIENT, **{**robust, "T13": False}))["Robust"] == "no"


def test_one_that_does_not_apply_does_not_count_and_one_that_is_open_does() -> None:
    faithful = {"T5": True, "T6": True, "T7": True, "T12": None, "T20": True}
    assert states(outcomes(**SUFFICIENT, **faithful))["Faithful"] == "yes"
    waiting = [
        *outcomes(**{**SUFFICIENT, "T2": True}),
        Outcome(test="T20", estimate=None, passed=None, open=True),
    ]
    assert states([*waiting, *outcomes(T5=True, T6=True, T7=True, T12=True)])["Faithful"] == "open"


@pytest.mark.parametrize(("word", "state"), [(False, "no"), (None, "yes")])
def test_all_verdicts_need_sufficient(word: bool | None, state: str) -> None:
    found = states(outcomes(**{**SUFFICIENT, "T2": word}, T8=True, T9=True))
    assert (found["Sufficient"], found["Controlled"]) == (state, state)


def test_a_redundant_circuit_leaves_the_others_open() -> None:
    found = [one for one in outcomes(**SUFFICIENT, T8=True, T9=True) if one.test != "T2"]
    found.append(Outcome(test="T2", estimate=1.0, passed=None, open=True))
    assert (states(found)["Sufficient"], states(found)["Controlled"]) == ("open", "open")
    assert states([*found, *outcomes(T25=False)])["Verified"] == "no"


def test_every_test_of_a_verdict_and_of_a_level_has_its_words() -> None:
    assert {test for needed in VERDICTS.values() for test in needed} <= set(KINDS)
    assert list(level_tests("quick")) == ["T1", "T2", "T3", "T4", "T10", "T11", "T24"]
    assert set(level_tests("standard")) | {"T8", "T9", "T20", "T21", "T25"} == set(KINDS)
    assert list(level_tests("full")) == list(level_tests("standard"))
    assert list(level_tests("standard", only=("T5", "T4"))) == ["T4", "T5"]


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    told: list[str] = []
    card = check_circuit(
        subject("quote", pairs=16), tests=level_tests("quick", only=("T1", "T4")), watch=told.append
    )
    assert told == ["T1", "T4"]
    assert card.about["nodes"] == 12
    card.save(tmp_path / "card.json")
    again = Card.load(tmp_path / "card.json")
    assert again.to_dict() == card.to_dict()
    first = again.outcome("T1")
    assert first is not None
    assert isinstance(first.interval, Interval)
    assert again.outcome("T9") is None
    joined = again.with_outcomes(outcomes(T9=True, T1=False))
    assert [one.test for one in joined.outcomes] == ["T1", "T4", "T9"]
    assert joined.outcomes[0].passed is False


@pytest.mark.parametrize("text", ["", "{}", '{"format": "other", "format_version": 1}'])
def test_a_damaged_card_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"card\.json"):
        Card.load(path)


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    outcome = Outcome(test="T1", estimate=float("nan"), passed=False, figures={"most": [float("inf"), 1.0]})
    told = outcome.to_dict()
    assert (told["estimate"], told["figures"]) == (None, {"most": [None, 1.0]})
