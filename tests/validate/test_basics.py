"""The first four tests as outcomes: truths pass, the shortcut through half a cancelling pair does not."""

from __future__ import annotations

import dataclasses

import pytest

from sparsecircuits.prune.splits import Splits
from sparsecircuits.validate.basics import (
    outcome_of_necessity,
    outcome_of_output_match,
    outcome_of_stochastic_ablation,
    outcome_of_sufficiency,
)
from sparsecircuits.validate.planted.decoys import half_pair, lacking_one
from sparsecircuits.validate.planted.pruners import SETTINGS
from tests.validate.subjects import planted, subject, truth


def pairs_of(name: str, level: int) -> Splits:
    model = planted(name, 0, level)
    return Splits.draw(model.task, model.tokenizer, SETTINGS, model.model.config.n_ctx)


@pytest.mark.parametrize("name", ["quote", "bigram"])
def test_a_truth_passes_all_four(name: str) -> None:
    whole = subject(name, level=2)
    for test in (
        outcome_of_sufficiency,
        outcome_of_necessity,
        outcome_of_output_match,
        outcome_of_stochastic_ablation,
    ):
        assert test(whole).passed, test.__name__
    first = outcome_of_sufficiency(whole)
    assert (first.estimate or 1) < 0.01 < 0.6 < (first.control or 0)
    assert first.figures["accuracy"] == 1


def test_half_of_a_cancelling_pair_does_the_task_and_breaks_when_the_other_comes_back() -> None:
    model = planted("quote", 0, 2)
    half = half_pair(model, truth("quote", 0, 2).frozen, pairs_of("quote", 2))
    assert half is not None
    assert len(half) == 4
    assert len(set(model.truth.cancelling[0]) & half.nodes) == 1
    decoy = subject("quote", level=2, circuit=half)
    assert outcome_of_sufficiency(decoy).passed
    found = outcome_of_stochastic_ablation(decoy)
    assert not found.passed
    assert found.figures["worst"] > 0.69
    needed = outcome_of_necessity(decoy)
    assert needed.open
    assert needed.passed is None
    assert needed.figures["label"] == "redundant"
    assert half_pair(planted("quote"), truth("quote").frozen, pairs_of("quote", 1)) is None


@pytest.mark.parametrize("kept", ["half", "nothing", "random"])
def test_the_union_does_not_save_a_circuit_that_is_none_of_the_ways(kept: str) -> None:
    """Deleted with the truth anything leaves nothing; but left alone without it, these do not answer."""
    whole = truth("quote", 0, 2)
    half = half_pair(planted("quote", 0, 2), whole.frozen, pairs_of("quote", 2))
    assert half is not None
    (random,) = subject("quote", level=2).random_circuits(1)
    circuit = {"half": half, "nothing": whole.keeping(()), "random": random}[kept]
    union = circuit.keeping(circuit.nodes | whole.nodes)
    judged = outcome_of_necessity(
        dataclasses.replace(subject("quote", level=2, circuit=circuit), complete=union)
    )
    assert judged.passed is False
    assert judged.figures["label"] == "redundant"
    assert judged.figures["refitted_loss"] > 0.6  # the union is at chance
    assert judged.figures["accuracy_by_it_among_the_circuits"] < 0.9
    assert judged.settings["ablated"] == "the union of all circuits of the task"


def test_a_necessary_circuit_needs_no_union() -> None:
    whole = subject("quote", level=2)
    more = whole.circuit.keeping(whole.circuit.nodes | set(planted("quote", 0, 2).truth.cancelling[0]))
    judged = outcome_of_necessity(dataclasses.replace(whole, complete=more))
    assert judged.passed
    assert judged.figures["nodes"] == len(whole.circuit)


def test_output_match_says_by_which_scale() -> None:
    louder = dataclasses.replace(truth("quote"), scale=50.0)
    found = outcome_of_output_match(subject("quote", circuit=louder))
    assert found.settings["circuit_scale"] == 50.0
    assert found.figures["under_the_models_scale"] < found.estimate


def test_a_node_with_gain_zero_is_kept_and_does_not_come_back() -> None:
    """Off by its gain it is as off as by a gain next to nothing."""
    whole = truth("quote", 0, 2)
    node = next(node for node in sorted(whole.nodes) if node.site == "attn.v")
    off, nearly = (
        outcome_of_stochastic_ablation(subject("quote", level=2, circuit=whole.rescaled(node, gain)))
        for gain in (0.0, 1e-7)
    )
    assert off.estimate == pytest.approx(nearly.estimate, abs=1e-4)


@pytest.mark.parametrize("name", ["quote", "depth", "variable", "induction", "bigram"])
def test_a_truth_without_its_most_needed_node_does_not_do_the_task(name: str) -> None:
    lame = lacking_one(planted(name), truth(name).frozen, pairs_of(name, 1))
    assert len(lame) == len(planted(name).truth.minimal[0].nodes) - 1
    outcome = outcome_of_sufficiency(subject(name, circuit=lame))
    assert not outcome.passed
