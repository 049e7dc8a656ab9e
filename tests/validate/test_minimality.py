"""The smallest circuits of planted models are minimal; unions of copies, and idle nodes, are not."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.validate.minimality import (
    binomial_tail,
    fewest_references,
    minimality,
    needed_wins,
    others,
    wins,
)
from sparsecircuits.validate.thresholds import THRESHOLDS
from tests.validate.subjects import PROGRAMS, planted, subject, truth


def test_the_binomial_tail_is_exact():
    assert binomial_tail(2, 1, 0.5) == 0.75
    assert binomial_tail(3, 3, 0.9) == pytest.approx(0.729)
    assert binomial_tail(7, 0, 0.9) == pytest.approx(1)


def test_few_references_decide_few_tests():
    # 0.9**28 = 0.0523 and 0.9**29 = 0.0471 beside 0.05;
    # 0.9**52 = 0.004175 and 0.9**53 = 0.00376 beside 0.05 / 12 = 0.004167
    assert fewest_references(1) == 29
    assert fewest_references(12) == 53
    assert needed_wins(29, 1) == 29
    with pytest.raises(ValueError, match="28 references cannot decide 1 tests: at least 29"):
        needed_wins(28, 1)
    for tests in (1, 7, 40):
        needed = needed_wins(100, tests)
        assert binomial_tail(100, needed, 0.9) <= 0.05 / tests < binomial_tail(100, needed - 1, 0.9)


def test_a_tie_is_no_win_and_nor_is_what_does_nothing():
    references = torch.tensor([0.0, -1.0, 0.7, 0.0]).double()
    harms = torch.tensor([1.0, 0.0, 0.5, 0.7, -0.5]).double()
    assert wins(harms, references).tolist() == [4, 0, 3, 3, 0]
    assert wins(harms, references, 0.5).tolist() == [4, 0, 0, 3, 0]
    both = wins(torch.stack([harms, harms]), torch.stack([references, references + 2]))
    assert both.tolist() == [[4, 0, 3, 3, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("level", [1, 2])
def test_a_smallest_circuit_is_minimal(name: str, level: int):
    found = minimality(subject(name, 0, level, circuit=truth(name, 0, level, union=False), pairs=16))
    assert found.passed
    assert (found.estimate, found.control) == (1.0, 0.0)
    assert found.interval == (1.0, 1.0)
    assert found.figures["not_minimal"] == {}
    assert found.figures["edges_minimal"] is None
    assert "edges were not pruned" in found.note


@pytest.mark.parametrize("name", ["quote", "bigram"])
def test_a_union_of_copies_is_not_and_the_copies_are_named(name: str):
    found = minimality(subject(name, 0, 3, pairs=16))
    parts = planted(name, 0, 3).truth
    always = frozenset.intersection(*(part.nodes for part in parts.minimal))
    assert set(found.figures["not_minimal"]) == {str(node) for node in parts.union.nodes - always}
    assert found.estimate == len(always) / len(parts.union.nodes)
    assert found.passed is False


def test_idle_nodes_are_found():
    about = subject(pairs=16)
    idle = others(about)[::150]
    assert len(idle) == 3
    circuit = about.circuit.keeping([*about.circuit.nodes, *idle])
    found = minimality(about.about(circuit))
    assert set(found.figures["not_minimal"]) == {str(node) for node in idle}
    assert found.estimate == pytest.approx(12 / 15)
    assert found.passed is False


def test_a_random_circuit_fails():
    about = subject(pairs=16)
    found = minimality(about.about(next(about.random_circuits(1))))
    assert (found.estimate, found.passed) == (0.0, False)


def _with_edges(circuit: Circuit) -> Circuit:
    """As if its edges had been pruned."""
    return dataclasses.replace(circuit, info={"before_edges": {"nodes": len(circuit)}})


def test_edges_are_tested_where_they_were_pruned():
    about = subject(pairs=16)
    edges = about.circuit.edges(about.model)
    found = minimality(about.about(_with_edges(about.circuit)))
    assert found.passed
    assert (found.figures["edges_minimal"], found.figures["edges_tested"]) == (1.0, len(edges))
    assert minimality(about.about(_with_edges(about.circuit)), most_edges=4).figures["edges_tested"] == 4
    # One that is cut is none of the circuit's edges any more.
    one = about.circuit.cutting([edges[0].ends])
    assert minimality(about.about(one)).figures["edges_tested"] == len(edges) - 1


def test_idle_edges_fail_though_nodes_are_minimal():
    about = subject("induction", pairs=16)
    # An idle neuron that reads what the circuit reads: one node of 25 is 4%, its edges are more.
    alone = about.circuit
    joined = max(others(about), key=lambda node: alone.keeping([*alone.nodes, node]).edge_count(about.model))
    more = alone.keeping([*alone.nodes, joined])
    extra = {str(edge) for edge in more.edges(about.model)} - {str(edge) for edge in alone.edges(about.model)}
    assert len(extra) / more.edge_count(about.model) > 1 - THRESHOLDS.minimal
    found = minimality(about.about(_with_edges(more)))
    assert found.estimate is not None
    assert found.estimate >= THRESHOLDS.minimal
    assert set(found.figures["edges_not_minimal"]) == extra
    assert found.passed is False


def test_a_reference_is_the_harm_of_taking_an_addition_away_again():
    # The only node to add is the one that is missing: nothing in what is left matters as much as it would.
    whole = truth()
    missing = min(whole.nodes)
    about = subject(circuit=whole.without([missing]), pairs=16)
    about.__dict__["active"] = {str(missing.at): torch.tensor([missing.index])}
    found = minimality(about)
    by_hand = about.circuit_losses(about.some).mean() - about.circuit_losses(about.some, whole).mean()
    assert by_hand > 0.2
    assert found.figures["reference_90"] == pytest.approx(float(by_hand), rel=1e-5)
    assert found.figures["reference_largest"] == pytest.approx(float(by_hand), rel=1e-5)
    assert found.passed is False


def test_more_references_are_drawn_where_too_few_were_asked_for():
    about = subject(pairs=16)
    found = minimality(about, inflations=1)
    assert found.settings["inflations"] == 53  # for 12 nodes
    assert found.figures["wins_needed"] == 53
    assert found.passed


def test_what_cannot_be_tested_and_that_the_model_stays_whole():
    about = subject(pairs=16)
    before = about.model(about.some.tokens)
    assert minimality(about, inflations=53) == minimality(about, inflations=53)
    assert torch.equal(about.model(about.some.tokens), before)
    assert minimality(about.about(about.circuit.keeping([]))).passed is None
    everything = about.circuit.keeping([*about.circuit.nodes, *others(about)])
    every = everything.keeping([*everything.nodes, *others(about.about(everything))])
    assert len(every) == about.model.config.node_count
    assert minimality(about.about(every)).passed is None
