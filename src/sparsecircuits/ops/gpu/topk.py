"""AbsTopK on a GPU: a row is read once, its threshold searched in registers, and written once (§A.1).

Bit for bit what ``ops.abs_topk.definition`` gives. A program takes as many rows as make up 32 entries for
each of its threads; a row of up to 1024 entries is one warp's, which counts without waiting for others. The
backward pass needs one bit for each entry, not the entries.

GELU or RMSNorm before it are taken along, so that what lies between is neither written nor read: of the four
passes over memory, forward, two are left. That pays wherever AbsTopK alone reads what they give.

Bytes moved for each entry, where ``s`` is the size of its type: forward 2s + 1/8, backward 2s + 1/8; with
GELU or RMSNorm before it backward 3s + 1/8.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sparsecircuits.ops.gpu import launch
from sparsecircuits.ops.gpu import topk_kernels as kernels
from sparsecircuits.ops.strides import even_rows

#: Types that the kernels read, with the low bits that they never set as a float32.
TYPES = {torch.float32: 0, torch.bfloat16: 16, torch.float16: 13}
#: Entries for each thread.
_ENTRIES = 32
#: Programs that share the rows of RMSNorm's backward pass: each adds up its part of the weight's gradient.
_PROGRAMS = 1024


class _Shape(NamedTuple):
    """How a kernel cuts rows into programs."""

    rows: int
    """For each program."""
    block: int
    """Entries of a row, and padding."""
    warps: int


def _shape(dim: int, entries: int = _ENTRIES) -> _Shape:
    block = max(32, 1 << (dim - 1).bit_length())
    rows = max(1, 32 * entries // block)
    return _Shape(rows, block, max(1, block * rows // (32 * entries)))


def _launch(x: Tensor, k: int, before: str, weight: Tensor | None = None, eps: float = 0.0) -> list[Tensor]:
    """What the operations below give: the kept entries, their bits, and with RMSNorm each row's factor."""
    dim = x.shape[-1]
    rows = x.numel() // dim
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    mask = x.new_empty((rows, -(-dim // 32)), dtype=torch.int32)
    scale = x.new_empty(rows if before == "norm" else 0, dtype=torch.float32)
    if rows > 0:
        x, step = even_rows(x)
        shape = _shape(dim)
        gain = x if weight is None else weight.contiguous()
        launch(
            kernels.forward, (-(-rows // shape.rows),),
            x, gain, y, mask, scale, rows, dim, step, k, _normal_level(k, dim), eps,
            BEFORE=before, SHIFT=TYPES[x.dtype], ROWS=shape.rows, BLOCK=shape.block, warps=shape.warps,
        )  # fmt: skip
    return [y, mask, scale] if before == "norm" else [y, mask]


def _normal_level(k: int, dim: int) -> float:
    """The magnitude that ``k`` of ``dim`` normal numbers exceed, in units of their mean magnitude."""
    return NormalDist().inv_cdf(1 - k / dim / 2) / math.sqrt(2 / math.pi)


def _launch_back(grad: Tensor, mask: Tensor, x: Tensor | None = None) -> Tensor:
    grad = grad.contiguous()
    out, dim = torch.empty_like(grad), grad.shape[-1]
    if grad.numel() == 0:
        return out
    block = min(1024, max(32, 1 << (dim - 1).bit_length()))
    rows = 1024 // block
    before = grad if x is None else x.contiguous()
    launch(
        kernels.backward, (-(-len(mask) // rows), -(-dim // block)),
        grad, before, mask, out, len(mask), dim, GELU=x is not None, ROWS=rows, BLOCK=block, warps=4,
    )  # fmt: skip
    return out


_NAME = "sparsecircuits_gpu::"


@torch.library.custom_op(_NAME + "abs_topk", mutates_args=())
def _abs_topk(x: Tensor, k: int) -> list[Tensor]:
    return _launch(x, k, "nothing")


@torch.library.custom_op(_NAME + "abs_topk_backward", mutates_args=())
def _abs_topk_backward(grad: Tensor, mask: Tensor) -> Tensor:
    return _launch_back(grad, mask)


@torch.library.custom_op(_NAME + "gelu_abs_topk", mutates_args=())
def _gelu_abs_topk(x: Tensor, k: int) -> list[Tensor]:
    return _launch(x, k, "gelu")


@torch.library.custom_op(_NAME + "gelu_abs_topk_backward", mutates_args=())
def _gelu_abs_topk_backward(grad: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    return _launch_back(grad, mask, x)


@torch.library.custom_op(_NAME + "rms_norm_abs_topk", mutates_args=())
def _rms_norm_abs_topk(x: Tensor, weight: Tensor, eps: float, k: int) -> list[Tensor]:
    return _launch(x, k, "norm", weight, eps)


@torch.library.custom_op(_NAME + "rms_norm_abs_topk_backward", mutates_args=())
def _rms_norm_abs_topk_backward(
    grad: Tensor, x: Tensor, weight: Tensor, scale: Tensor, mask: Tensor
) -> list[Tensor]:
    grad, x, dim = grad.contiguous(), x.contiguous(), x.shape[-1]
    dx, rows = torch.empty_like(x), len(mask)
    if rows == 0:
        return [dx, torch.zeros_like(weight)]
    shape = _shape(dim, _ENTRIES // 2)
    each = -(-rows // _PROGRAMS)
    each = -(-each // shape.rows) * shape.rows
    programs = -(-rows // each)
    partial = x.new_empty((programs, dim), dtype=torch.float32)
    launch(
        kernels.norm_backward, (programs,),
        grad, x, weight.contiguous(), scale, mask, dx, partial, rows, dim, each,
        ROWS=shape.rows, BLOCK=shape.block, warps=shape.warps,
    )  # fmt: skip
    return [dx, partial.sum(0).to(weight.dtype)]


def abs_topk(x: Tensor, k: int) -> Tensor:
    """As ``ops.abs_topk``, 1 <= k < dim <= ``gpu.WIDEST_ROW``; rows may lie apart (a part of q, k and v)."""
    return _abs_topk(x, k)[0]


def gelu_abs_topk(x: Tensor, k: int) -> Tensor:
    """``abs_topk(gelu(x), k)``."""
    return _gelu_abs_topk(x, k)[0]


def rms_norm_abs_topk(x: Tensor, weight: Tensor, eps: float, k: int) -> Tensor:
    """``abs_topk(rms_norm(x, weight, eps), k)``, ``weight`` of any type."""
    return _rms_norm_abs_topk(x, weight, eps, k)[0]


def _empty(x: Tensor, dim: int) -> list[Tensor]:
    like = torch.empty_like(x, memory_format=torch.contiguous_format)
    return [like, x.new_empty((x.numel() // dim, -(-dim // 32)), dtype=torch.int32)]


@_abs_topk.register_fake
def _(x: Tensor, k: int) -> list[Tensor]:
    return _empty(x, x.shape[-1])


@_gelu_abs_topk.register_fake
def _(x: Tensor, k: int) -> list[Tensor]:
    return _empty(x, x.shape[-1])


@_rms_norm_abs_topk.register_fake
def _(x: Tensor, weight: Tensor, eps: float, k: int) -> list[Tensor]:
    return [*_empty(x, x.shape[-1]), x.new_empty(x.numel() // x.shape[-1], dtype=torch.float32)]


@_abs_topk_backward.register_fake
def _(grad: Tensor, mask: Tensor) -> Tensor:
    return _empty(grad, grad.shape[-1])[0]


@_gelu_abs_topk_backward.register_fake
def _(grad: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    return _empty(grad, grad.shape[-1])[0]


@_rms_norm_abs_topk_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, scale: Tensor, mask: Tensor) -> list[Tensor]:
    return [_empty(x, x.shape[-1])[0], torch.empty_like(weight)]


def _keep(ctx: FunctionCtx, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.save_for_backward(output[1])


def _back(ctx: FunctionCtx, grads: list[Tensor]) -> tuple[Tensor, None]:
    (mask,) = ctx.saved_tensors  # type: ignore[attr-defined]
    return _abs_topk_backward(grads[0], mask), None


def _gelu_keep(ctx: FunctionCtx, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.save_for_backward(inputs[0], output[1])


def _gelu_back(ctx: FunctionCtx, grads: list[Tensor]) -> tuple[Tensor, None]:
    return _gelu_abs_topk_backward(grads[0], *ctx.saved_tensors), None  # type: ignore[attr-defined]


def _norm_keep(ctx: FunctionCtx, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.save_for_backward(inputs[0], inputs[1], output[2], output[1])


def _norm_back(ctx: FunctionCtx, grads: list[Tensor]) -> tuple[Tensor, Tensor, None, None]:
    dx, dweight = _rms_norm_abs_topk_backward(grads[0], *ctx.saved_tensors)  # type: ignore[attr-defined]
    return dx, dweight, None, None


_abs_topk.register_autograd(_back, setup_context=_keep)
_gelu_abs_topk.register_autograd(_gelu_back, setup_context=_gelu_keep)
_rms_norm_abs_topk.register_autograd(_norm_back, setup_context=_norm_keep)
