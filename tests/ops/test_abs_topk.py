"""AbsTopK: exact values on rows that a person can check, a three-line reference, and kernels bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparsecircuits.ops import abs_topk
from sparsecircuits.ops.abs_topk import definition
from tests.ops.compare import FEW_EXAMPLES, KINDS, WIDTHS, assert_same_bits, numbers, threads

pytestmark = pytest.mark.usefixtures("kernel")

TYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def naive(row: list[float], k: int) -> list[float]:
    """Sort by (magnitude descending, index ascending) and keep the first k."""
    kept = sorted(range(len(row)), key=lambda i: (-abs(row[i]), i))[:k]
    return [x if i in kept else 0.0 for i, x in enumerate(row)]


@pytest.mark.parametrize("dtype", TYPES)
def test_keeps_the_largest_in_magnitude(dtype: torch.dtype):
    x = torch.tensor([[3.0, -1.0, 0.5, -4.0, 2.0], [0.0, 1.0, -5.0, 6.0, 7.0]], dtype=dtype)
    y = abs_topk(x, 2)
    assert y.dtype == dtype
    assert y.tolist() == [[3.0, 0.0, 0.0, -4.0, 0.0], [0.0, 0.0, 0.0, 6.0, 7.0]]


@pytest.mark.parametrize("dtype", TYPES)
def test_of_equal_magnitudes_the_lowest_index_stays(dtype: torch.dtype):
    x = torch.tensor([[1.0, -1.0, 1.0, -1.0], [2.0, -1.0, 3.0, 1.0], [5.0, 5.0, 5.0, 6.0]], dtype=dtype)
    expected = [[1.0, -1.0, 1.0, 0.0], [2.0, -1.0, 3.0, 0.0], [5.0, 5.0, 0.0, 6.0]]
    assert abs_topk(x, 3).tolist() == expected


def test_a_row_of_zeros_stays_and_its_gradient_goes_to_the_first_k():
    x = torch.zeros(1, 4, requires_grad=True)
    y = abs_topk(x, 2)
    y.sum().backward()
    assert y.tolist() == [[0.0] * 4]
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("k", [3, 4, 100])
def test_k_of_the_whole_row_or_more_is_the_input_itself(k: int):
    x = torch.tensor([1.0, -2.0, 0.0])
    assert abs_topk(x, k) is x


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_an_error(k: int):
    with pytest.raises(ValueError, match=f"k = {k}"):
        abs_topk(torch.ones(3), k)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_gradient_goes_to_the_kept_entries_alone(dtype: torch.dtype):
    x = torch.tensor([3.0, -1.0, 1.0, -4.0], dtype=dtype, requires_grad=True)
    (abs_topk(x, 3) * torch.tensor([10.0, 20.0, 30.0, 40.0], dtype=dtype)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [10.0, 20.0, 0.0, 40.0]  # of the two ones the first is kept


def test_a_tensor_that_is_not_contiguous():
    x = torch.tensor([[1.0, 4.0], [-3.0, 2.0], [2.0, -6.0]]).T  # rows 1 -3 2 and 4 2 -6
    assert not x.is_contiguous()
    assert abs_topk(x, 1).tolist() == [[0.0, -3.0, 0.0], [0.0, 0.0, -6.0]]
    strided = torch.arange(12.0).view(2, 6)[:, ::2]  # rows 0 2 4 and 6 8 10
    assert abs_topk(strided, 2).tolist() == [[0.0, 2.0, 4.0], [0.0, 8.0, 10.0]]


def test_many_and_no_leading_dimensions():
    x = torch.tensor([1.0, 2.0, 3.0])
    assert abs_topk(x, 1).tolist() == [0.0, 0.0, 3.0]
    assert abs_topk(x.expand(2, 1, 4, 3), 1).tolist() == [[[[0.0, 0.0, 3.0]] * 4]] * 2
    assert abs_topk(torch.zeros(0, 5), 2).shape == (0, 5)


@pytest.mark.parametrize("dtype", TYPES)
def test_nan_stays_and_counts_among_the_k(dtype: torch.dtype):
    y = abs_topk(torch.tensor([1.0, torch.nan, -3.0, 2.0], dtype=dtype), 2)
    assert y[1].isnan()
    assert y[[0, 2, 3]].tolist() == [0.0, -3.0, 0.0]


VALUES = st.sampled_from([0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0]) | st.floats(-8, 8, width=16)


@FEW_EXAMPLES
@given(st.lists(st.lists(VALUES, min_size=5, max_size=5), min_size=1, max_size=3), st.integers(1, 5))
def test_equals_the_naive_reference_in_value_and_gradient(rows: list[list[float]], k: int):
    expected = [naive(row, k) for row in rows]
    for dtype in (torch.float64, torch.float32, torch.float16):  # numpy's, the kernels', torch's selection
        x = torch.tensor(rows, dtype=dtype, requires_grad=True)
        y = abs_topk(x, k)
        assert y.tolist() == expected
        assert kept_places(x, y).sum(-1).tolist() == [k] * len(rows)


def kept_places(x: Tensor, y: Tensor) -> Tensor:
    """1 where the gradient of y reaches x: the places that were kept."""
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return gradient


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda x: x,
    "transposed": lambda x: x.T.contiguous().T,
    "every other": lambda x: torch.stack([x, x], -1).flatten(-2)[:, ::2],
    "chunk": lambda x: torch.cat([x, x, x], 1).chunk(3, 1)[1],
    "batches of chunks": lambda x: torch.cat([x, x], 1).expand(2, -1, -1).contiguous()[..., : x.shape[1]],
    "apart": lambda x: torch.stack([x, x])[:, ::2],
}


@FEW_EXAMPLES
@given(
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(sorted(VIEWS)),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.sampled_from([1, 2, 5, 17, 70]),
    st.sampled_from(WIDTHS[1:]),
    st.sampled_from([1, 2]),
    st.data(),
)
def test_kernels_equal_the_definition_bit_for_bit(
    kind: str, view: str, dtype: torch.dtype, rows: int, width: int, cores: int, data: st.DataObject
):
    k = data.draw(st.integers(1, width - 1))
    x = VIEWS[view](numbers(kind, (rows, width)).to(dtype)).detach().requires_grad_()
    slope = numbers("ties and zeros", (x.numel() // width, width), seed=1).to(dtype).view(x.shape)
    with threads(cores):
        y = abs_topk(x, k)
        (gradient,) = torch.autograd.grad(y, x, slope)
    expected = definition(x, k)
    assert_same_bits(y, expected)
    assert_same_bits(gradient, torch.autograd.grad(expected, x, slope)[0])


@pytest.mark.parametrize("width", [512, 600])
def test_many_rows_on_two_threads(width: int):
    """More than the cache holds, where the kernels write past it."""
    x, slope = numbers("normal", (1200, width)).requires_grad_(), numbers("normal", (1200, width), seed=1)
    with threads(2):
        y = abs_topk(x, width // 4)
        (gradient,) = torch.autograd.grad(y, x, slope)
    expected = definition(x, width // 4)
    assert_same_bits(y, expected)
    assert_same_bits(gradient, torch.autograd.grad(expected, x, slope)[0])


def test_a_dimension_of_one_has_any_stride():
    x = torch.randn(2, 20, 5, generator=torch.Generator().manual_seed(0))[:, None][:, :, :3]
    assert torch.equal(abs_topk(x, 2), definition(x, 2))


@pytest.mark.parametrize("dtype", TYPES)
def test_infinity_is_larger_than_the_largest_number(dtype: torch.dtype):
    x = torch.tensor([torch.finfo(dtype).max, torch.inf], dtype=dtype)
    assert abs_topk(x, 1).tolist() == [0.0, torch.inf]
