"""Causal attention with an optional sink (§A.1, Fig 18).

The sink is one learned logit per head that takes part in the softmax's denominator and adds nothing
to its result, so that a head may attend to nothing. In go queries, keys and values by head; out
comes the mix. With a sink, the same as ordinary causal attention over one more key of value 0.

:func:`definition` is that in plain torch; the kernel (``csrc/attention.h``) keeps one head's pattern in the
cache at a time, and makes it again on the way back. On a GPU, torch's fused attention does it
(``gpu/attention.py``).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sparsecircuits.ops import gpu, native

#: Types of numbers that a GPU's fused attention takes.
_GPU_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def sink_attention(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None = None) -> Tensor:
    """Causal attention, scaled by ``1 / sqrt(d_head)``.

    Args:
        q: [batch, head, pos, d_head]; the last query sees all keys, the one before all but the last, ...
        k, v: [batch, head, pos, d_head], at least as many positions as ``q``.
        sink: [head] logits, or None for ordinary attention.

    Returns:
        [batch, head, pos of q, d_head].
    """
    if gpu.takes(q, k, v, sink, types=_GPU_TYPES) and _regular(q, k, v, sink):
        from sparsecircuits.ops.gpu import attention

        if attention.takes(q, k):
            return attention.sink_attention(q, k, v, sink)
    if native.takes(q, k, v, sink) and _regular(q, k, v, sink):
        run = _attention_now if native.undispatched(q, k, v) else _attention
        y, _ = run(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), sink)
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
    return _softmax(scores.masked_fill(future, -torch.inf), sink)


def _softmax(scores: Tensor, sink: Tensor | None) -> Tensor:
    """Over the last dimension, the sink's logit in the denominator."""
    if sink is None:
        return scores.softmax(-1)
    column = sink.view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
    return torch.cat([column, scores], -1).softmax(-1)[..., 1:]


def end_attention(q: Tensor, k: Tensor, v: Tensor, last: Tensor, sink: Tensor | None = None) -> Tensor:
    """:func:`sink_attention` of one query a row, at a position of its own.

    Args:
        q: [batch, head, 1, d_head].
        k, v: [batch, head, pos, d_head].
        last: [batch] the position of each query: it sees the keys up to there.
        sink: [head] logits, or None.

    Returns:
        [batch, head, 1, d_head].
    """
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    unseen = torch.arange(k.shape[2], device=k.device) > last.view(-1, 1, 1, 1)
    return _softmax(scores.masked_fill(unseen, -torch.inf), sink) @ v


def _regular(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None) -> bool:
    """Whether shapes are just as the docstring has them; torch also broadcasts, or says what is wrong."""
    if q.ndim != 4 or k.ndim != 4:
        return False
    batch, head, pos, width = q.shape
    keys = (batch, head, k.shape[2], width)
    fits = k.shape == v.shape == keys and 0 < pos <= keys[2] and min(q.shape) > 0
    return fits and (sink is None or sink.shape == (head,))


def _readable(x: Tensor) -> Tensor:
    """[b t h e], copied if a head's channels do not lie side by side."""
    return x if x.stride(3) == 1 or x.shape[3] == 1 else x.contiguous()


def _call(q: Tensor, k: Tensor, *others: Tensor) -> Any:
    """Shapes, and where batches, positions and heads of all tensors lie."""
    batch, queries, head, width = q.shape
    call = native.attention_call(batch, head, queries, k.shape[1], width, 1 / math.sqrt(width))
    for which, x in enumerate((q, k, *others)):
        call.strides(which, *x.stride()[:3])
    return call


def _attention_now(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None) -> tuple[Tensor, Tensor]:
    """[b t h e] mix, and [b h t] logarithm of each softmax's denominator."""
    q, k, v = map(_readable, (q, k, v))
    y = q.new_empty(q.shape)
    lse = q.new_empty((q.shape[0], q.shape[2], q.shape[1]))
    sink = None if sink is None else sink.contiguous()
    native.call("attention_forward", *(x.data_ptr() for x in (q, k, v)), sink, y, lse, _call(q, k, v))
    return y, lse


_attention = torch.library.custom_op("sparsecircuits::attention", _attention_now, mutates_args=())


@torch.library.custom_op("sparsecircuits::attention_backward", mutates_args=())
def _attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None, y: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    q, k, v, grad = map(_readable, (q, k, v, grad))
    dq, dk, dv = q.new_empty(q.shape), q.new_empty(k.shape), q.new_empty(v.shape)
    dsink = q.new_zeros((q.shape[0], q.shape[2]))
    sink = None if sink is None else sink.contiguous()
    addresses = (x.data_ptr() for x in (q, k, v))
    call = _call(q, k, v, y, grad)
    native.call("attention_backward", *addresses, sink, y, lse, grad.data_ptr(), dq, dk, dv, dsink, call)
    return dq, dk, dv, dsink.sum(0)


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
