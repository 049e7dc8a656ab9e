"""A planted model holds four programs: without the circuit of one, the others go on."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.data.batches import batch
from sparsecircuits.model import Node
from sparsecircuits.tasks import STORY_TASKS, TASKS
from sparsecircuits.tasks.score import Calibration, fit_scale, pair_logits, score
from sparsecircuits.validate import planted as plants
from sparsecircuits.validate.specificity import (
    FIT_PAIRS,
    WINDOWS,
    OtherTask,
    other_tasks,
    specificity,
    suite_of,
)
from sparsecircuits.validate.subject import Subject
from tests.validate.subjects import PROGRAMS, subject

ALL = [program.task for program in plants.PROGRAMS.values()]


def everything(of: Subject) -> Circuit:
    """All nodes of the model."""
    nodes = [
        Node(at, i) for at in of.model.config.site_names() for i in range(of.model.config.width(at.site))
    ]
    return dataclasses.replace(of.circuit, nodes=frozenset(nodes))


@pytest.mark.parametrize(("name", "level"), [*((name, 3) for name in PROGRAMS), ("quote", 1)])
def test_a_true_circuit_harms_no_other_task(name: str, level: int) -> None:
    """At level 3 although another program reads one of its channels."""
    found = specificity(subject(name, level=level, pairs=16), pairs=16, draws=1)
    assert found.passed
    assert found.estimate == pytest.approx(0, abs=1e-4)
    assert found.figures["own_harm"] > 0.5
    assert name not in found.figures["harm"]
    assert len(found.figures["harm"]) in (2, 3)  # at level 3 a guest may do its task less well


def test_the_other_tasks_are_those_that_the_model_does() -> None:
    of = subject("quote")
    others = other_tasks(of.model, of.tokenizer, ALL, pairs=16)
    right = {}
    for task in ALL:
        pairs = task.pairs(of.tokenizer, "heldout", 16, max_tokens=of.model.config.n_ctx)
        right[task.name] = score(pair_logits(of.model, pairs), pairs).accuracy
    assert set(others) == {name for name, accuracy in right.items() if accuracy >= 0.95}
    assert len(others) == 4
    for task in ALL:
        if task.name in others:
            fitting = task.pairs(of.tokenizer, "train", FIT_PAIRS, max_tokens=of.model.config.n_ctx)
            assert others[task.name].scale == fit_scale(pair_logits(of.model, fitting), fitting)
            assert others[task.name].accuracy == right[task.name]


def test_a_task_that_does_not_fit_is_none_of_them() -> None:
    of = subject("quote")
    assert other_tasks(of.model, of.tokenizer, [TASKS["class_init"]], pairs=2, max_tokens=8) == {}


def test_whose_tasks() -> None:
    assert suite_of(ALL[0]) == ALL
    assert suite_of(TASKS["for_while"]) == list(TASKS.values())
    own = dataclasses.replace(TASKS["for_while"], name="mine", suite="yours")
    assert suite_of(own) == [*TASKS.values(), *STORY_TASKS.values()]


def test_harms_by_hand() -> None:
    of = subject("quote")
    circuit = everything(of)
    others = other_tasks(of.model, of.tokenizer, ALL, pairs=16)
    found = specificity(of.about(circuit), others=others, draws=1)
    window = batch(of.corpus, seed=0, step=0, rows=WINDOWS, n_ctx=of.model.config.n_ctx)  # type: ignore[arg-type]

    def loss(one: OtherTask) -> float:
        return score(pair_logits(of.model, one.pairs), one.pairs, Calibration(one.scale, 0.0)).loss

    names = [name for name in others if name != "quote"]
    with torch.no_grad():
        full = [loss(others[name]) for name in names]
        own, text = of.full_losses(of.heldout).mean(), of.model.loss(window[:, :-1], window[:, 1:])
        with circuit.removed(of.model):
            without = [loss(others[name]) for name in names]
            own_without = of.full_losses(of.heldout).mean()
            text_without = of.model.loss(window[:, :-1], window[:, 1:])
    harm = [after - before for after, before in zip(without, full, strict=True)]
    assert list(found.figures["harm"].values()) == pytest.approx(harm)
    assert found.estimate == pytest.approx(sum(max(0, one) for one in harm) / 3 / float(own_without - own))
    assert found.figures["worst"] == pytest.approx(max(harm))
    assert found.figures["harm"][found.figures["worst_task"]] == pytest.approx(max(harm))
    assert found.figures["text_harm"] == pytest.approx(float(text_without - text))
    assert found.interval is not None
    assert found.interval.low <= found.estimate <= found.interval.high  # type: ignore[operator]


def test_a_circuit_of_everything_fails() -> None:
    of = subject("quote")
    found = specificity(of.about(everything(of)), pairs=16, draws=1)
    assert found.passed is False
    assert found.estimate is not None
    assert found.estimate > 0.5


def test_a_circuit_that_its_own_task_does_not_need_fails() -> None:
    of = subject("quote")
    only = of.circuit.keeping([Node.parse("1.mlp.post_act.0")])
    found = specificity(of.about(only), pairs=8, draws=1)
    assert found.passed is False
    assert found.estimate == math.inf
    assert found.to_dict()["estimate"] is None
    assert "does not suffer" in found.note


def test_a_task_that_gains_is_not_harmed() -> None:
    """``bigram`` shares a channel with ``depth`` at level 3, and does better without it."""
    of = subject("depth", level=3, pairs=8)
    pairs = plants.PROGRAMS["bigram"].task.pairs(of.tokenizer, "heldout", 32, max_tokens=24)
    found = specificity(of, others={"bigram": OtherTask(pairs, 1.0, 0.75)}, draws=1)
    assert found.figures["harm"]["bigram"] < -0.1
    assert found.estimate == found.figures["worst"] == 0
    assert found.interval is None  # of one task there is none


def test_tasks_of_one_name_are_listed_apart() -> None:
    of = subject("quote")
    others = other_tasks(of.model, of.tokenizer, ALL, pairs=8)
    akin = dict.fromkeys(("quote_twice", "quote:shifted", "quo"), others["quote"])
    found = specificity(of, others={**others, **akin}, draws=1)
    assert set(found.figures["harm_akin"]) == set(akin)
    assert min(found.figures["harm_akin"].values()) > 0.5
    assert found.passed
    nothing = specificity(of, others={"quote": others["quote"], **akin}, draws=1)
    assert nothing.passed is None
    assert "no other task" in nothing.note


def test_without_training_text_and_with_the_model_as_it_was() -> None:
    of = dataclasses.replace(subject("quote"), corpus=None)
    others = other_tasks(of.model, of.tokenizer, ALL, pairs=8)
    before = pair_logits(of.model, of.some)
    found = specificity(of, others=others, draws=2)
    assert found.figures["text_harm"] is found.figures["random_text_harm"] is None
    assert found.settings["text_tokens"] == 0
    assert torch.equal(pair_logits(of.model, of.some), before)
    assert specificity(of, others=others, draws=2) == found
