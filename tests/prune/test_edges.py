"""Edges go that are not needed, and none that is: on planted models the true ones are left."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from sparsecircuits.circuit import Circuit, Ends
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune import fit_scale, pair_logits, pretraining_means
from sparsecircuits.prune.edges import (
    EdgeConfig,
    Trial,
    bisect_edges,
    dead_nodes,
    estimate_rises,
    learn_edges,
    ranked_edges,
    remove_edges,
    shed,
)
from sparsecircuits.prune.masks import all_nodes
from sparsecircuits.prune.simplify import PairLoss
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate.planted import PlantedModel, plant, score_circuit
from tests.prune import planted

TARGET = 0.15


class Case:
    """A planted model, and a circuit of its truth and much else."""

    def __init__(self, name: str, level: int, others: int = 120) -> None:
        self.planted: PlantedModel = plant(name, 1, level)
        self.model: SparseGPT = self.planted.model
        truth = self.planted.truth
        config, n_ctx = self.model.config, self.model.config.n_ctx
        self.train, self.validation = (
            self.planted.task.pairs(self.planted.tokenizer, split, 32, seed=0, max_tokens=n_ctx)
            for split in ("train", "validation")
        )
        means = pretraining_means(self.model, self.planted.corpus, count=2048)
        self.scale = fit_scale(pair_logits(self.model, self.train), self.train)
        decoys = {node for pair in truth.cancelling for node in pair} | truth.union.nodes
        sites = config.site_names()
        every = all_nodes(sites, [config.width(site.site) for site in sites])
        noise = random.Random(3).sample([node for node in every if node not in decoys], others)
        self.circuit = Circuit(name, truth.minimal[0].nodes | frozenset(noise), means)
        self.loss = PairLoss(self.model, (self.train, self.validation), scale=self.scale, target=TARGET)

    def holds(self, circuit: Circuit) -> bool:
        return self.loss(circuit) <= TARGET


@pytest.mark.parametrize("level", [2, 3])
@pytest.mark.parametrize("name", ["quote", "depth", "variable", "bigram"])
def test_true_edges_are_found_among_noise(name: str, level: int):
    case = Case(name, level)
    truth = case.planted.truth.minimal[0]
    found = remove_edges(case.model, case.circuit, case.train, case.holds, target=TARGET, scale=case.scale)
    # The noise has edges of its own, and joins the truth by some.
    assert found.before > len(truth.edges) + 10
    score = score_circuit(case.planted.truth, found.circuit, case.model)
    assert (score.edges.f1, score.nodes.f1) == (1.0, 1.0)
    assert found.held
    assert found.complete
    assert found.after == len(truth.edges) == found.circuit.edge_count(case.model)
    assert found.steps == 0
    assert case.holds(found.circuit)
    assert all(
        torch.equal(found.circuit.frozen[name], case.circuit.frozen[name]) for name in case.circuit.frozen
    )


def test_learned_masks_find_them_too():
    """Of a chain that breaks with any one link, so that there is no slope where two are gone."""
    case = Case("induction", 3)
    truth, config = case.planted.truth.minimal[0], EdgeConfig(few=0)
    tau = learn_edges(case.model, case.circuit, case.train, target=TARGET, scale=case.scale, config=config)
    assert set(tau) == {edge.ends for edge in case.circuit.edges(case.model)}
    assert max(abs(value) for value in tau.values()) <= 1
    assert {ends for ends in tau if tau[ends] >= 0} == set(truth.edges)
    assert set(ranked_edges(tau)[: len(truth.edges)]) == set(truth.edges)
    found = remove_edges(
        case.model, case.circuit, case.train, case.holds, target=TARGET, scale=case.scale, config=config
    )
    assert found.steps == config.steps
    # What they have turned off goes at once: 41 circuits tried, where 71 are without.
    assert found.evaluations < 50
    assert score_circuit(case.planted.truth, found.circuit, case.model).edges.f1 == 1.0


def test_a_circuit_that_does_not_hold_comes_back_as_it_was():
    case = Case("bigram", 1, others=10)
    found = remove_edges(
        case.model, case.circuit, case.train, lambda _: False, target=TARGET, scale=case.scale
    )
    assert found.circuit is case.circuit
    assert (found.held, found.complete, found.evaluations) == (False, False, 1)
    assert found.before == found.after


def test_no_more_is_tried_than_allowed():
    case, tried = Case("quote", 2), 0

    def holds(circuit: Circuit) -> bool:
        nonlocal tried
        tried += 1
        return case.holds(circuit)

    found = remove_edges(
        case.model, case.circuit, case.train, holds, target=TARGET, scale=case.scale,
        config=EdgeConfig(evaluations=12),
    )  # fmt: skip
    assert tried == found.evaluations == 12
    assert not found.complete
    assert case.holds(found.circuit)
    assert found.after < found.before


def test_shedding_tries_runs_then_halves():
    """1 to 8, of which 3 and 8 are needed, in runs of four.

    1234 fails; 12 goes; so 34 must fail, untried; 3 fails; 4 goes. 5678 fails; 56 goes; 78 untried; 7 goes;
    8 is what has just failed of 78, untried.
    """
    left, tried = set(range(1, 9)), []

    def attempt(run: Sequence[int]) -> bool:
        tried.append(list(run))
        if {3, 8} & set(run):
            return False
        left.difference_update(run)
        return True

    assert shed(list(range(1, 9)), attempt, 4) == [1, 2, 4, 5, 6, 7]
    assert left == {3, 8}
    assert tried == [[1, 2, 3, 4], [1, 2], [3], [4], [5, 6, 7, 8], [5, 6], [7]]


def test_a_trial_keeps_the_last_that_held():
    def named(name: str) -> Circuit:
        return Circuit(name, frozenset(), {})

    trial = Trial(named("a"), lambda circuit: circuit.task != "b", 3)
    assert [trial.take(named(name)) for name in "bcdef"] == [False, True, True, False, False]
    assert (trial.circuit.task, trial.evaluations, trial.spent) == ("d", 3, True)


def test_bisection_keeps_the_shortest_prefix():
    """Of eight, the first three are needed: 4 hold, 2 do not, 3 hold."""
    read = [Node.parse(f"0.mlp.act_in.{i}") for i in range(8)]
    neuron = Node.parse("0.mlp.post_act.0")
    edges: list[Ends] = [(node, neuron) for node in read]
    frozen = {"0.mlp.act_in": torch.zeros(8), "0.mlp.post_act": torch.zeros(1)}
    trial = Trial(Circuit("toy", frozenset([*read, neuron]), frozen), lambda c: not c.cut & set(edges[:3]), 9)
    bisect_edges(trial, edges)
    assert trial.circuit.cut == set(edges[3:])
    assert trial.evaluations == 3


@pytest.fixture(scope="module")
def neurons() -> tuple[SparseGPT, Circuit, TokenPairs]:
    """The model that does its task by two neurons, and that circuit: two edges in, two out."""
    tokenizer = planted.byte_tokenizer()
    model = planted.neuron_model(tokenizer)
    means = pretraining_means(model, planted.corpus(tokenizer), count=512)
    circuit = Circuit("last_quote", planted.NEURON_CIRCUIT, means)
    return model, circuit, planted.LAST_QUOTE.pairs(tokenizer, "train", 32)


def test_estimates_are_slopes_of_the_loss(neurons: tuple[SparseGPT, Circuit, TokenPairs]):
    """A small step towards the frozen value costs as much of the estimate as it goes of the way."""
    model, circuit, pairs = neurons
    scale, up = 0.2, Node.parse(f"0.mlp.post_act.{planted.UP}")
    circuit = circuit.rescaled(up, 2.0)
    rises = estimate_rises(model, circuit, pairs, scale=scale)
    assert rises.nodes.keys() == circuit.nodes
    assert rises.edges.keys() == {edge.ends for edge in circuit.edges(model)}
    loss = PairLoss(model, (pairs,), scale=scale, target=9.0)
    change = loss(circuit.rescaled(up, 2.0 * 0.99)) - loss(circuit.rescaled(up, 2.0 * 1.01))
    assert rises.nodes[up] == pytest.approx(50 * change, rel=1e-2)
    # The neuron has a single edge out, and what goes through that goes through the neuron.
    out = (up, Node.parse(f"0.mlp.resid_delta.{planted.WRITTEN}"))
    assert rises.edges[out] == pytest.approx(rises.nodes[up], rel=1e-4)
    cut = estimate_rises(model, circuit.cutting([out]), pairs, scale=scale)
    assert out not in cut.edges
    assert cut.nodes[up] == pytest.approx(0, abs=1e-9)


def test_dead_nodes(neurons: tuple[SparseGPT, Circuit, TokenPairs]):
    model, circuit, _ = neurons
    read, up, down, write = sorted(circuit.nodes)
    assert dead_nodes(model, circuit) == frozenset()
    assert dead_nodes(model, circuit.cutting([(up, write)])) == {up}  # nothing reads it
    assert dead_nodes(model, circuit.cutting([(read, down)])) == {down}  # nothing reaches it
    assert dead_nodes(model, circuit.cutting([(up, write), (down, write)])) == {up, down, write}
    query, key, into = map(Node.parse, ("0.attn.q.0", "0.attn.k.0", "0.attn.act_in.1"))
    assert dead_nodes(model, circuit.keeping({query, into})) == {query}
    assert dead_nodes(model, circuit.keeping({key, into})) == {key}
    assert dead_nodes(model, circuit.keeping({query, key, into})) == frozenset()
    other = Node.parse("0.attn.k.1")
    assert dead_nodes(model, circuit.keeping({query, other, into})) == {query, other}


@pytest.mark.parametrize("every", [False, True])
def test_removal_on_a_circuit_with_nothing_to_spare(
    neurons: tuple[SparseGPT, Circuit, TokenPairs], every: bool
):
    model, circuit, pairs = neurons
    loss = PairLoss(model, (pairs,), scale=1.0, target=TARGET)
    config = EdgeConfig(few=0 if every else 2000, steps=20)
    found = remove_edges(
        model, circuit, pairs, lambda c: loss(c) <= TARGET, target=TARGET, scale=1.0, config=config
    )
    assert found.circuit.equals(circuit)
    assert (found.before, found.after, found.complete) == (4, 4, True)


def test_cuts_that_are_there_stay(neurons: tuple[SparseGPT, Circuit, TokenPairs]):
    model, circuit, pairs = neurons
    extra = Node.parse("0.mlp.act_in.4")
    wide = circuit.keeping(circuit.nodes | {extra})
    cut: Ends = (extra, Node.parse(f"0.mlp.post_act.{planted.UP}"))
    loss = PairLoss(model, (pairs,), scale=1.0, target=TARGET)
    found = remove_edges(
        model, wide.cutting([cut]), pairs, lambda c: loss(c) <= TARGET and extra in c.nodes,
        target=TARGET, scale=1.0,
    )  # fmt: skip
    assert cut in found.circuit.cut
    assert found.after == 4


@pytest.mark.parametrize(
    "change", [{"evaluations": 0}, {"steps": 0}, {"penalty": 0.0}, {"lr": -1.0}, {"few": -1}, {"adapt": -0.1}]
)
def test_settings_that_make_no_sense(change: dict[str, float]):
    with pytest.raises(ConfigError, match=next(iter(change))):
        EdgeConfig(**change)  # type: ignore[arg-type]


def test_masks_learn_from_the_loss_and_not_from_where_they_start():
    """Started all alike, they tell the two edges of a head from those of its noise."""
    tokenizer = planted.byte_tokenizer()
    model = planted.attention_model(tokenizer)
    pairs = planted.STRING_CLOSING.pairs(tokenizer, "train", 64)
    means = pretraining_means(model, planted.corpus(tokenizer), count=512)
    noise = {Node.parse(f"0.attn.{name}") for name in ("act_in.2", "act_in.4", "v.6", "resid_delta.1")}
    circuit = Circuit("string_closing", planted.ATTENTION_CIRCUIT | noise, means)
    config = EdgeConfig(init_spread=0.0, patience=1)
    tau = learn_edges(model, circuit, pairs, target=TARGET, scale=0.1, config=config)
    read, value, write = sorted(planted.ATTENTION_CIRCUIT)
    assert len(tau) == 10
    assert {ends for ends in tau if tau[ends] >= 0} == {(read, value), (value, write)}
