"""Between frozen and live: by hand, and value and gradient against the definition's in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsecircuits.ops import mix
from sparsecircuits.ops.mix import definition
from tests.ops.compare import FEW_EXAMPLES, WIDTHS, doubled, threads


def test_a_share_by_hand(kernel: str):
    x, keep = torch.tensor([[[2.0, 2.0, 2.0]]]), torch.tensor([1.0, 0.25, 0.0])
    assert mix(x, keep, torch.tensor([6.0, 6.0, 6.0])).tolist() == [[[2.0, 5.0, 6.0]]]


@FEW_EXAMPLES
@given(
    rows=st.sampled_from([1, 3]),
    pos=st.sampled_from([1, 7, 200]),
    width=st.sampled_from(WIDTHS),
    own_keep=st.booleans(),
    own_mean=st.booleans(),
    cores=st.sampled_from([1, 2]),
)
def test_value_and_gradient_are_the_definitions(
    kernel: str, rows: int, pos: int, width: int, own_keep: bool, own_mean: bool, cores: int
):
    g = torch.Generator().manual_seed(width + pos)
    x = torch.randn(rows, pos, width, generator=g, requires_grad=True)
    keep = torch.rand(*([rows] if own_keep else []), width, generator=g, requires_grad=True)
    mean = torch.randn(*([rows] if own_mean else []), width, generator=g)
    slope = torch.randn(rows, pos, width, generator=g)
    with threads(cores):
        y = mix(x, keep, mean)
        gradients = torch.autograd.grad(y, (x, keep), slope)
    exact = doubled(x, keep)
    expected = definition(exact[0], exact[1], mean.double())
    torch.testing.assert_close(y.double(), expected, atol=1e-5, rtol=1e-5)
    for got, right in zip(gradients, torch.autograd.grad(expected, exact, slope.double()), strict=True):
        torch.testing.assert_close(got.double(), right, atol=1e-4, rtol=1e-4)


def test_what_is_kept_or_frozen_is_exact(kernel: str):
    g = torch.Generator().manual_seed(0)
    x, mean = torch.randn(2, 5, 33, generator=g) * 1e3, torch.randn(33, generator=g)
    keep = (torch.rand(2, 33, generator=g) > 0.5).float()
    y = mix(x, keep, mean)
    assert torch.equal(y, torch.where(keep[:, None] > 0, x, mean))


def test_a_frozen_value_may_have_a_gradient_too(kernel: str):
    x, keep, mean = torch.ones(1, 2, 3), torch.full((3,), 0.25), torch.zeros(3, requires_grad=True)
    (slope,) = torch.autograd.grad(mix(x, keep, mean).sum(), mean)
    assert slope.tolist() == pytest.approx([1.5, 1.5, 1.5])
