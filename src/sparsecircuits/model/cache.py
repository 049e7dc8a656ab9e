"""Keys and values of the tokens so far, so that the next token costs one token's work.

>>> cache = KVCache(model.config)                       # doctest: +SKIP
>>> logits = model(prompt, cache=cache)                 # doctest: +SKIP
>>> logits = model(next_token, cache=cache)             # doctest: +SKIP
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsecircuits.model.config import GPTConfig


class LayerCache:
    """Keys and values of one layer, [batch, n_ctx, width] each, of which ``length`` positions are filled."""

    def __init__(self, config: GPTConfig, batch: int) -> None:
        shape = (batch, config.n_ctx, config.heads * config.d_head)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.length = 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append [batch, new, width] each; returns all so far."""
        end = self.length + k.shape[1]
        self.keys[:, self.length : end], self.values[:, self.length : end] = k, v
        self.length = end
        return self.keys[:, :end], self.values[:, :end]


class KVCache:
    """One :class:`LayerCache` a layer, for ``batch`` sequences of equal length. For use without gradients."""

    def __init__(self, config: GPTConfig, batch: int = 1) -> None:
        self.layers = [LayerCache(config, batch) for _ in range(config.n_layer)]

    @property
    def length(self) -> int:
        """How many tokens it holds."""
        return self.layers[0].length
