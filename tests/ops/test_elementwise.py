"""RMSNorm, GELU, and GELU with AbsTopK: by hand, and value and gradient against torch's in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sparsecircuits.ops import abs_topk, gelu, gelu_abs_topk, rms_norm
from tests.ops.compare import FEW_EXAMPLES, KINDS, WIDTHS, assert_same_bits, doubled, numbers, threads


def test_a_norm_by_hand(kernel: str):
    # The mean square of (3, 4, 0, 0, 0) is 5; with 4 more, its root is 3.
    x, weight = torch.tensor([3.0, 4.0, 0.0, 0.0, 0.0]), torch.tensor([1.0, 6.0, 1.0, 1.0, 1.0])
    assert rms_norm(x, weight, eps=4.0).tolist() == pytest.approx([1.0, 8.0, 0.0, 0.0, 0.0])


@FEW_EXAMPLES
@given(
    rows=st.sampled_from([1, 3, 50]),
    width=st.sampled_from(WIDTHS),
    scale=st.sampled_from([1e-3, 1.0, 100.0]),
    eps=st.sampled_from([None, 0.1, 1e-5]),
    transposed=st.booleans(),
    cores=st.sampled_from([1, 2]),
)
def test_norms_are_those_of_torch(
    kernel: str, rows: int, width: int, scale: float, eps: float | None, transposed: bool, cores: int
):
    g = torch.Generator().manual_seed(width)
    x = torch.randn(rows, width, generator=g) * scale
    x = (x.T.contiguous().T if transposed else x).requires_grad_()
    weight = torch.randn(width, generator=g).requires_grad_()
    slope = torch.randn(rows, width, generator=g)
    with threads(cores):
        y = rms_norm(x, weight, eps)
        gradients = torch.autograd.grad(y, (x, weight), slope)
    exact = doubled(x, weight)
    used = torch.finfo(torch.float32).eps if eps is None else eps
    expected = F.rms_norm(exact[0], (width,), exact[1], used)
    torch.testing.assert_close(y.double(), expected, atol=1e-5, rtol=1e-5)
    for got, right in zip(gradients, torch.autograd.grad(expected, exact, slope.double()), strict=True):
        tolerance = 1e-6 * max(10.0, right.abs().max().item(), 1 / scale)
        torch.testing.assert_close(got.double(), right, atol=tolerance, rtol=1e-5)


def test_gelu_at_one_by_hand(kernel: str):
    x = torch.tensor([1.0], requires_grad=True)
    y = gelu(x)
    below = 0.5 * (1 + math.erf(math.sqrt(0.5)))
    assert y.item() == pytest.approx(below, abs=1e-7)
    (slope,) = torch.autograd.grad(y, x)
    assert slope.item() == pytest.approx(below + math.exp(-0.5) / math.sqrt(2 * math.pi), abs=1e-6)


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("count", [1, 15, 17, 20_001])
def test_gelu_is_that_of_torch(kernel: str, count: int, cores: int):
    x = torch.linspace(-12, 12, count).requires_grad_()
    slope = torch.randn(count, generator=torch.Generator().manual_seed(0))
    with threads(cores):
        y = gelu(x)
        (gradient,) = torch.autograd.grad(y, x, slope)
    (exact,) = doubled(x)
    expected = F.gelu(exact)
    torch.testing.assert_close(y.double(), expected, atol=1e-6, rtol=1e-6)
    (right,) = torch.autograd.grad(expected, exact, slope.double())
    torch.testing.assert_close(gradient.double(), right, atol=3e-6, rtol=1e-5)


def test_gelu_of_huge_numbers_is_finite(kernel: str):
    sizes = [1e30] if kernel == "off" else [1e30, 3e38]  # torch's own overflows at the second
    x = torch.tensor([*sizes, *(-size for size in sizes)], requires_grad=True)
    y = gelu(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert y.tolist() == [*x[: len(sizes)].tolist(), *[0.0] * len(sizes)]
    assert slope.tolist() == [*[1.0] * len(sizes), *[0.0] * len(sizes)]


def test_shapes_and_nan(kernel: str):
    assert gelu(torch.zeros(0, 4)).shape == (0, 4)
    assert rms_norm(torch.zeros(0, 4), torch.ones(4)).shape == (0, 4)
    x = torch.arange(6.0).view(2, 3).T
    torch.testing.assert_close(gelu(x), gelu(x.contiguous()))
    assert gelu(torch.tensor([torch.nan])).isnan()
    assert rms_norm(torch.tensor([1.0, torch.nan]), torch.ones(2)).isnan().all()


def test_gelu_and_topk_by_hand(kernel: str):
    # GELU of -3 is -0.004 and of -0.5 it is -0.154: what was larger in magnitude is not afterwards.
    x = torch.tensor([-3.0, -0.5, 0.1, 2.0], requires_grad=True)
    y = gelu_abs_topk(x, 2)
    assert y.tolist() == pytest.approx([0.0, -0.1542688, 0.0, 1.9544997])
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert slope.tolist() == pytest.approx([0.0, 0.1325049, 0.0, 1.0852318], abs=1e-6)


@FEW_EXAMPLES
@given(
    kind=st.sampled_from(sorted(KINDS)),
    rows=st.sampled_from([1, 2, 5, 17, 70]),
    width=st.sampled_from(WIDTHS[1:]),
    transposed=st.booleans(),
    cores=st.sampled_from([1, 2]),
    data=st.data(),
)
def test_gelu_and_topk_in_one_pass_equal_the_two_bit_for_bit(
    kernel: str, kind: str, rows: int, width: int, transposed: bool, cores: int, data: st.DataObject
):
    k = data.draw(st.integers(1, width))
    x = numbers(kind, (rows, width))
    x = (x.T.contiguous().T if transposed else x).requires_grad_()
    slope = numbers("normal", (rows, width), seed=1)
    with threads(cores):
        y, expected = gelu_abs_topk(x, k), abs_topk(gelu(x), k)
        (gradient,), (right,) = (torch.autograd.grad(one, x, slope) for one in (y, expected))
    assert_same_bits(y, expected)
    known = ~right.isnan()  # the two give 0 · NaN at a dropped NaN or infinity, the one pass 0
    assert torch.equal(gradient[known], right[known])


@pytest.mark.parametrize("width", [512, 600])
def test_many_rows_of_gelu_and_topk_on_two_threads(kernel: str, width: int):
    x, slope = numbers("normal", (1200, width)).requires_grad_(), numbers("normal", (1200, width), seed=1)
    with threads(2):
        y, expected = gelu_abs_topk(x, width // 4), abs_topk(gelu(x), width // 4)
        gradient, right = (torch.autograd.grad(one, x, slope)[0] for one in (y, expected))
    assert_same_bits(y, expected)
    assert torch.equal(gradient, right)


def test_gelu_and_topk_of_too_few_is_an_error(kernel: str):
    with pytest.raises(ValueError, match="k = 0"):
        gelu_abs_topk(torch.ones(3), 0)
