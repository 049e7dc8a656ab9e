"""Restoring deleted nodes: at random, by an adversary, and what a circuit loses by it."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.prune import fit_scale, pair_logits, pretraining_means
from sparsecircuits.prune.restore import (
    adversarial_restore,
    drawn_restore,
    random_restore,
    restored_losses,
    split_by_site,
)
from sparsecircuits.tasks.score import Calibration, score
from tests.prune import planted


def test_shares_are_uniform():
    generator = torch.Generator().manual_seed(0)
    shares = torch.stack([random_restore(400, generator).mean() for _ in range(2000)])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.02)
    # A tenth of the draws below 0.1, a tenth above 0.9; for independent coins of 1/2 there would be none.
    assert float((shares < 0.1).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert float((shares > 0.9).float().mean()) == pytest.approx(0.1, abs=0.02)


def test_the_adversary_restores_what_hurts():
    harm = torch.tensor([1.0, -1.0, 2.0, -0.1])
    found = adversarial_restore(lambda r: (harm * r).sum(), torch.tensor([0.0, 1.0, 1.0, 0.0]), 2)
    assert found.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_a_vector_is_split_site_by_site():
    parts = split_by_site(planted.CONFIG, torch.arange(planted.CONFIG.node_count))
    assert list(parts) == [str(at) for at in planted.CONFIG.site_names()]
    assert parts["0.attn.q"].tolist() == list(range(8, 16))


def test_a_true_circuit_does_not_mind_and_an_empty_one_does():
    tokenizer = planted.byte_tokenizer()
    model = planted.attention_model(tokenizer)
    pairs = planted.STRING_CLOSING.pairs(tokenizer, "heldout", 32)
    means = pretraining_means(model, planted.corpus(tokenizer), count=512)
    scale = fit_scale(pair_logits(model, pairs), pairs)

    def losses(nodes: frozenset) -> list[float]:
        return list(
            restored_losses(
                model, Circuit("t", nodes, means), pairs, held=Calibration(scale, 0.0), draws=range(12)
            )
        )

    held = Calibration(scale, 0.0)
    nothing = Circuit("t", frozenset(), means)
    never = {name: torch.ones_like(keep) for name, keep in nothing.keep_masks().items()}
    without = restored_losses(
        model, nothing, pairs, held=Calibration(scale, 0.0), draws=range(3), never=never
    )
    with nothing.installed(model):
        frozen = score(pair_logits(model, pairs), pairs, held).loss
    assert list(without) == [frozen] * 3
    true, empty = losses(planted.ATTENTION_CIRCUIT), losses(frozenset())
    assert max(true) < 0.05
    assert max(empty) > 0.69  # without its three nodes there is no answer, and noise may speak
    assert min(empty) < 0.1  # all three come back in a quarter of the draws
    assert true == losses(planted.ATTENTION_CIRCUIT)


def test_a_draw_is_always_the_same_and_edges_come_back_with_the_same_share():
    first, again = drawn_restore(500, 3, 7), drawn_restore(500, 3, 7, edges=400)
    assert torch.equal(first.nodes, again.nodes)
    assert (len(first.edges), len(again.edges)) == (0, 400)
    assert float(again.edges.mean()) == pytest.approx(float(again.nodes.mean()), abs=0.1)
    assert not torch.equal(first.nodes, drawn_restore(500, 3, 8).nodes)
    assert not torch.equal(first.nodes, drawn_restore(500, 4, 7).nodes)


def test_edges_that_are_cut_come_back_too():
    tokenizer = planted.byte_tokenizer()
    model = planted.attention_model(tokenizer)
    pairs = planted.STRING_CLOSING.pairs(tokenizer, "heldout", 32)
    means = pretraining_means(model, planted.corpus(tokenizer), count=512)
    whole = Circuit("t", planted.ATTENTION_CIRCUIT, means)
    broken = whole.cutting([edge.ends for edge in whole.edges(model)])
    losses = list(restored_losses(model, broken, pairs, held=Calibration(1.0, 0.0), draws=range(24)))
    # Both edges are there in some draws, one is missing in others; nothing else does the task.
    assert min(losses) < 0.05
    assert max(losses) > 0.5
