"""Validation loss, where it is known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sparsecircuits.errors import DataError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import RunConfig, evaluate


@pytest.fixture
def uniform(config: RunConfig) -> SparseGPT:
    """All logits are 0."""
    model = SparseGPT(config.model)
    assert model.bigram_table is not None
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.bigram_table.zero_()
    return model


@pytest.mark.parametrize("limit", [None, 1, 20])
def test_uniform_logits_give_the_logarithm_of_the_vocabulary(uniform: SparseGPT, limit: int | None):
    tokens = np.arange(100, dtype=np.uint16)
    assert evaluate(uniform, tokens, limit=limit) == pytest.approx(math.log(300), rel=1e-6)


def test_a_bigram_model_by_hand(uniform: SparseGPT):
    # After token 1 comes token 2 with odds 9:1 against each of the 299 others; n_ctx is 8.
    assert uniform.bigram_table is not None
    with torch.no_grad():
        uniform.bigram_table[1, 2] = math.log(9)
    tokens = np.array([1, 2] * 8 + [1], dtype=np.uint16)  # 16 predictions, half of them after token 1
    expected = (8 * math.log((299 + 9) / 9) + 8 * math.log(300)) / 16
    assert evaluate(uniform, tokens) == pytest.approx(expected, rel=1e-6)
    assert evaluate(uniform, tokens, rows=1) == pytest.approx(expected, rel=1e-6)


def test_the_limit_stops_between_batches(uniform: SparseGPT):
    assert uniform.bigram_table is not None
    with torch.no_grad():
        uniform.bigram_table[2] = torch.arange(300.0)
    tokens = np.array([1] * 9 + [2] * 8, dtype=np.uint16)  # the first window has nothing but token 1
    assert evaluate(uniform, tokens, limit=8, rows=1) == pytest.approx(math.log(300), rel=1e-6)
    assert evaluate(uniform, tokens, limit=0, rows=1) == pytest.approx(math.log(300), rel=1e-6)
    assert evaluate(uniform, tokens, limit=9, rows=1) > 20


def test_too_few_tokens_for_the_context(uniform: SparseGPT):
    with pytest.raises(DataError, match="8 tokens; a context of 8 needs at least 9"):
        evaluate(uniform, np.zeros(8, dtype=np.uint16))
