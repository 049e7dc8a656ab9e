"""The sparse product: a pattern written out by hand, and values and gradients against float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparsecircuits.ops import Pattern, sparse_linear
from sparsecircuits.ops.linear import definition
from tests.ops.compare import FEW_EXAMPLES, doubled, threads

#       column  0    1    2    3
MATRIX = [
    [0.0, 5.0, 0.0, -2.0],
    [0.0, 0.0, 0.0, 0.0],
    [7.0, 3.0, 0.0, 0.0],
]


def matrix() -> Tensor:
    return torch.tensor(MATRIX)


def random(rows: int, columns: int, density: float, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=g) * (torch.rand(rows, columns, generator=g) < density)


def test_a_pattern_by_rows_and_by_columns(kernel: str):
    pattern = Pattern.of(matrix())
    assert (pattern.rows, pattern.columns, pattern.count, pattern.density) == (3, 4, 4, 1 / 3)
    assert pattern.start.tolist() == [0, 2, 2, 4]  # row 1 is empty
    assert pattern.index.tolist() == [1, 3, 0, 1]
    assert pattern.column_start.tolist() == [0, 1, 3, 3, 4]  # column 2 is empty
    assert pattern.column_index.tolist() == [2, 0, 2, 0]
    assert pattern.order.tolist() == [2, 0, 3, 1]  # 7 is the third by rows; then 5, 3 and -2
    assert pattern.places().tolist() == [1, 3, 8, 9]
    assert {part.dtype for part in pattern.tensors()} == {torch.int32}


def test_values_by_rows_and_back(kernel: str):
    pattern = Pattern.of(matrix())
    values = pattern.gather(matrix())
    assert values.tolist() == [5.0, -2.0, 7.0, 3.0]
    assert pattern.dense(values).tolist() == MATRIX
    assert Pattern.of(matrix().double()).gather(matrix().double()).tolist() == values.tolist()


@pytest.mark.parametrize("weight", [matrix().T, random(33, 65, 0.2), torch.zeros(3, 4), torch.ones(2, 3)])
def test_a_pattern_from_its_rows(kernel: str, weight: Tensor):
    pattern = Pattern.of(weight)
    again = Pattern.from_rows(pattern.rows, pattern.columns, pattern.start, pattern.index)
    for one, other in zip(pattern.tensors(), again.tensors(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(pattern.dense(pattern.gather(weight)), weight)


def test_nan_is_an_entry_and_minus_zero_is_none(kernel: str):
    assert Pattern.of(torch.tensor([[torch.nan, -0.0, 0.0, 1e-45]])).index.tolist() == [0, 3]


@pytest.mark.parametrize("tokens", [1, 6])  # one by one, and many at once
def test_a_product_by_hand(kernel: str, tokens: int):
    x = torch.tensor([[1.0, 10.0, 100.0, 1000.0]]).repeat(tokens, 1)
    y = sparse_linear(x, matrix(), torch.tensor([0.5, 0.25, 0.0]), Pattern.of(matrix()))
    assert y.tolist() == [[50 - 2000 + 0.5, 0.25, 7 + 30]] * tokens


@FEW_EXAMPLES
@given(
    shape=st.tuples(*(st.sampled_from([1, 3, 16, 33, 64, 100, 257, 520]),) * 2),
    density=st.sampled_from([0, 0.01, 0.3, 1]),
    tokens=st.sampled_from([1, 2, 3, 4, 5, 63, 64, 65, 300]),
    as_values=st.booleans(),
    bias=st.booleans(),
    wanted=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    slopes=st.sampled_from([0, 0.02, 0.25, 1]),
    transposed=st.booleans(),
    cores=st.sampled_from([1, 2]),
)
def test_values_and_gradients_are_those_of_the_definition(
    kernel: str,
    shape: tuple[int, int],
    density: float,
    tokens: int,
    as_values: bool,
    bias: bool,
    wanted: tuple[bool, bool, bool],
    slopes: float,
    transposed: bool,
    cores: int,
):
    rows, columns = shape
    weight = random(rows, columns, density)
    pattern = Pattern.of(weight)
    x = random(columns, tokens, 1, seed=1).T if transposed else random(tokens, columns, 1, seed=1)
    inputs = [x, pattern.gather(weight) if as_values else weight] + [random(1, rows, 1, seed=2)[0]] * bias
    for one, want in zip(inputs, wanted, strict=False):
        one.requires_grad_(want)
    exact = doubled(*inputs)
    slope = random(tokens, rows, slopes, seed=3)  # with few nonzero ones the sum goes through them alone

    with threads(cores):
        y = sparse_linear(inputs[0], inputs[1], inputs[2] if bias else None, pattern)
    expected = definition(exact[0], exact[1], exact[2] if bias else None, pattern)
    torch.testing.assert_close(y.double(), expected, atol=1e-4, rtol=1e-5)
    assert y.requires_grad == any(one.requires_grad for one in inputs)
    if y.requires_grad:
        with threads(cores):
            got = torch.autograd.grad(y, [one for one in inputs if one.requires_grad], slope)
        right = torch.autograd.grad(expected, [one for one in exact if one.requires_grad], slope.double())
        for one, other in zip(got, right, strict=True):
            torch.testing.assert_close(one.double(), other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tokens", [2, 9])
def test_what_lies_outside_the_pattern_counts_as_zero_but_has_a_gradient(kernel: str, tokens: int):
    pattern = Pattern.of(torch.eye(3))
    weight, x = torch.full((3, 3), 5.0, requires_grad=True), torch.full((tokens, 3), 2.0)
    y = sparse_linear(x, weight, None, pattern)
    assert y.tolist() == [[10.0] * 3] * tokens  # 5 · 2, not three times that
    (gradient,) = torch.autograd.grad(y.sum(), weight)
    assert gradient.tolist() == [[2.0 * tokens] * 3] * 3


@pytest.mark.parametrize("shape", [(3,), (2, 3, 3), (1, 1, 2, 3), (0, 3)])
def test_any_leading_dimensions(kernel: str, shape: tuple[int, ...]):
    x = torch.arange(18.0)[: torch.Size(shape).numel()].view(shape)
    assert torch.equal(sparse_linear(x, torch.eye(3) * 2, None, Pattern.of(torch.eye(3))), 2 * x)


@pytest.mark.parametrize(
    ("x", "weight", "bias"),
    [((2, 3), (3, 4), None), ((2, 4), (4, 3), None), ((2, 4), (5,), None), ((2, 4), (3, 4), (1,))],
)
def test_shapes_that_do_not_fit(
    kernel: str, x: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...] | None
):
    with pytest.raises(ValueError, match="a pattern of 3 x 4 with 4 entries does not fit"):
        sparse_linear(
            torch.zeros(x), torch.zeros(weight), torch.zeros(bias) if bias else None, Pattern.of(matrix())
        )
