"""Cross entropy with the bigram table: two rows by hand, and value and gradient against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparsecircuits.ops import bigram_cross_entropy
from tests.ops.compare import FEW_EXAMPLES, doubled, threads


def test_two_rows_by_hand(kernel: str):
    # Token 0 adds (0, ln 3), token 1 adds nothing: probabilities 1/4 and 3/4, then a half each.
    table = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]], requires_grad=True)
    logits = torch.zeros(2, 2, requires_grad=True)
    loss = bigram_cross_entropy(logits, torch.tensor([1, 0]), table, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    slope, table_slope = torch.autograd.grad(loss, (logits, table))
    expected = torch.tensor([[1 / 8, -1 / 8], [-1 / 4, 1 / 4]])  # (probability - target) / 2
    torch.testing.assert_close(slope, expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(table_slope, expected, atol=1e-7, rtol=0)  # each token comes once


@FEW_EXAMPLES
@given(
    rows=st.sampled_from([1, 2, 17, 300]),
    vocab=st.sampled_from([1, 2, 37, 64]),
    scale=st.sampled_from([1.0, 100.0, 1e4]),
    with_table=st.booleans(),
    table_learns=st.booleans(),
    transposed=st.booleans(),
    cores=st.sampled_from([1, 2]),
)
def test_values_and_gradients_are_those_of_torch(
    kernel: str,
    rows: int,
    vocab: int,
    scale: float,
    with_table: bool,
    table_learns: bool,
    transposed: bool,
    cores: int,
):
    g = torch.Generator().manual_seed(rows + vocab)
    logits = torch.randn(rows, vocab, generator=g) * scale
    logits = (logits.T.contiguous().T if transposed else logits).requires_grad_()
    table = torch.randn(vocab, vocab, generator=g).requires_grad_(table_learns)
    token, target = torch.randint(0, vocab, (2, rows), generator=g)
    leaves: list[Tensor] = [logits, table] if with_table and table_learns else [logits]

    with threads(cores):
        loss = bigram_cross_entropy(logits, target, table if with_table else None, token)
        gradients = torch.autograd.grad(3 * loss, leaves)
    exact, exact_table = doubled(logits, table)
    expected = F.cross_entropy(exact + exact_table[token] if with_table else exact, target)
    torch.testing.assert_close(loss.double(), expected, atol=1e-5, rtol=1e-5)
    right = torch.autograd.grad(3 * expected, [exact, exact_table][: len(leaves)])
    for got, one in zip(gradients, right, strict=True):
        # float32 holds a logit of 1e4 to 1e-3, and so a probability
        torch.testing.assert_close(got.double(), one, atol=1e-5 if scale < 1e4 else 3e-3 / rows, rtol=1e-4)


@pytest.mark.parametrize("vocab", [37, 64])
@pytest.mark.parametrize("what", ["token", "target"])
@pytest.mark.parametrize("beyond", [0, 1000, None])
def test_an_id_that_does_not_exist_is_an_error(kernel: str, vocab: int, what: str, beyond: int | None):
    ids = {"token": torch.tensor([1, 2]), "target": torch.tensor([3, 4])}
    ids[what][1] = -1 if beyond is None else vocab + beyond
    with pytest.raises(IndexError):
        bigram_cross_entropy(torch.zeros(2, vocab), ids["target"], torch.zeros(vocab, vocab), ids["token"])


def test_nan_is_seen_in_the_loss(kernel: str):
    logits = torch.zeros(5, 37)
    logits[3, 20] = torch.nan
    ids = torch.arange(5)
    assert bigram_cross_entropy(logits, ids, None, ids).isnan()
    assert bigram_cross_entropy(torch.zeros(5, 5), ids, torch.eye(5) * torch.nan, ids).isnan()
