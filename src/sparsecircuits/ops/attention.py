"""Causal attention with an optional sink (§A.1, Fig 18).

The sink is one learned logit per head that takes part in the softmax's denominator and adds nothing
to its result, so that a head may attend to nothing. In go queries, keys and values by head; out
comes the mix. With a sink, the same as ordinary causal attention over one more key of value 0.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def sink_attention(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None = None) -> Tensor:
    """Causal attention, scaled by ``1 / sqrt(d_head)``.

    Args:
        q, k, v: [batch, head, pos, d_head].
        sink: [head] logits, or None for ordinary attention.

    Returns:
        [batch, head, pos, d_head].
    """
    if sink is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
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
