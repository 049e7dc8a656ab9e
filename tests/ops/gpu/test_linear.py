"""The GPU's sparse product: patterns by hand, values and gradients against float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sparsecircuits.ops import Pattern, gpu, sparse_linear
from sparsecircuits.ops.choice import GPU_DENSITY, GPU_TOKENS, sparse_pays
from sparsecircuits.ops.linear import definition
from tests.ops.compare import doubled

#       column  0    1    2    3
MATRIX = [
    [0.0, 5.0, 0.0, -2.0],
    [0.0, 0.0, 0.0, 0.0],
    [7.0, 3.0, 0.0, 0.0],
]


def random(rows: int, columns: int, density: float = 1, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=g) * (torch.rand(rows, columns, generator=g) < density)


@pytest.mark.parametrize("most", [4, 6])
def test_a_pattern_that_nothing_waits_for(device: torch.device, most: int):
    pattern = Pattern.of(torch.tensor(MATRIX, device=device), most)
    assert (pattern.rows, pattern.columns, pattern.count, pattern.spare) == (3, 4, most, True)
    assert pattern.start.tolist() == [0, 2, 2, 4]  # row 1 is empty
    assert pattern.index[:4].tolist() == [1, 3, 0, 1]
    assert pattern.column_start.tolist() == [0, 1, 3, 3, 4]  # column 2 is empty
    assert pattern.column_index[:4].tolist() == [2, 0, 2, 0]
    assert pattern.order[:4].tolist() == [2, 0, 3, 1]  # 7 is the third by rows; then 5, 3 and -2
    assert pattern.places().tolist() == [1, 3, 8, 9, 12, 12][:most]  # 12 is behind the matrix
    assert {part.dtype for part in pattern.tensors()} == {torch.int32}


def test_the_longest_rows_come_first(device: torch.device):
    rows, columns = Pattern.of(torch.tensor(MATRIX, device=device), 4).longest
    assert (rows.tolist(), columns.tolist()) == ([0, 2, 1], [1, 0, 3, 2])
    assert rows.dtype == columns.dtype == torch.int32


@pytest.mark.parametrize("most", [4, 6])
def test_values_and_back(device: torch.device, most: int):
    weight = torch.tensor(MATRIX, device=device)
    pattern = Pattern.of(weight, most)
    values = pattern.gather(weight)
    assert values.tolist() == [5.0, -2.0, 7.0, 3.0, 0.0, 0.0][:most]
    with gpu.using("off"):
        assert torch.equal(pattern.gather(weight), values)
    assert pattern.dense(values).tolist() == MATRIX
    # What stands where there is no entry goes nowhere, and has no gradient.
    values = torch.full((most,), 9.0, device=device, requires_grad=True)
    dense = pattern.dense(values)
    assert dense.sum().item() == 36
    (gradient,) = torch.autograd.grad(dense.sum(), values)
    assert gradient.tolist() == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0][:most]


def test_nan_is_an_entry_and_minus_zero_is_none(device: torch.device):
    weight = torch.tensor([[torch.nan, -0.0, 0.0, 1e-45]], device=device)
    assert Pattern.of(weight, 2).index.tolist() == [0, 3]
    assert Pattern.of(torch.zeros(2, 3, device=device), 1).start.tolist() == [0, 0, 0]


@pytest.mark.parametrize("density", [0, 0.03, 1])
def test_it_is_the_pattern_of_the_definition(device: torch.device, density: float):
    weight = random(37, 53, density).to(device)
    found = Pattern.of(weight, int(weight.count_nonzero()))
    for one, other in zip(found.tensors(), Pattern._by_definition(weight).tensors(), strict=True):
        assert torch.equal(one, other)


# Around the kernels' blocks of 16 rows and entries, 64 tokens, 1024 tokens a piece; long and empty rows.
CASES = {
    "one entry": (1, 1, 1, 1.0),
    "odd": (3, 5, 7, 0.5),
    "no entry": (5, 4, 9, 0.0),
    "one more than a block": (17, 65, 65, 0.1),
    "dense": (16, 33, 64, 1.0),
    "two pieces": (6, 7, 1030, 0.4),
    "no token": (3, 4, 0, 0.5),
}


@pytest.mark.parametrize("as_values", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_the_definition(device: torch.device, case: str, as_values: bool):
    rows, columns, tokens, density = CASES[case]
    weight = random(rows, columns, density).to(device)
    weight[: rows // 4] *= random(1, columns, 0.2, seed=4).to(device)  # some rows are shorter
    pattern = Pattern.of(weight, int(weight.count_nonzero()) + 2)
    x, bias = random(tokens, columns, seed=1).to(device), random(1, rows, seed=2)[0].to(device)
    inputs = [one.requires_grad_() for one in (x, pattern.gather(weight) if as_values else weight, bias)]
    exact, slope = doubled(*inputs), random(tokens, rows, seed=3).to(device)
    y = sparse_linear(inputs[0], inputs[1], inputs[2], pattern)
    expected = definition(exact[0], exact[1], exact[2], pattern)
    torch.testing.assert_close(y.double(), expected, atol=1e-5, rtol=1e-5)
    got = torch.autograd.grad(y, inputs, slope)
    for one, other in zip(got, torch.autograd.grad(expected, exact, slope.double()), strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("wanted", range(8))
def test_only_what_is_wanted_has_a_gradient(device: torch.device, wanted: int):
    weight = torch.tensor(MATRIX, device=device)
    pattern = Pattern.of(weight, 4)
    inputs = [torch.ones(2, 4, device=device), weight, torch.ones(3, device=device)]
    leaves = [one.requires_grad_() for place, one in enumerate(inputs) if wanted >> place & 1]
    y = sparse_linear(inputs[0], inputs[1], inputs[2], pattern)
    assert y.tolist() == [[4.0, 1.0, 11.0]] * 2
    assert y.requires_grad == bool(leaves)
    if leaves:
        right = {
            (2, 4): [[7.0, 8.0, 0.0, -2.0]] * 2,
            (3, 4): [[2.0] * 4] * 3,  # the zeros' too
            (3,): [2.0] * 3,
        }
        for leaf, gradient in zip(leaves, torch.autograd.grad(y.sum(), leaves), strict=True):
            assert gradient.tolist() == right[tuple(leaf.shape)]


@pytest.mark.parametrize("as_values", [False, True])
@pytest.mark.parametrize("master", [torch.float32, torch.bfloat16])
def test_sixteen_bits(device: torch.device, master: torch.dtype, as_values: bool):
    """Sums are taken in float32; only the result is rounded, by the interpreter towards zero."""
    weight = random(20, 40, 0.5).to(device, master)
    pattern = Pattern.of(weight, int(weight.count_nonzero()))
    weight = pattern.gather(weight) if as_values else weight
    x = random(33, 40, seed=1).to(device, torch.bfloat16)
    inputs = [x.requires_grad_(), weight.requires_grad_()]
    y = sparse_linear(inputs[0], inputs[1], None, pattern)
    exact = doubled(*inputs)
    expected = definition(exact[0], exact[1], None, pattern)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), expected, atol=1e-6, rtol=2**-7)
    slope = random(33, 20, seed=3).to(device, torch.bfloat16)
    dx, dw = torch.autograd.grad(y, inputs, slope)
    right_x, right_w = torch.autograd.grad(expected, exact, slope.double())
    assert (dx.dtype, dw.dtype) == (torch.bfloat16, master)
    torch.testing.assert_close(dx.double(), right_x, atol=1e-6, rtol=2**-7)
    # Of a dense gradient torch rounds the product to x's type.
    exactly = as_values and master == torch.float32
    torch.testing.assert_close(dw.double(), right_w, atol=1e-4, rtol=1e-5 if exactly else 2**-7)


def test_under_autocast_it_has_autocasts_type(device: torch.device):
    weight = torch.eye(3, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        y = sparse_linear(torch.full((2, 3), 1 + 2**-9, device=device), weight, None, Pattern.of(weight, 3))
    assert y.dtype == torch.bfloat16
    assert y.tolist() == [[1.0] * 3] * 2


def test_nan_goes_where_its_column_is_read_and_nowhere_else(device: torch.device):
    weight = torch.tensor(MATRIX, device=device)
    x = torch.tensor([[1.0, 1.0, torch.nan, torch.inf], [torch.inf, 1.0, 1.0, 1.0]], device=device)
    y = sparse_linear(x, weight, None, Pattern.of(weight, 6))
    assert y.tolist() == [[-torch.inf, 0.0, 10.0], [3.0, 0.0, torch.inf]]


def test_what_lies_outside_the_pattern_counts_as_zero_but_has_a_gradient(device: torch.device):
    pattern = Pattern.of(torch.eye(3, device=device), 3)
    weight, x = torch.full((3, 3), 5.0, device=device, requires_grad=True), torch.full((4, 3), 2.0)
    y = sparse_linear(x.to(device), weight, None, pattern)
    assert y.tolist() == [[10.0] * 3] * 4
    (gradient,) = torch.autograd.grad(y.sum(), weight)
    assert gradient.tolist() == [[8.0] * 3] * 3


def test_any_leading_dimensions_and_strides(device: torch.device):
    weight = torch.tensor(MATRIX, device=device)
    x = random(4, 30, seed=1).to(device).t().view(5, 6, 4)  # columns do not lie side by side
    y = sparse_linear(x, weight, None, Pattern.of(weight, 4))
    torch.testing.assert_close(y, torch.nn.functional.linear(x, weight))
    wide = random(30, 9, seed=1).to(device)[:, 2:6]  # rows lie 9 apart
    y = sparse_linear(wide, weight, None, Pattern.of(weight, 4))
    torch.testing.assert_close(y, torch.nn.functional.linear(wide, weight))


def test_it_is_taken_at_low_density_and_for_many_tokens(device: torch.device):
    weight = torch.zeros(100, 100, device=device)
    low, high = (
        Pattern.of(weight, most) for most in (int(GPU_DENSITY * 10_000), int(GPU_DENSITY * 10_000) + 1)
    )
    assert sparse_pays(low, GPU_TOKENS)
    assert not sparse_pays(low, GPU_TOKENS - 1)
    assert not sparse_pays(high, GPU_TOKENS)


def test_torch_knows_the_operators(device: torch.device):
    from sparsecircuits.ops.gpu import linear

    weight = torch.tensor(MATRIX, device=device)
    pattern = Pattern.of(weight, 4)
    rest = (*pattern.tensors(), *pattern.longest)
    x = random(5, 4, seed=1).to(device).requires_grad_()
    for one in (weight.requires_grad_(), pattern.gather(weight).requires_grad_()):
        torch.library.opcheck(linear._sparse_linear, (x, one, None, *rest))
    slope, turned = random(5, 3).to(device), linear.turned(x.detach())
    for wanted in ([True] * 3, [False, True, False]):
        torch.library.opcheck(linear._sparse_linear_backward, (slope, turned, weight.detach(), *rest, wanted))
