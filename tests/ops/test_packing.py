"""Tensors without their zeros: what comes back is what went in, bit for bit, in the bytes it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sparsecircuits.ops import abs_topk, gelu_abs_topk, native
from sparsecircuits.ops.packing import LOOK, pack, unpack

KERNELS = native.available()


def sparse(rows: int, dim: int, k: int) -> Tensor:
    """Up to ``k`` entries of each row, among them NaN, infinity and -0.0."""
    x = abs_topk(torch.randn(rows, dim, generator=torch.Generator().manual_seed(dim)), k)
    x[0] = 0
    x[-1, : min(3, k)] = torch.tensor([-0.0, torch.nan, -torch.inf])[: min(3, k)]
    x[-1, min(3, k) :] = 0
    return x


def same(x: Tensor, y: Tensor) -> bool:
    return x.shape == y.shape and torch.equal(x.view(torch.int32), y.view(torch.int32))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("rows", "dim", "k"), [(1, 2, 1), (3, 16, 4), (5, 17, 8), (70, 130, 32), (200, 512, 128)]
)
def test_it_comes_back_bit_for_bit(kernels: str, rows: int, dim: int, k: int) -> None:
    x = sparse(rows, dim, k)
    with native.using(kernels):
        packed = pack(x)
        assert packed is not None
        assert same(unpack(packed), x)
        again = pack(x.view(1, rows, dim))
        assert again is not None
        assert same(unpack(again), x.view(1, rows, dim))


@pytest.mark.skipif(native.kernels() == native.OFF, reason="no kernels")
def test_four_bytes_a_value_and_a_bit_a_place() -> None:
    packed = pack(abs_topk(torch.randn(100, 512), 128))
    assert packed is not None
    assert packed.nbytes == 100 * (128 * 4 + 512 // 8)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_later_row_that_is_fuller_is_seen(kernels: str) -> None:
    x = torch.zeros(LOOK + 5, 64)
    x[:, :3] = 1.0
    x[LOOK + 1, :20] = 2.0
    with native.using(kernels):
        packed = pack(x)
        assert packed is not None
        assert same(unpack(packed), x)
        x[LOOK + 2, :33] = 3.0  # more than half
        assert pack(x) is None
        assert pack(torch.ones(4, 64)) is None


@pytest.mark.parametrize("kernels", KERNELS)
def test_all_threads_together_give_the_same(kernels: str) -> None:
    x, before = sparse(300, 512, 128), torch.get_num_threads()
    with native.using(kernels):
        try:
            torch.set_num_threads(3)
            packed = pack(x)
            assert packed is not None
            assert same(unpack(packed), x)
        finally:
            torch.set_num_threads(before)


@pytest.mark.parametrize("kernels", [name for name in KERNELS if name != native.OFF])
@pytest.mark.parametrize("dim", [16, 50, 512])
def test_gelu_keeps_what_its_gradient_needs_and_no_more(kernels: str, dim: int) -> None:
    k, kept = dim // 4, []
    x = torch.randn(6, dim, generator=torch.Generator().manual_seed(1), requires_grad=True)
    with (
        native.using(kernels),
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t),
    ):
        y = gelu_abs_topk(x, k)
    assert sorted(tuple(t.shape) for t in kept) == sorted([(6, k), (6, -(-dim // 16))])
    slope = torch.randn(6, dim, generator=torch.Generator().manual_seed(2))
    with native.using(kernels):
        (found,) = torch.autograd.grad(y, x, slope)
    twin = x.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(abs_topk(torch.nn.functional.gelu(twin), k), twin, slope)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(found != 0, y != 0)
