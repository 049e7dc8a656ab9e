"""AbsTopK: keep the entries largest in magnitude, zero the rest (Gao et al. 2025, §2.1, §A.1).

In goes a tensor, out comes one of the same shape in which every row (last dimension) has at most
``k`` nonzero entries. Steps: the k-th largest magnitude of a row is its threshold; what lies above
it stays; of several entries equal to it, those with the lowest index stay until ``k`` are kept. The
gradient goes to the kept entries alone.

:func:`definition` says so in plain torch; the kernels (``csrc/topk.h``, and ``gpu/topk.py`` on a GPU) give
the same, bit for bit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sparsecircuits.ops import gpu, native
from sparsecircuits.ops.strides import even_rows

#: Types that the kernels read; 16-bit ones with the bits of their infinity.
_INFINITY = {torch.bfloat16: 0x7F80, torch.float16: 0x7C00}
TYPES = (torch.float32, *_INFINITY)


def abs_topk(x: Tensor, k: int) -> Tensor:
    """Keep the ``k`` entries of each row largest in magnitude.

    Args:
        x: [..., dim], any floating type.
        k: how many to keep, 1 <= k; ``k >= dim`` returns ``x`` itself.

    Returns:
        [..., dim]: ``x`` at exactly ``k`` places of each row and 0 elsewhere. Ties at the threshold
        are broken by the lowest index. NaN counts as larger than infinity, so that it stays and is noticed.

    Raises:
        ValueError: ``k`` below 1.

    >>> abs_topk(torch.tensor([3.0, -1.0, 1.0, -4.0]), 3).tolist()
    [3.0, -1.0, 0.0, -4.0]
    """
    if k < 1:
        raise ValueError(f"abs_topk keeps k >= 1 entries, got k = {k}")
    if k >= x.shape[-1]:
        return x
    if x.shape[-1] <= gpu.WIDEST_ROW and gpu.takes(x, types=TYPES):
        from sparsecircuits.ops.gpu import topk  # imports Triton

        return topk.abs_topk(x, k)
    if native.takes(x, types=TYPES):
        return (_abs_topk_now if native.undispatched(x) else _abs_topk)(x, k)[0]
    return definition(x, k)


def definition(x: Tensor, k: int) -> Tensor:
    """:func:`abs_topk` in plain torch, 1 <= k < dim."""
    return torch.where(kept_mask(x.detach().abs(), k), x, torch.zeros((), dtype=x.dtype, device=x.device))


def kept_mask(size: Tensor, k: int) -> Tensor:
    """Mark the ``k`` largest entries of each row of ``size`` [..., dim], the lowest index first among equals.

    Returns:
        [..., dim] boolean, exactly ``k`` set in each row; NaN counts as larger than infinity.
    """
    # One number above infinity for NaN: compare twice as many levels, infinity apart from NaN.
    finite = size.masked_fill(size.isnan(), torch.inf)
    threshold = _kth_largest(finite, k)
    above = finite > threshold
    tied = finite == threshold
    if threshold.isposinf().any():  # NaN before infinity
        nan = size.isnan()
        many = nan.sum(-1, keepdim=True) >= k
        endless = threshold.isposinf()
        above = above | (endless & nan & ~many)
        tied = torch.where(endless, torch.where(many, nan, tied & ~nan), tied)
    room = k - above.sum(-1, keepdim=True)
    return above | (tied & (tied.cumsum(-1) <= room))


def _kth_largest(size: Tensor, k: int) -> Tensor:
    """The k-th largest value of each row, [..., 1]; no NaN among them."""
    if size.device.type == "cpu" and size.dtype in (torch.float32, torch.float64):
        # numpy's vectorised quickselect: five times as fast as torch.topk on rows of 128 to 512.
        place = size.shape[-1] - k
        return torch.from_numpy(np.partition(size.detach().numpy(), place, axis=-1)[..., place : place + 1])
    return torch.topk(size, k, dim=-1, sorted=False).values.amin(-1, keepdim=True)


def _abs_topk_now(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The kept entries, and where they are: [rows, ceil(dim / 16)] with a bit for each place."""
    dim = x.shape[-1]
    rows = x.numel() // dim
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    kept = x.new_empty((rows, -(-dim // 16)), dtype=torch.int16)
    if x.dtype == torch.float32:
        x, step = even_rows(x)
        native.call("abs_topk", x.data_ptr(), step, y, kept, rows, dim, k)
    else:
        native.call("abs_topk16", x.contiguous(), y, kept, rows, dim, k, _INFINITY[x.dtype])
    return y, kept


_abs_topk = torch.library.custom_op("sparsecircuits::abs_topk", _abs_topk_now, mutates_args=())


@torch.library.custom_op("sparsecircuits::abs_topk_backward", mutates_args=())
def _abs_topk_backward(grad: Tensor, kept: Tensor) -> Tensor:
    grad = grad.contiguous()
    out, dim = torch.empty_like(grad), grad.shape[-1]
    name = "abs_topk_grad" if grad.dtype == torch.float32 else "abs_topk_grad16"
    native.call(name, grad, kept, out, grad.numel() // dim, dim)
    return out


@_abs_topk.register_fake
def _(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    dim = x.shape[-1]
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return y, x.new_empty((x.numel() // dim, -(-dim // 16)), dtype=torch.int16)


@_abs_topk_backward.register_fake
def _(grad: Tensor, kept: Tensor) -> Tensor:
    return torch.empty_like(grad, memory_format=torch.contiguous_format)


def _keep(ctx: FunctionCtx, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])


def _back(ctx: FunctionCtx, grad: Tensor, _kept: Tensor) -> tuple[Tensor, None]:
    (kept,) = ctx.saved_tensors  # type: ignore[attr-defined]
    return _abs_topk_backward(grad, kept), None


_abs_topk.register_autograd(_back, setup_context=_keep)
