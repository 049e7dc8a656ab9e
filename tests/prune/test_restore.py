"""Restoring deleted nodes: at random, by an adversary, and what a circuit loses by it."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.prune import fit_scale, pair_logits, pretraining_means
from sparsecircuits.prune.restore import (
    adversarial_restore,
    random_restore,
    restored_losses,
    split_by_site,
)
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
    found = adversarial_restore(lambda r: (harm * r).sum(), 4, 2, torch.Generator().manual_seed(0))
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
        keep = Circuit("t", nodes, means).keep_masks()
        return restored_losses(model, keep, means, pairs, scale=scale, draws=12)

    true, empty = losses(planted.ATTENTION_CIRCUIT), losses(frozenset())
    assert max(true) < 0.05
    assert max(empty) > 0.69  # without its three nodes there is no answer, and noise may speak
    assert min(empty) < 0.1  # all three come back in a quarter of the draws
    assert true == losses(planted.ATTENTION_CIRCUIT)
