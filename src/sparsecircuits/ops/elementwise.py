"""RMSNorm and GELU (§A.1): torch's own functions are the definitions, the kernels take one pass each.

On a CPU torch runs RMSNorm as five operations over the whole tensor, and GELU's gradient through erf; beside
sparse products both would be a large part of a step. GELU and the AbsTopK that follows it in every MLP go
together, so that what lies between them is never written. On a GPU torch has both in one pass; ours are those
that AbsTopK follows (``gpu/topk.py``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sparsecircuits.ops import gpu, native
from sparsecircuits.ops.abs_topk import TYPES, abs_topk
from sparsecircuits.ops.packing import pack_kept


def rms_norm(x: Tensor, weight: Tensor, eps: float | None = None) -> Tensor:
    """``x / sqrt(mean(x²) + eps) * weight`` over the last dimension.

    Args:
        x: [..., dim].
        weight: [dim].
        eps: None: the machine epsilon of the type.

    Returns:
        [..., dim].
    """
    if native.takes(x, weight) and weight.shape == x.shape[-1:] and x.numel() > 0:
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        return (_rms_norm_now if native.undispatched(x) else _rms_norm)(x, weight, eps)[0]
    return F.rms_norm(x, weight.shape, weight, eps)


def gelu(x: Tensor) -> Tensor:
    """``x`` times the normal distribution's cumulative probability at ``x``, of any shape."""
    if native.takes(x):
        return (_gelu_now if native.undispatched(x) else _gelu)(x)
    return F.gelu(x)


def gelu_abs_topk(x: Tensor, k: int) -> Tensor:
    """``abs_topk(gelu(x), k)`` of ``x`` [..., dim] in one pass; on a CPU the same value bit for bit."""
    if 1 <= k < x.shape[-1] <= gpu.WIDEST_ROW and gpu.takes(x, types=TYPES):
        from sparsecircuits.ops.gpu import topk  # imports Triton

        return topk.gelu_abs_topk(x, k)
    if 1 <= k < x.shape[-1] and native.takes(x):
        return (_gelu_abs_topk_now if native.undispatched(x) else _gelu_abs_topk)(x, k)[0]
    return abs_topk(gelu(x), k)


def rms_norm_abs_topk(x: Tensor, weight: Tensor, k: int, eps: float | None = None) -> Tensor:
    """``abs_topk(rms_norm(x, weight, eps), k)`` of ``x`` [..., dim]; on a GPU in one pass.

    To rounding the same value: where rounding swaps two entries at the threshold, the other one stays.
    """
    if 1 <= k < x.shape[-1] <= gpu.WIDEST_ROW and weight.shape == x.shape[-1:] and gpu.takes(x, types=TYPES):
        from sparsecircuits.ops.gpu import topk  # imports Triton

        return topk.rms_norm_abs_topk(x, weight, torch.finfo(x.dtype).eps if eps is None else eps, k)
    return abs_topk(rms_norm(x, weight, eps), k)


def _rms_norm_now(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The result, and [rows] the factor of each row."""
    x = x.contiguous()
    y, scale = torch.empty_like(x), x.new_empty(x.numel() // x.shape[-1])
    native.call("rms_norm", x, weight.contiguous(), y, scale, len(scale), x.shape[-1], eps)
    return y, scale


_rms_norm = torch.library.custom_op("sparsecircuits::rms_norm", _rms_norm_now, mutates_args=())


@torch.library.custom_op("sparsecircuits::rms_norm_backward", mutates_args=())
def _rms_norm_backward(grad: Tensor, x: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    grad, x, weight = grad.contiguous(), x.contiguous(), weight.contiguous()
    dx, dweight = torch.empty_like(x), torch.empty_like(weight)
    native.call("rms_norm_grad", grad, x, weight, scale, dx, dweight, len(scale), x.shape[-1])
    return dx, dweight


def _gelu_now(x: Tensor) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    native.call("gelu", x, y, x.numel())
    return y


_gelu = torch.library.custom_op("sparsecircuits::gelu", _gelu_now, mutates_args=())


@torch.library.custom_op("sparsecircuits::gelu_backward", mutates_args=())
def _gelu_backward(grad: Tensor, x: Tensor) -> Tensor:
    grad, x = grad.contiguous(), x.contiguous()
    dx = torch.empty_like(x)
    native.call("gelu_grad", grad, x, dx, x.numel())
    return dx


def _gelu_abs_topk_now(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The result, and where it was kept, as in :mod:`sparsecircuits.ops.abs_topk`."""
    x, dim = x.contiguous(), x.shape[-1]
    y, kept = torch.empty_like(x), x.new_empty((x.numel() // dim, -(-dim // 16)), dtype=torch.int16)
    native.call("gelu_topk", x, y, kept, len(kept), dim, k)
    return y, kept


_gelu_abs_topk = torch.library.custom_op("sparsecircuits::gelu_abs_topk", _gelu_abs_topk_now, mutates_args=())


@torch.library.custom_op("sparsecircuits::pack_kept", mutates_args=())
def _pack_kept(x: Tensor, kept: Tensor, k: int) -> Tensor:
    return pack_kept(x.contiguous(), kept, k)


@torch.library.custom_op("sparsecircuits::gelu_abs_topk_backward", mutates_args=())
def _gelu_abs_topk_backward(grad: Tensor, values: Tensor, kept: Tensor) -> Tensor:
    """The gradient of x, of which there are the kept ``values`` [rows, k]."""
    grad = grad.contiguous()
    dx = torch.empty_like(grad)
    native.call("gelu_topk_grad", grad, kept, values, dx, len(kept), grad.shape[-1], values.shape[-1])
    return dx


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_rms_norm.register_fake
def _(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return _like(x), x.new_empty(x.numel() // x.shape[-1])


@_rms_norm_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return _like(x), _like(weight)


@_gelu.register_fake
def _(x: Tensor) -> Tensor:
    return _like(x)


@_gelu_backward.register_fake
def _(grad: Tensor, x: Tensor) -> Tensor:
    return _like(x)


@_gelu_abs_topk.register_fake
def _(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    dim = x.shape[-1]
    return _like(x), x.new_empty((x.numel() // dim, -(-dim // 16)), dtype=torch.int16)


@_pack_kept.register_fake
def _(x: Tensor, kept: Tensor, k: int) -> Tensor:
    return x.new_empty((kept.shape[0], k))


@_gelu_abs_topk_backward.register_fake
def _(grad: Tensor, values: Tensor, kept: Tensor) -> Tensor:
    return _like(grad)


def _keep_norm(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], inputs[1], output[1])


def _norm_back(ctx: FunctionCtx, grad: Tensor, _scale: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_rms_norm_backward(grad, *ctx.saved_tensors), None  # type: ignore[attr-defined]


def _keep_gelu(ctx: FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gelu_back(ctx: FunctionCtx, grad: Tensor) -> Tensor:
    return _gelu_backward(grad, *ctx.saved_tensors)  # type: ignore[attr-defined]


def _keep_topk(ctx: FunctionCtx, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
    x, k = inputs
    ctx.save_for_backward(_pack_kept(x, output[1], k), output[1])  # a slope is needed at those places alone


def _topk_back(ctx: FunctionCtx, grad: Tensor, _kept: Tensor) -> tuple[Tensor, None]:
    return _gelu_abs_topk_backward(grad, *ctx.saved_tensors), None  # type: ignore[attr-defined]


_gelu_abs_topk.register_autograd(_topk_back, setup_context=_keep_topk)
_rms_norm.register_autograd(_norm_back, setup_context=_keep_norm)
_gelu.register_autograd(_gelu_back, setup_context=_keep_gelu)
