"""Causal attention with an optional sink (§A.1, Fig 18).

The sink is one learned logit per head that takes part in the softmax's denominator and adds nothing
to its result, so that a head may attend to nothing. In go queries, keys and values by head; out
comes the mix. With a sink, the same as ordinary causal attention over one more key of value 0.

:func:`definition` is that in plain torch; the kernel (``csrc/attention.h``) keeps one head's pattern in the
cache at a time, and makes it again on the way back.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sparsecircuits.ops import native


def sink_attention(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None = None) -> Tensor:
    """Causal attention, scaled by ``1 / sqrt(d_head)``.

    Args:
        q: [batch, head, pos, d_head]; the last query sees all keys, the one before all but the last, ...
        k, v: [batch, head, pos, d_head], at least as many positions as ``q``.
        sink: [head] logits, or None for ordinary attention.

    Returns:
        [batch, head, pos of q, d_head].
    """
    if native.takes(q, k, v, sink) and _regular(q, k, v, sink):
        y, _ = _attention(_side_by_side(q), _side_by_side(k), _side_by_side(v), sink)
        return y.transpose(1, 2)
    return definition(q, k, v, sink)


def definition(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None = None) -> Tensor:
    """:func:`sink_attention` in plain torch."""
    return attention_weights(q, k, sink) @ v


def attention_weights(q: Tensor, k: Tensor, sink: Tensor | None = None) -> Tensor:
    """The attention pattern [batch, head, pos (query), pos (key)]; with a sink a row sums to less than 1."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    n_query, n_key = scores.shape[-2:]
    future = torch.ones(n_query, n_key, dtype=torch.bool, device=q.device).triu(1 + n_key - n_query)
    scores = scores.masked_fill(future, -torch.inf)
    if sink is None:
        return scores.softmax(-1)
    column = sink.view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
    return torch.cat([column, scores], -1).softmax(-1)[..., 1:]


def _regular(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None) -> bool:
    """Whether shapes are just as the docstring has them; torch also broadcasts, or says what is wrong."""
    if q.ndim != 4 or k.ndim != 4:
        return False
    batch, head, pos, width = q.shape
    keys = (batch, head, k.shape[2], width)
    fits = k.shape == v.shape == keys and 0 < pos <= keys[2] and min(q.shape) > 0
    return fits and (sink is None or sink.shape == (head,))


def _side_by_side(x: Tensor) -> Tensor:
    """[b h t e] as [b t h e], with the heads of one position side by side; copied only if they are not."""
    x = x.transpose(1, 2)
    batch, pos, head, width = x.stride()
    together = width == 1 and head == x.shape[3] and pos >= x.shape[2] * x.shape[3]
    if together and (len(x) == 1 or batch == x.shape[1] * pos):
        return x
    # Not contiguous(): what it takes for contiguous may have any stride in a dimension of one.
    return x.new_empty(x.shape).copy_(x)


def _shape(q: Tensor, k: Tensor) -> tuple[int | float, ...]:
    batch, queries, head, width = q.shape
    return batch, head, queries, k.shape[1], width, 1 / math.sqrt(width)


def _address(x: Tensor) -> int:
    return x.data_ptr()


@torch.library.custom_op("sparsecircuits::attention", mutates_args=())
def _attention(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None) -> tuple[Tensor, Tensor]:
    """[b t h e] mix, and [b h t] logarithm of each softmax's denominator."""
    q, k, v = (_strided(x) for x in (q, k, v))
    y = q.new_empty(q.shape)
    lse = q.new_empty((q.shape[0], q.shape[2], q.shape[1]))
    sink = None if sink is None else sink.contiguous()
    steps = (x.stride(1) for x in (q, k, v))
    native.call("attention_forward", *map(_address, (q, k, v)), sink, y, lse, *_shape(q, k), *steps)
    return y, lse


@torch.library.custom_op("sparsecircuits::attention_backward", mutates_args=())
def _attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None, y: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    q, k, v, grad = (_strided(x) for x in (q, k, v, grad))
    dq, dk, dv = q.new_empty(q.shape), q.new_empty(k.shape), q.new_empty(v.shape)
    dsink = q.new_zeros((q.shape[0], q.shape[2]))
    sink = None if sink is None else sink.contiguous()
    steps = (x.stride(1) for x in (q, k, v, y, grad))
    native.call(
        "attention_backward", *map(_address, (q, k, v)), sink, y, lse, _address(grad),
        dq, dk, dv, dsink, *_shape(q, k), *steps,
    )  # fmt: skip
    return dq, dk, dv, dsink.sum(0)


def _strided(x: Tensor) -> Tensor:
    """[b t h e] in a form that the kernel reads (see :func:`_side_by_side`)."""
    return _side_by_side(x.transpose(1, 2))


@_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty((q.shape[0], q.shape[2], q.shape[1]))


@_attention_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None, y: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(k.shape), q.new_empty(v.shape), q.new_empty(q.shape[2])


def _keep(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _back(ctx: FunctionCtx, grad: Tensor, _lse: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, sink, y, lse = ctx.saved_tensors  # type: ignore[attr-defined]
    *grads, dsink = _attention_backward(grad, q, k, v, sink, y, lse)
    return *grads, None if sink is None else dsink


_attention.register_autograd(_back, setup_context=_keep)
