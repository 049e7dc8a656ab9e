"""The planted models are what they claim: their circuits suffice, and no part of them can be spared."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from sparsecircuits.circuit import Circuit, count_edges
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune import pair_logits, pretraining_means, score
from sparsecircuits.tasks.pairs import Task
from tests.prune import planted

CASES = [
    (planted.attention_model, planted.STRING_CLOSING, planted.ATTENTION_CIRCUIT, 2),
    (planted.neuron_model, planted.LAST_QUOTE, planted.NEURON_CIRCUIT, 4),
]


@pytest.mark.parametrize(("make", "task", "truth", "edges"), CASES)
def test_the_circuit_is_enough_and_all_of_it_is_needed(
    make: Callable[[Tokenizer], SparseGPT], task: Task, truth: frozenset[Node], edges: int
):
    tokenizer = planted.byte_tokenizer()
    model, pairs = make(tokenizer), task.pairs(tokenizer, "train", 32)
    means = pretraining_means(model, planted.corpus(tokenizer), count=512)
    circuit = Circuit(task.name, truth, means)
    assert count_edges(model, truth) == edges
    with circuit.installed(model):
        assert score(pair_logits(model, pairs), pairs).loss < 0.001
    for node in truth:
        with circuit.without([node]).installed(model):
            # Without a neuron one side is a coin toss and the other as before: half of log 2.
            least = math.log(2) / (2 if node.site == "mlp.post_act" else 1)
            assert score(pair_logits(model, pairs), pairs).loss > 0.9 * least


def test_the_head_averages_the_quote_over_the_prompt():
    tokenizer = planted.byte_tokenizer()
    model = planted.attention_model(tokenizer)
    pairs = planted.STRING_CLOSING.pairs(tokenizer, "train", 1)
    assert [tokenizer.text(int(t)) for t in pairs.tokens[0, :4]] == ["<|endoftext|>", "f", "(", "'"]
    with torch.no_grad():
        for part in (0, 1):  # queries and keys: all zero, so that attention is uniform
            planted.block(model).attn.c_attn.weight[8 * part : 8 * part + 8] = 0
            planted.block(model).attn.c_attn.bias[8 * part : 8 * part + 8] = 0
        _, cache = model.run_with_cache(pairs.tokens)
    read, mixed = cache["0.attn.act_in"][..., planted.QUOTE], cache["0.attn.y"][..., planted.VALUE]
    assert torch.nonzero(read[0]).tolist() == [[3]]
    # The norm divides by sqrt((8² + 1² + noise) / 8), a bit more than sqrt(65 / 8); seven tokens share.
    one = float(read[0, 3])
    assert one == pytest.approx(1 / math.sqrt(65 / 8), rel=1e-2)
    assert float(mixed[0, 6] - mixed[1, 6]) == pytest.approx(2 * 8 * one / 7, rel=1e-5)
