"""Between frozen and live, channel by channel: what masks do at every site of every step.

In plain torch (:func:`definition`) that and its gradient are seven passes over the activations, more than the
sparse products beside it take; the kernel (``csrc/mix.h``) goes over them once each way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sparsecircuits.ops import native


def mix(x: Tensor, keep: Tensor, mean: Tensor) -> Tensor:
    """``keep * x + (1 - keep) * mean``, differentiable in ``x`` and ``keep``.

    Args:
        x: [rows, pos, width].
        keep: [width], or [rows, width].
        mean: [width], or [rows, width]; constant.

    Returns:
        [rows, pos, width]: exactly ``x`` where ``keep`` is 1, exactly ``mean`` where it is 0.
    """
    if native.takes(x, keep, mean) and _regular(x, keep, mean):
        return (_mix_now if native.undispatched(x, keep) else _mix)(x, keep, mean)
    return definition(x, keep, mean)


def definition(x: Tensor, keep: Tensor, mean: Tensor) -> Tensor:
    """:func:`mix` in plain torch."""
    keep, mean = (part if part.ndim == 1 else part[:, None] for part in (keep, mean))
    return torch.lerp(mean, x, keep)


def _regular(x: Tensor, keep: Tensor, mean: Tensor) -> bool:
    """Whether shapes are just as the docstring has them, and nothing asks for the mean's gradient."""
    if x.ndim != 3 or x.numel() == 0 or mean.requires_grad:
        return False
    rows, width = x.shape[0], x.shape[2]
    return all(part.shape in ((width,), (rows, width)) for part in (keep, mean)) and keep.ndim >= mean.ndim


def _shape(x: Tensor, keep: Tensor, mean: Tensor) -> tuple[int, int, int, int]:
    """Sets, rows of a set, width, and whether each set has a mean of its own."""
    sets = 1 if keep.ndim == 1 else len(keep)
    return sets, x.shape[0] * x.shape[1] // sets, x.shape[2], int(mean.ndim == 2)


def _mix_now(x: Tensor, keep: Tensor, mean: Tensor) -> Tensor:
    x, keep, mean = x.contiguous(), keep.contiguous(), mean.contiguous()
    y = torch.empty_like(x)
    native.call("mix", x, keep, mean, y, *_shape(x, keep, mean))
    return y


_mix = torch.library.custom_op("sparsecircuits::mix", _mix_now, mutates_args=())


@torch.library.custom_op("sparsecircuits::mix_backward", mutates_args=())
def _mix_backward(grad: Tensor, x: Tensor, keep: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    grad, x, keep, mean = grad.contiguous(), x.contiguous(), keep.contiguous(), mean.contiguous()
    dx, dkeep = torch.empty_like(x), torch.empty_like(keep)
    native.call("mix_grad", grad, x, keep, mean, dx, dkeep, *_shape(x, keep, mean))
    return dx, dkeep


@_mix.register_fake
def _(x: Tensor, keep: Tensor, mean: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_mix_backward.register_fake
def _(grad: Tensor, x: Tensor, keep: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x, memory_format=torch.contiguous_format), torch.empty_like(keep)


def _keep(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _back(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_mix_backward(grad, *ctx.saved_tensors), None  # type: ignore[attr-defined]


_mix.register_autograd(_back, setup_context=_keep)
