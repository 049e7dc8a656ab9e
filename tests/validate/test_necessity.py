"""Without its circuit a planted model is left guessing; without anything else it is not."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune import pretraining_means
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate import Necessity, necessity
from sparsecircuits.validate.necessity import active_nodes, random_circuit
from tests.prune import planted


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return planted.byte_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> SparseGPT:
    return planted.attention_model(tokenizer)


@pytest.fixture(scope="module")
def train(tokenizer: Tokenizer) -> TokenPairs:
    return planted.STRING_CLOSING.pairs(tokenizer, "train", 64)


@pytest.fixture(scope="module")
def heldout(tokenizer: Tokenizer) -> TokenPairs:
    return planted.STRING_CLOSING.pairs(tokenizer, "heldout", 64)


@pytest.fixture(scope="module")
def truth(model: SparseGPT, tokenizer: Tokenizer) -> Circuit:
    means = pretraining_means(model, planted.corpus(tokenizer), count=512)
    return Circuit("string_closing", planted.ATTENTION_CIRCUIT, means)


def test_without_the_circuit_one_prompt_of_each_pair_is_wrong(
    model: SparseGPT, truth: Circuit, train: TokenPairs, heldout: TokenPairs
):
    found = necessity(model, truth, train, heldout)
    # Both prompts of a pair get the same logits: whichever candidate leads, one of the two is right,
    # before the refit and after it.
    assert found.accuracy == 0.5
    assert found.refitted_accuracy == 0.5
    assert found.necessary
    assert found.loss >= math.log(2)
    assert found.refitted_loss == pytest.approx(
        math.log(2), abs=0.01
    )  # a bias can undo a preference, no more
    assert found.full_loss < 0.001
    assert found.draws == 20


def test_each_node_of_the_circuit_is_necessary_by_itself(
    model: SparseGPT, truth: Circuit, train: TokenPairs, heldout: TokenPairs
):
    for node in truth.nodes:
        assert necessity(model, truth.keeping([node]), train, heldout, draws=1).accuracy == 0.5


def test_nodes_that_do_not_matter_are_not_necessary(
    model: SparseGPT, truth: Circuit, train: TokenPairs, heldout: TokenPairs
):
    others = [Node(node.at, node.index + 1) for node in truth.nodes]
    found = necessity(model, truth.keeping(others), train, heldout)
    assert (found.accuracy, found.refitted_accuracy) == (1.0, 1.0)
    assert not found.necessary
    assert found.loss < 0.001


def test_random_circuits_are_measured_and_repeatable(
    model: SparseGPT, truth: Circuit, train: TokenPairs, heldout: TokenPairs
):
    first, again = (necessity(model, truth, train, heldout, draws=5, seed=3) for _ in range(2))
    assert first == again
    assert first != necessity(model, truth, train, heldout, draws=5, seed=4)
    assert 0 <= first.random_loss <= first.random_worst
    assert first.random_change == first.random_loss - first.full_loss


def test_random_circuits_of_idle_neurons_change_nothing(
    tokenizer: Tokenizer, model: SparseGPT, truth: Circuit, train: TokenPairs, heldout: TokenPairs
):
    # No neuron matters to this model, so deleting any of them leaves the loss about where it was.
    neurons = truth.keeping([Node.parse("0.mlp.post_act.2"), Node.parse("0.mlp.post_act.3")])
    found = necessity(model, neurons, train, heldout)
    assert abs(found.random_change) < 0.001
    assert found.random_worst < 0.001


def test_the_model_is_whole_afterwards(
    model: SparseGPT, truth: Circuit, train: TokenPairs, heldout: TokenPairs
):
    before = model(heldout.tokens)
    necessity(model, truth, train, heldout, draws=1)
    assert torch.equal(model(heldout.tokens), before)


def test_active_nodes_are_those_that_a_real_token_moves(model: SparseGPT, heldout: TokenPairs):
    active = active_nodes(model, heldout)
    assert planted.QUOTE in active["0.attn.act_in"].tolist()
    assert planted.WRITTEN not in active["0.attn.act_in"].tolist()  # no token writes it before the head
    assert set(active) == {str(site) for site in model.config.site_names()}
    # The same prompts, said to end before the quote: all that follows is padding.
    short = dataclasses.replace(heldout, last=torch.full_like(heldout.last, 2))
    assert planted.QUOTE not in active_nodes(model, short)["0.attn.act_in"].tolist()


def test_random_circuits_have_the_same_profile_and_come_from_active_nodes(truth: Circuit):
    names = ["0.attn.v.0", "0.attn.v.1", "0.attn.v.2", "0.mlp.post_act.7", "0.attn.q.3"]
    circuit = truth.keeping(map(Node.parse, names))
    active = {
        "0.attn.v": torch.tensor([1, 4, 5, 6]),
        "0.mlp.post_act": torch.tensor([0, 2]),
        "0.attn.q": torch.tensor([3]),
    }
    generator = torch.Generator().manual_seed(0)
    seen: set[Node] = set()
    for _ in range(30):
        drawn = random_circuit(circuit, active, generator)
        counts = Counter(str(node.at) for node in drawn.nodes)
        assert counts == {"0.attn.v": 3, "0.mlp.post_act": 1, "0.attn.q": 1}
        seen |= drawn.nodes
    # The circuit's own node 1 would be the fourth choice among three, and q has no other than its own.
    expected = [
        "0.attn.v.4",
        "0.attn.v.5",
        "0.attn.v.6",
        "0.mlp.post_act.0",
        "0.mlp.post_act.2",
        "0.attn.q.3",
    ]
    assert seen == set(map(Node.parse, expected))


def test_a_site_with_too_few_active_nodes_gives_all_of_them(truth: Circuit):
    circuit = truth.keeping([Node.parse("0.attn.v.0"), Node.parse("0.attn.v.1")])
    drawn = random_circuit(circuit, {"0.attn.v": torch.tensor([6])}, torch.Generator())
    assert drawn.nodes == {Node.parse("0.attn.v.6")}


@pytest.mark.parametrize(
    ("raw", "refitted", "necessary"),
    [
        (0.5, 0.5, True),
        (0.4, 0.6, True),
        (0.39, 0.5, False),
        (0.5, 0.61, False),
        (0.5, 0.39, False),
        (1.0, 1.0, False),
    ],
)
def test_the_task_is_lost_only_if_both_accuracies_are_near_chance(
    raw: float, refitted: float, necessary: bool
):
    found = Necessity(raw, 1.0, refitted, 0.7, 0.01, 0.04, 0.1, 20)
    assert found.necessary is necessary
    assert found.random_change == pytest.approx(0.03)
