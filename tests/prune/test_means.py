"""Frozen values: plain averages over windows of the training text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from sparsecircuits.data.batches import batch
from sparsecircuits.errors import DataError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.prune import pretraining_means

CONFIG = GPTConfig(vocab_size=10, n_ctx=4, n_layer=1, d_model=8, d_head=4, d_mlp=6, topk_fraction=None)
TOKENS = np.random.default_rng(0).integers(0, 10, 50).astype(np.uint16)


def test_equals_the_mean_by_brute_force():
    model = SparseGPT(CONFIG)
    found = pretraining_means(model, TOKENS, count=24, seed=7, rows=3)  # two batches of 3 windows of 4
    windows = [
        window[:4].tolist() for step in (0, 1) for window in batch(TOKENS, seed=7, step=step, rows=3, n_ctx=4)
    ]
    assert set(found) == {str(site) for site in CONFIG.site_names()}
    for name, mean in found.items():
        total, seen = torch.zeros_like(mean), 0
        for window in windows:
            _, cache = model.run_with_cache(torch.tensor([window]), [name])
            for token in cache[name][0].detach():
                total, seen = total + token, seen + 1
        assert seen == 24
        assert_close(mean, total / 24)


def test_a_channel_that_copies_the_token_has_the_mean_of_the_tokens():
    model = SparseGPT(CONFIG)
    with torch.no_grad():
        model.transformer["wte"].weight.zero_()  # type: ignore[union-attr]
        model.transformer["wte"].weight[3, 2] = 5.0  # type: ignore[index]
    # RMSNorm of (0, 0, 5, 0, 0, 0, 0, 0) is sqrt(8) at channel 2; a token in two is a 3.
    found = pretraining_means(model, np.array([3, 1] * 20), count=400)
    assert float(found["0.attn.act_in"][2]) == pytest.approx(8**0.5 / 2, rel=1e-5)
    assert found["0.attn.act_in"][[0, 1, 3, 4, 5, 6, 7]].tolist() == [0.0] * 7


def test_whole_batches_and_no_gradient():
    model = SparseGPT(CONFIG)
    found = pretraining_means(model, TOKENS, count=1, seed=7, rows=3)
    same = pretraining_means(model, TOKENS, count=12, seed=7, rows=3)
    assert all(torch.equal(found[name], same[name]) for name in found)
    assert not any(mean.requires_grad for mean in found.values())
    assert {mean.dtype for mean in found.values()} == {torch.float32}


def test_too_little_text_or_no_tokens_asked_for():
    with pytest.raises(DataError, match="4 tokens"):
        pretraining_means(SparseGPT(CONFIG), TOKENS[:4])
    with pytest.raises(ValueError, match="at least one"):
        pretraining_means(SparseGPT(CONFIG), TOKENS, count=0)
