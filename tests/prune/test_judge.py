"""The judge's memory of restorings: which break a circuit, which are asked again, which are forgiven."""

from __future__ import annotations

import pytest

from sparsecircuits.model import Node
from sparsecircuits.prune import Splits, pretraining_means
from sparsecircuits.prune.judge import HARDEST, Judge
from sparsecircuits.validate.planted import PlantedModel, plant
from sparsecircuits.validate.planted.pruners import SETTINGS

TARGET = SETTINGS.target


@pytest.fixture(scope="module")
def planted() -> PlantedModel:
    """A model with two nodes that cancel; the shortcut takes one of them."""
    return plant("quote", seed=0, level=2)


@pytest.fixture
def judge(planted: PlantedModel) -> Judge:
    config = SETTINGS.replace(objective="faithful")
    pairs = Splits.draw(planted.task, planted.tokenizer, config, planted.model.config.n_ctx)
    means = pretraining_means(planted.model, planted.corpus, count=2048)
    return Judge(planted.model, planted.task.name, pairs, means, config, watch=lambda *_: None)


@pytest.fixture
def shortcut(planted: PlantedModel, judge: Judge) -> frozenset[Node]:
    """What the task alone finds there."""
    from sparsecircuits.validate.planted.pruners import by_masks

    found = by_masks(planted).nodes
    assert judge.loss(found, judge.pairs.selection) <= TARGET, "alone it does the task"
    return found


def test_what_breaks_a_circuit_is_asked_of_it_from_then_on(judge: Judge, shortcut: frozenset[Node]) -> None:
    circuit = judge.circuit(shortcut)
    assert judge.challenge(circuit, TARGET)
    assert len(judge.hard) == HARDEST
    assert not judge.holds(circuit, TARGET)
    first = list(judge.hard)
    assert judge.challenge(circuit, TARGET)
    assert judge.hard[: len(first)] == first
    assert len(set(judge.hard)) == 2 * HARDEST, "none is counted twice"


def test_what_breaks_another_circuit_too_does_not_count(judge: Judge, shortcut: frozenset[Node]) -> None:
    circuit = judge.circuit(shortcut)
    assert not judge.challenge(circuit, TARGET, besides=circuit)
    assert judge.hard == []


def test_what_cannot_be_mended_is_forgiven(
    planted: PlantedModel, judge: Judge, shortcut: frozenset[Node]
) -> None:
    circuit = judge.circuit(shortcut)
    whole = judge.circuit(judge.allowed)
    assert judge.challenge(circuit, TARGET)
    judge.forgive(whole, TARGET)
    assert len(judge.hard) == HARDEST, "nothing breaks the whole model"
    judge.forgive(circuit, TARGET)
    assert judge.hard == []
