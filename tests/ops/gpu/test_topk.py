"""AbsTopK on a GPU equals the definition bit for bit, whatever the numbers; GELU and RMSNorm to rounding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sparsecircuits.ops import abs_topk, gelu_abs_topk, gpu, rms_norm_abs_topk
from sparsecircuits.ops.abs_topk import definition, kept_mask
from sparsecircuits.ops.strides import even_rows
from tests.ops.compare import KINDS, assert_same_bits, numbers

pytest.importorskip("triton")

from sparsecircuits.ops.gpu import topk  # noqa: E402

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
OPS = torch.ops.sparsecircuits_gpu


def every_kind(rows: int, dim: int, seed: int = 0) -> Tensor:
    """[rows of each kind, dim]."""
    return torch.cat([numbers(kind, (rows, dim), seed) for kind in KINDS])


def gradient(y: Tensor, x: Tensor, slope: Tensor) -> Tensor:
    return torch.autograd.grad(y, x, slope)[0]


CASES_BY_TYPE = {
    torch.float32: (2, 7, 64, 127, 128, 130, 1000),
    torch.bfloat16: (7, 64, 128, 130, 1000),
    torch.float16: (7, 128, 130),
}


@pytest.mark.parametrize(("dtype", "dim"), [(t, dim) for t, dims in CASES_BY_TYPE.items() for dim in dims])
def test_equals_the_definition_bit_for_bit(device: torch.device, dtype: torch.dtype, dim: int):
    x = every_kind(1, dim).to(device, dtype).requires_grad_()
    slope = every_kind(1, dim, seed=1).to(device, dtype)
    for k in {1, max(1, dim // 4), dim - 1}:
        y, expected = abs_topk(x, k), definition(x, k)
        assert_same_bits(y, expected)
        assert_same_bits(gradient(y, x, slope), gradient(expected, x, slope))


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_many_equal_magnitudes_the_lowest_indices_stay(device: torch.device, dtype: torch.dtype):
    # A row of 1, -1, 1, ... with one 2 at its end: the 2 and the first k - 1 others stay.
    x = torch.ones(3, 200, device=device, dtype=dtype)
    x[:, 1::2] = -1
    x[:, -1] = 2
    kept = abs_topk(x, 70) != 0
    assert kept.nonzero()[:, 1].view(3, 70).tolist() == [[*range(69), 199]] * 3


def test_rounded_normal_numbers_tie_at_the_threshold(device: torch.device):
    """In bfloat16 most rows have several entries at the threshold; not all of them may stay."""
    x = torch.randn(24, 1024, generator=torch.Generator().manual_seed(0)).to(device, torch.bfloat16)
    magnitude = x.abs()
    threshold = magnitude.sort(-1, descending=True).values[:, 255:256]
    straddled = (magnitude >= threshold).sum(-1) > 256
    assert straddled.sum() > 8
    y = abs_topk(x, 256)
    assert (y != 0).sum(-1).tolist() == [256] * 24
    assert_same_bits(y, definition(x, 256))


def test_what_backward_keeps_is_a_bit_for_each_entry(device: torch.device):
    x = torch.zeros(2, 40, device=device)
    x[0, [0, 3]] = torch.tensor([3.0, -4.0], device=device)
    x[1, [31, 39]] = 1.0
    _, words = OPS.abs_topk(x, 2)
    # Row 0: bits 0 and 3 of its first word, 1 + 8. Row 1: bit 31, which is the sign, and 39 - 32 = 7.
    assert words.tolist() == [[9, 0], [-(2**31), 128]]


@pytest.mark.parametrize("k", [3, 40])
def test_rows_that_lie_apart_are_read_where_they_are(device: torch.device, k: int):
    whole = torch.randn(2, 3, 150, generator=torch.Generator().manual_seed(0)).to(device)
    part = whole[..., 50:100]
    rows = even_rows(part)
    assert rows.step == 150
    assert rows.x.data_ptr() == part.data_ptr()
    assert_same_bits(abs_topk(part, k), definition(part.contiguous(), k))
    assert_same_bits(abs_topk(whole.transpose(1, 2), 2), definition(whole.transpose(1, 2).contiguous(), 2))


def test_no_rows_and_one_dimension(device: torch.device):
    x = torch.zeros(0, 5, device=device, requires_grad=True)
    y = abs_topk(x, 2)
    y.sum().backward()
    assert x.grad is not None
    assert y.shape == x.grad.shape == (0, 5)
    assert abs_topk(torch.tensor([1.0, 2.0, 3.0], device=device), 1).tolist() == [0.0, 0.0, 3.0]


def test_the_widest_row_and_one_wider(device: torch.device):
    x = torch.randn(2, 8193, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    assert gpu.WIDEST_ROW == 8192
    for dim, ours in ((8192, True), (8193, False)):
        y = abs_topk(x[:, :dim], 2048)
        assert ("sparsecircuits_gpu" in y.grad_fn.name()) is ours  # type: ignore[union-attr]
        assert_same_bits(y, definition(x[:, :dim].contiguous(), 2048))


def exact_gelu(x: Tensor) -> Tensor:
    """``x`` float32 through erf in float64, rounded where the kernel rounds."""
    return (x * 0.5) * (1 + torch.erf((x * torch.tensor(math.sqrt(0.5))).double()).float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [7, 130])
def test_gelu_before_it(device: torch.device, dim: int, dtype: torch.dtype):
    x = (2 * numbers("normal", (9, dim))).to(device, dtype).requires_grad_()
    slope = numbers("normal", (9, dim), seed=1).to(device, dtype)
    k = dim // 3
    y = gelu_abs_topk(x, k)
    with gpu.using("off"):
        expected = gelu_abs_topk(x, k)
    epsilon = torch.finfo(dtype).eps
    torch.testing.assert_close(y, expected, atol=4 * epsilon, rtol=4 * epsilon)
    assert (y != 0).sum(-1).tolist() == [k] * 9
    wanted = gradient(expected, x, slope)
    torch.testing.assert_close(gradient(y, x, slope), wanted, atol=4 * epsilon, rtol=4 * epsilon)
    if device.type == "cpu":  # the interpreter's erf is float64's
        activated = exact_gelu(x.detach().float()).to(dtype)
        assert torch.equal(y != 0, kept_mask(activated.abs(), k))


@pytest.mark.parametrize(("rows", "dim"), [(1, 2), (9, 7), (70, 64), (5, 130), (3, 1000)])
def test_the_norm_before_it(device: torch.device, rows: int, dim: int):
    x = (3 * numbers("normal", (rows, dim))).to(device).requires_grad_()
    weight = (1 + numbers("normal", (1, dim), seed=2)[0].abs()).to(device).requires_grad_()
    slope = numbers("normal", (rows, dim), seed=1).to(device)
    k = max(1, dim // 4)
    got = rms_norm_abs_topk(x, weight, k, 1e-5)
    assert "rms_norm_abs_topk" in got.grad_fn.name()  # type: ignore[union-attr]
    with gpu.using("off"):
        expected = rms_norm_abs_topk(x, weight, k, 1e-5)
    assert torch.equal(got != 0, expected != 0)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)
    wanted = torch.autograd.grad(expected, (x, weight), slope)
    for mine, theirs in zip(torch.autograd.grad(got, (x, weight), slope), wanted, strict=True):
        assert theirs.count_nonzero() > 0
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_the_norm_by_hand(device: torch.device):
    # Mean of squares (1 + 49 + 25 + 25) / 4 = 25, so divided by 5; times the weights: 1/5, 14/5, -1, 4.
    x = torch.tensor([[1.0, 7.0, -5.0, 5.0]], device=device)
    weight = torch.tensor([1.0, 2.0, 1.0, 4.0], device=device)
    y = rms_norm_abs_topk(x, weight, 2, 1e-12)
    torch.testing.assert_close(y, torch.tensor([[0.0, 2.8, 0.0, 4.0]], device=device))


def test_the_norm_in_bfloat16_under_weights_in_float32(device: torch.device):
    x = numbers("normal", (6, 96)).to(device, torch.bfloat16).requires_grad_()
    weight = torch.ones(96, device=device, requires_grad=True)
    y = rms_norm_abs_topk(x, weight, 24)
    y.sum().backward()
    assert x.grad is not None
    assert weight.grad is not None
    assert (y.dtype, x.grad.dtype, weight.grad.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    # The weight's gradient is the sum of what was kept of its column, at weight 1.
    torch.testing.assert_close(weight.grad, y.detach().float().sum(0), atol=0.03, rtol=0)


def test_the_rows_of_many_programs_add_up(device: torch.device, monkeypatch: pytest.MonkeyPatch):
    """Seven programs of up to 64 rows each, the last one with fewer."""
    monkeypatch.setattr(topk, "_PROGRAMS", 8)
    x = numbers("normal", (400, 8)).to(device).requires_grad_()
    weight = torch.ones(8, device=device, requires_grad=True)
    slope = numbers("normal", (400, 8), seed=1).to(device)
    (got,) = torch.autograd.grad(rms_norm_abs_topk(x, weight, 2, 1e-6), weight, slope)
    with gpu.using("off"):
        (expected,) = torch.autograd.grad(rms_norm_abs_topk(x, weight, 2, 1e-6), weight, slope)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-5)


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CASES = {
    "abs_topk": lambda: (leaf(3, 20).requires_grad_(), 5),
    "abs_topk_backward": lambda: (leaf(3, 20), OPS.abs_topk(leaf(3, 20), 5)[1]),
    "gelu_abs_topk": lambda: (leaf(3, 20).requires_grad_(), 5),
    "gelu_abs_topk_backward": lambda: (leaf(3, 20), leaf(3, 20, seed=1), OPS.abs_topk(leaf(3, 20), 5)[1]),
    "rms_norm_abs_topk": lambda: (leaf(3, 20).requires_grad_(), leaf(20).requires_grad_(), 1e-5, 5),
    "rms_norm_abs_topk_backward": lambda: (
        leaf(3, 20),
        leaf(3, 20, seed=1),
        leaf(20),
        leaf(3),
        OPS.abs_topk(leaf(3, 20), 5)[1],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_torch_finds_nothing_wrong(device: torch.device, name: str):
    if device.type != "cpu":
        pytest.skip("the cases are on the CPU")
    torch.library.opcheck(getattr(OPS, name).default, CASES[name]())


def test_a_compiled_function_gives_the_same(device: torch.device):
    def both(x: Tensor, weight: Tensor) -> Tensor:
        return gelu_abs_topk(rms_norm_abs_topk(x, weight, 9, 1e-5), 4) + abs_topk(x, 3)

    inputs = (leaf(5, 12).to(device).requires_grad_(), leaf(12, seed=1).to(device).requires_grad_())
    torch.compiler.reset()
    got = torch.compile(both, backend="aot_eager", fullgraph=True)(*inputs)
    expected = both(*inputs)
    assert torch.equal(got, expected)
    right = torch.autograd.grad(expected.sum(), inputs)
    for mine, theirs in zip(torch.autograd.grad(got.sum(), inputs), right, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-6)
