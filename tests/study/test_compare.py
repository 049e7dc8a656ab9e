"""Two models on one text: losses and correlations that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sparsecircuits.errors import ConfigError, DataError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.study.compare import Comparison, compare_models, pearson, ranks
from sparsecircuits.train import evaluate
from tests.prune import planted

HALF = math.log(2)
#: Losses of tokens 0 to 3, in halvings: probabilities 1/2, 1/4, 1/8, 1/8 and 1/8, 1/8, 1/4, 1/2.
ONE, OTHER = (1, 2, 3, 3), (3, 3, 2, 1)


@torch.no_grad()
def unigram(halvings: tuple[int, ...], n_ctx: int = 3) -> SparseGPT:
    """A model that gives every token the same chance, whatever comes before it: its table alone speaks."""
    model = SparseGPT(GPTConfig(vocab_size=4, n_ctx=n_ctx, n_layer=1, d_model=8, d_head=4))
    for parameter in model.parameters():
        parameter.zero_()
    assert model.bigram_table is not None
    model.bigram_table.add_(-HALF * torch.tensor(halvings))
    return model


# Correlations.


def test_pearson_by_hand() -> None:
    """Deviations (-1, 0, 1) and (-1, 1, 0): 1 / sqrt(2 · 2)."""
    assert pearson(np.array([0.0, 1, 2]), np.array([1.0, 3, 2])) == pytest.approx(0.5)
    assert pearson(np.array([1, 2, 3]), np.array([6, 4, 2])) == pytest.approx(-1)


def test_a_constant_has_no_correlation() -> None:
    assert pearson(np.array([2.0, 2.0]), np.array([0.0, 1.0])) is None
    assert pearson(np.array([0.0, 1.0]), np.array([2.0, 2.0])) is None


def test_large_numbers_lose_nothing() -> None:
    x = np.array([1e4, 1e4 + 1, 1e4 + 2], dtype=np.float32)
    assert pearson(x, x) == pytest.approx(1)


def test_equal_values_share_a_rank() -> None:
    assert ranks(np.array([5.0, 1, 5, 9, 5])).tolist() == [3, 1, 3, 5, 3]


def test_ranks_see_order_only() -> None:
    """x and x³ rise together, but not on a line: deviations (-3, -1, 1, 3)/2 and (-24, -17, 2, 39)."""
    x = np.array([1.0, 2, 3, 4])
    found = Comparison(x, x**3, n_ctx=1)
    assert found.rank_correlation == pytest.approx(1)
    assert found.correlation == pytest.approx(104 / math.sqrt(5 * 2390))


# Models.


def test_losses_of_two_models_by_hand() -> None:
    """Tokens 1, 2, 3 are predicted: 2, 3, 3 halvings and 3, 2, 1; deviations (-2, 1, 1)/3 and (1, 0, -1)."""
    found = compare_models(unigram(ONE), unigram(OTHER), np.array([0, 1, 2, 3]))
    assert found.first.tolist() == pytest.approx([2 * HALF, 3 * HALF, 3 * HALF])
    assert found.second.tolist() == pytest.approx([3 * HALF, 2 * HALF, 1 * HALF])
    assert (found.tokens, found.n_ctx) == (3, 3)
    assert found.first_loss == pytest.approx(8 / 3 * HALF)
    assert found.second_loss == pytest.approx(2 * HALF)
    assert found.correlation == pytest.approx(-1 / math.sqrt(2 / 3 * 2))
    assert found.rank_correlation == pytest.approx(-1.5 / math.sqrt(1.5 * 2))


def test_the_figures_as_plain_data() -> None:
    figures = compare_models(unigram(ONE), unigram(OTHER), np.array([0, 1, 2, 3])).to_dict()
    assert list(figures) == [
        "tokens",
        "n_ctx",
        "first_loss",
        "second_loss",
        "correlation",
        "rank_correlation",
    ]


def test_both_get_windows_of_the_shorter_context() -> None:
    found = compare_models(unigram(ONE, n_ctx=3), unigram(OTHER, n_ctx=2), np.array([0, 1, 2, 3, 0, 1]))
    assert found.n_ctx == 2
    assert found.first.tolist() == pytest.approx([2 * HALF, 3 * HALF, 3 * HALF, 1 * HALF])


def test_a_limit_and_what_is_told_on_the_way() -> None:
    heard: list[tuple[int, int]] = []
    text = np.array([0, 1, 2, 3, 0, 1, 2, 3, 0, 1])
    found = compare_models(
        unigram(ONE), unigram(OTHER), text, limit=4, rows=1, watch=lambda *told: heard.append(told)
    )
    assert found.tokens == 6
    assert heard == [(3, 4), (4, 4)]


def test_a_model_with_itself() -> None:
    tokenizer = planted.byte_tokenizer()
    model, text = planted.attention_model(tokenizer), planted.corpus(tokenizer)
    found = compare_models(model, model, text)
    assert np.array_equal(found.first, found.second)
    assert found.correlation == pytest.approx(1)
    assert found.rank_correlation == pytest.approx(1)
    assert found.first_loss == pytest.approx(evaluate(model, text), abs=1e-6)


def test_other_vocabularies_are_refused() -> None:
    planted_model = planted.attention_model(planted.byte_tokenizer())
    with pytest.raises(ConfigError, match="vocabularies of 4 and 257 tokens"):
        compare_models(unigram(ONE), planted_model, np.arange(4))


def test_a_text_shorter_than_a_window() -> None:
    with pytest.raises(DataError, match="3 tokens; a context of 3 needs at least 4"):
        compare_models(unigram(ONE), unigram(OTHER), np.arange(3))
