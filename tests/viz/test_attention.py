"""Attention patterns of a head whose q and k are kept or not, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.tasks import TextPair, TokenPairs
from sparsecircuits.viz.attention import attention_patterns, thousandths

CONFIG = GPTConfig(
    vocab_size=8, n_ctx=4, n_layer=1, d_model=16, d_head=4, d_mlp=8, topk_fraction=None, bigram=False
)
Q, K, V, OTHER = (Node.parse(f"0.attn.{name}") for name in ("q.4", "k.4", "v.5", "v.0"))


@pytest.fixture
def model() -> SparseGPT:
    """Head 1: every query asks 2 ln 3 of channel 4, which is 1 at token 1 and 0 at others.

    By 1/sqrt(4) the logit of a token 1 is ln 3; the sink's is 0, as that of every other token.
    """
    model = SparseGPT(CONFIG)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ln_" not in name:
                parameter.zero_()
        model.get_parameter("transformer.wte.weight")[1, 0] = 1.0  # the norm makes it 4
        model.get_parameter("transformer.wte.weight")[2, 1] = 1.0
        model.get_parameter("transformer.h.0.attn.c_attn.bias")[4] = 2 * math.log(3)
        model.get_parameter("transformer.h.0.attn.c_attn.weight")[16 + 4, 0] = 0.25
    return model.eval()


@pytest.fixture
def pairs() -> TokenPairs:
    """2 1 2 on the left; 2 2 on the right, and padding."""
    return TokenPairs(
        tokens=torch.tensor([[2, 1, 2], [2, 2, 0]]),
        last=torch.tensor([2, 1]),
        target=torch.tensor([3, 4]),
        other=torch.tensor([4, 3]),
        form="contrast",
        texts=(TextPair("", "", "", ""),),
        task="toy",
        split="heldout",
        seed=0,
    )


def circuit(*nodes: Node) -> Circuit:
    frozen = {str(site): torch.zeros(CONFIG.width(site.site)) for site in CONFIG.site_names()}
    return Circuit("toy", frozenset(nodes), frozen)


def test_patterns_in_the_circuit_and_in_the_model(model: SparseGPT, pairs: TokenPairs) -> None:
    # Without q, k is not asked for: in the circuit all logits are 0.
    (head,) = attention_patterns(model, circuit(K, V), pairs, heads=4)
    assert (head["layer"], head["head"], head["sink"]) == (0, 1, True)
    assert head["nodes"] == ["0.attn.k.4", "0.attn.v.5"]
    left, right = head["patterns"]
    assert [(one["pair"], one["side"]) for one in (left, right)] == [(0, "left"), (0, "right")]
    # The sink, then the keys up to the query. Token 1 weighs 3, all others 1.
    assert left["model"] == [[500, 500], [200, 200, 600], [167, 167, 500, 167]]
    assert left["circuit"] == [[500, 500], [333, 333, 333], [250, 250, 250, 250]]
    assert right["model"] == right["circuit"] == [[500, 500], [333, 333, 333]]


def test_with_q_and_k_and_what_they_read_the_circuit_attends_as_the_model(
    model: SparseGPT, pairs: TokenPairs
) -> None:
    (head,) = attention_patterns(model, circuit(Q, K, Node.parse("0.attn.act_in.0")), pairs, heads=4)
    for pattern in head["patterns"]:
        assert pattern["circuit"] == pattern["model"]
    # Without what k reads it is at its frozen value, and finds nothing.
    (head,) = attention_patterns(model, circuit(Q, K), pairs, heads=4)
    assert head["patterns"][0]["circuit"][1] == [333, 333, 333]


def test_the_heads_of_the_largest_effects_are_shown(model: SparseGPT, pairs: TokenPairs) -> None:
    both = circuit(Q, K, OTHER)
    assert [head["head"] for head in attention_patterns(model, both, pairs, heads=2)] == [0, 1]
    small = {Q: 0.1, K: -0.2, OTHER: 0.25}
    assert [h["head"] for h in attention_patterns(model, both, pairs, heads=1, effects=small)] == [1]
    large = {Q: 0.1, K: None, OTHER: 0.25}
    assert [h["head"] for h in attention_patterns(model, both, pairs, heads=1, effects=large)] == [0]
    assert attention_patterns(model, circuit(Node.parse("0.mlp.post_act.1")), pairs, heads=4) == []


def test_without_a_sink_rows_begin_with_the_first_key() -> None:
    assert thousandths(torch.tensor([[1.0, 0.0], [0.25, 0.75]]), sink=False) == [[1000], [250, 750]]
