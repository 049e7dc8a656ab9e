"""The union of all copies is complete; a circuit that leaves a copy out is not, nor is a decoy."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch

from sparsecircuits.tasks.score import pair_logits
from sparsecircuits.validate.completeness import (
    Gap,
    advantages,
    certainty,
    completeness,
    greedy_gaps,
    random_subsets,
)
from sparsecircuits.validate.thresholds import THRESHOLDS
from tests.validate.subjects import PROGRAMS, planted, subject, truth


def test_certainty_is_the_difference_of_the_two_probabilities():
    odds = torch.tensor([math.log(3), 0.0, -math.log(3)])
    torch.testing.assert_close(certainty(odds), torch.tensor([0.5, 0.0, -0.5]))


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("level", [1, 3])
def test_the_union_is_complete(name: str, level: int):
    found = completeness(subject(name, 0, level, pairs=16))
    assert found.passed
    assert found.estimate is not None
    assert found.estimate < 0.01
    assert found.control is not None
    assert found.control > 0.5


@pytest.mark.parametrize(("name", "level"), [*((name, 2) for name in PROGRAMS), ("quote", 3), ("bigram", 3)])
def test_a_circuit_that_leaves_a_copy_out_is_not(name: str, level: int):
    found = completeness(subject(name, 0, level, circuit=truth(name, 0, level, union=False), pairs=16))
    assert found.passed is False
    # It is right alone, and it looks right without random nodes; but not without its copy.
    assert found.figures["circuit"] > 0.98
    assert found.figures["gap_of_none"] < 0.01
    assert found.figures["gap_greedy_worst"] > 0.98
    parts = planted(name, 0, level).truth
    always = {str(node) for node in frozenset.intersection(*(part.nodes for part in parts.minimal))}
    assert not always & set(found.figures["greedy_worst"])
    # A spare copy doubles the logit difference: as a share, half of it is missing already.
    whole, alone = found.figures["logit_difference_model"], found.figures["logit_difference_circuit"]
    assert alone / whole == pytest.approx(0.5, abs=0.01)


def test_the_union_is_what_is_tested_where_it_is_known():
    about = subject("quote", 0, 2, circuit=truth("quote", 0, 2, union=False), pairs=16)
    both = dataclasses.replace(about, complete=truth("quote", 0, 2))
    assert completeness(about).passed is False
    assert completeness(both).passed


@pytest.mark.parametrize("name", ["quote", "bigram"])
def test_one_node_of_a_cancelling_pair_makes_it_incomplete(name: str):
    whole = truth(name, 0, 2)
    (one, _), *_ = planted(name, 0, 2).truth.cancelling
    found = completeness(subject(name, 0, 2, circuit=whole.keeping([*whole.nodes, one]), pairs=16))
    assert found.passed is False
    assert str(one) in found.figures["greedy_worst"] or found.figures["gap_of_none"] > 0.1


def test_a_random_circuit_fails():
    about = subject(pairs=16)
    found = completeness(about.about(next(about.random_circuits(1))), subsets=3, greedy=1)
    assert found.passed is False
    assert found.estimate is not None
    assert found.estimate > 0.5


def test_the_estimate_is_the_mean_of_both_kinds_within_its_interval():
    about = subject("bigram", 0, 2, circuit=truth("bigram", 0, 2, union=False), pairs=16)
    found = completeness(about)
    shown = found.figures
    assert found.estimate == pytest.approx(
        (shown["gap_random"] + shown["gap_greedy"]) / 2 / shown["model"], rel=1e-6
    )
    assert found.interval is not None
    assert found.estimate is not None
    assert found.interval.low <= found.estimate <= found.interval.high
    assert found == completeness(about)


@torch.no_grad()
def test_greedy_sets_grow_while_the_gap_does():
    about = subject("induction", 0, 2, circuit=truth("induction", 0, 2, union=False), pairs=16)
    generator = torch.Generator().manual_seed(1)
    gaps = greedy_gaps(about, about.circuit, 5, generator)
    for before, after in zip(gaps, gaps[1:], strict=False):
        assert before.nodes < after.nodes
        assert len(after.nodes - before.nodes) == 1
        assert after.size > before.size
    assert len(greedy_gaps(about, about.circuit, 1, generator)) == 1
    # By hand: what the last set does, from the definition.
    nodes = gaps[-1].nodes
    with about.circuit.without(nodes).installed(about.model):
        alone = certainty(advantages(about)).mean()
    with about.circuit.keeping(nodes).removed(about.model):
        full = certainty(advantages(about)).mean()
    assert gaps[-1].size == pytest.approx(abs(float(alone - full)), rel=1e-5)


def test_random_sets_have_all_sizes():
    circuit = truth("induction")
    sets = random_subsets(circuit, 300, torch.Generator().manual_seed(0))
    sizes = [len(some) for some in sets]
    assert all(some <= circuit.nodes for some in sets)
    assert (min(sizes), max(sizes)) == (1, 24)
    # Evenly over the logarithm: as many below the square root of 24 as above.
    assert 0.4 < sum(size < 24**0.5 for size in sizes) / 300 < 0.6


@torch.no_grad()
def test_a_token_against_all_others_is_asked_for_its_own_log_odds():
    about = subject(pairs=16)
    pairs = about.heldout
    n = len(pairs)
    none = torch.full((n,), -1)
    alone = dataclasses.replace(
        pairs,
        form="one_against_all",
        target=torch.cat([pairs.target[:n], none]),
        other=torch.cat([none, pairs.target[:n]]),
    )
    about = dataclasses.replace(about, heldout=alone)
    chance = (about.scale * pair_logits(about.model, alone).double()).softmax(-1)
    token = chance.gather(1, torch.cat([pairs.target[:n]] * 2)[:, None]).squeeze(1)
    right = torch.cat([token[:n], 1 - token[n:]])
    torch.testing.assert_close(certainty(advantages(about)), 2 * right - 1)
    assert right.std() > 0.1


def test_what_cannot_be_tested_and_that_the_model_stays_whole():
    about = subject(pairs=16)
    before = about.model(about.some.tokens)
    assert completeness(about, subsets=1, greedy=1).passed
    assert torch.equal(about.model(about.some.tokens), before)
    assert completeness(about.about(about.circuit.keeping([]))).passed is None
    lost = copy.deepcopy(about.model)
    with torch.no_grad():
        lost.lm_head.weight.zero_()
    assert completeness(dataclasses.replace(about, model=lost)).passed is None
    with pytest.raises(ValueError, match="at least one of each"):
        completeness(about, subsets=0)


def test_gaps_of_nothing_are_the_circuit_and_the_model():
    about = subject(pairs=16)
    gap = Gap.of(about, about.circuit, frozenset())
    torch.testing.assert_close(gap.full, advantages(about))
    assert gap.size < 1e-5 < THRESHOLDS.completeness
