"""Complete circuits: every way in which a model does a task, until nothing of it is left."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import PruneError
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune import Splits, pretraining_means
from sparsecircuits.prune.complete import Remainder, prune_complete, remainder
from tests.prune import planted
from tests.prune.planted import ATTENTION_CIRCUIT, SETTINGS

#: A second way from the quote to the answer: the first head's channel 1, written to another channel.
OTHER_VALUE, OTHER_WRITTEN, OTHER_QUOTE = 1, 5, 6
OTHER_CIRCUIT = frozenset(
    Node.parse(name)
    for name in (
        f"0.attn.act_in.{OTHER_QUOTE}",
        f"0.attn.v.{OTHER_VALUE}",
        f"0.attn.resid_delta.{OTHER_WRITTEN}",
    )
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return planted.byte_tokenizer()


@pytest.fixture(scope="module")
def tokens(tokenizer: Tokenizer) -> np.ndarray:
    return planted.corpus(tokenizer)


@torch.no_grad()
def two_ways(tokenizer: Tokenizer) -> SparseGPT:
    """The head's circuit, and a copy of it that shares no node."""
    model = planted.attention_model(tokenizer)
    attention, values = planted.block(model).attn, 2 * planted.CONFIG.width("attn.v")
    single, double = (tokenizer.encode(quote)[0] for quote in ("'", '"'))
    embedding, unembedding = model.transformer["wte"].weight, model.lm_head.weight
    assert isinstance(embedding, torch.Tensor)
    embedding[:, [OTHER_QUOTE, OTHER_WRITTEN]] = 0
    embedding[single, OTHER_QUOTE], embedding[double, OTHER_QUOTE] = 1, -1
    attention.c_attn.weight[:, OTHER_QUOTE] = 0
    attention.c_attn.weight[values + OTHER_VALUE, OTHER_QUOTE] = 8
    attention.c_proj.weight[OTHER_WRITTEN] = 0
    attention.c_proj.weight[OTHER_WRITTEN, OTHER_VALUE] = 8
    planted.block(model).mlp.c_proj.weight[OTHER_WRITTEN] = 0
    unembedding[single, OTHER_WRITTEN], unembedding[double, OTHER_WRITTEN] = 10, -10
    return model


def test_both_ways_are_found_and_nothing_is_left(tokenizer: Tokenizer, tokens: np.ndarray):
    found = prune_complete(two_ways(tokenizer), planted.STRING_CLOSING, tokenizer, tokens, SETTINGS)
    assert found.complete
    assert found.why is None
    assert {result.circuit.nodes for result in found.found} == {ATTENTION_CIRCUIT, OTHER_CIRCUIT}
    assert found.union.nodes == ATTENTION_CIRCUIT | OTHER_CIRCUIT
    first, last = found.remainders
    assert (first.accuracy, first.refitted_accuracy) == (1.0, 1.0)  # the other way still does it
    assert last.at_chance


def test_one_way_is_complete_at_once(tokenizer: Tokenizer, tokens: np.ndarray):
    model = planted.attention_model(tokenizer)
    found = prune_complete(model, planted.STRING_CLOSING, tokenizer, tokens, SETTINGS)
    assert [result.circuit.nodes for result in found.found] == [ATTENTION_CIRCUIT]
    assert found.complete


def test_a_search_that_ends_early_says_so(tokenizer: Tokenizer, tokens: np.ndarray):
    found = prune_complete(two_ways(tokenizer), planted.STRING_CLOSING, tokenizer, tokens, SETTINGS, most=1)
    assert not found.complete
    assert found.why == "more than 1 circuits do the task"
    with pytest.raises(PruneError, match="full model's own loss"):
        prune_complete(planted.refusing_model(tokenizer), planted.STRING_CLOSING, tokenizer, tokens, SETTINGS)


def test_what_is_left_is_measured_with_the_circuits_frozen(tokenizer: Tokenizer, tokens: np.ndarray):
    model = two_ways(tokenizer)
    pairs = Splits.draw(planted.STRING_CLOSING, tokenizer, SETTINGS, planted.CONFIG.n_ctx)
    means = pretraining_means(model, tokens, count=512)
    assert remainder(model, pairs, means, frozenset()).accuracy == 1.0
    assert remainder(model, pairs, means, ATTENTION_CIRCUIT).accuracy == 1.0
    nothing = remainder(model, pairs, means, ATTENTION_CIRCUIT | OTHER_CIRCUIT)
    assert nothing.at_chance
    assert nothing.loss == pytest.approx(0.693, abs=0.02)


@pytest.mark.parametrize(
    ("accuracy", "refitted", "chance"),
    [(0.5, 0.5, True), (0.39, 0.5, False), (0.5, 0.61, False), (0.4, 0.6, True)],
)
def test_chance_is_between_two_fifths_and_three_both_ways(accuracy: float, refitted: float, chance: bool):
    assert Remainder(accuracy, refitted, 0.7).at_chance is chance
