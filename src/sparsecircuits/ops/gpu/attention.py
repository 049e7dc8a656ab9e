"""Attention with a sink on a GPU, by torch's own fused attention: no pattern of all pairs is ever stored.

A sink is one more key, in front of all others, whose score is the sink's logit whatever the query, and whose
value is 0. Fused attention masks by position alone, so that the key must look like any other:

1. q, k and v get :data:`MORE` channels. In them q is 1 everywhere, k is 0, and the sink's key holds its
   logit, in two parts, so that 16-bit numbers lose nothing of it that matters; its other channels are 0.
2. A query of no meaning goes in front too. So the usual causal mask lets every query see the sink and what
   it saw before; what that query finds is dropped.

Values and gradients, the sink's among them, are the definition's up to rounding.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

#: Channels that are added; fused attention wants a multiple of 8.
MORE = 8


def sink_attention(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None) -> Tensor:
    """As :func:`sparsecircuits.ops.sink_attention`, of as many queries as keys, or of one query.

    Under autocast in its type.
    """
    if torch.is_autocast_enabled(q.device.type):
        q, k, v = (x.to(torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
    scale = 1 / math.sqrt(q.shape[-1])
    causal = q.shape[2] > 1
    if sink is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    width, front = q.shape[-1], int(causal)
    keys = torch.cat([_sink_key(sink / scale, k), F.pad(k, (0, MORE))], dim=2)
    y = F.scaled_dot_product_attention(
        F.pad(q, (0, MORE, front, 0), value=1.0),
        keys,
        F.pad(v, (0, MORE, 1, 0)),
        is_causal=causal,
        scale=scale,
    )
    return y[:, :, front:, :width]


def takes(q: Tensor, k: Tensor) -> bool:
    """Whether the mask is one that fused attention has by itself."""
    return q.shape[2] in (1, k.shape[2])


def _sink_key(logit: Tensor, k: Tensor) -> Tensor:
    """[batch, head, 1, d_head + MORE] the key of each head's sink; the gradient goes by the first part."""
    batch, _, _, width = k.shape
    first = logit.to(k.dtype)
    second = (logit - first).detach().nan_to_num(0.0).to(k.dtype)  # of minus infinity nothing is left
    key = F.pad(torch.stack([first, second], -1), (width, MORE - 2))
    return key[None, :, None].expand(batch, -1, 1, -1)
