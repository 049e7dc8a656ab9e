"""Keys and values of the tokens so far, so that the next token costs one token's work.

>>> cache = KVCache(model.config)                       # doctest: +SKIP
>>> logits = model(prompt, cache=cache)                 # doctest: +SKIP
>>> logits = model(next_token, cache=cache)             # doctest: +SKIP
"""

from __future__ import annotations

from torch import Tensor

from sparsecircuits.model.config import GPTConfig


class LayerCache:
    """Keys and values of one layer, [batch, room, width] each, of which ``length`` positions are filled."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.length = 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append [batch, new, width] each; returns all so far. The first decide type and device."""
        if self.keys is None or self.values is None:
            self.keys, self.values = (x.new_zeros((len(x), self.room, x.shape[2])) for x in (k, v))
        end = self.length + k.shape[1]
        self.keys[:, self.length : end], self.values[:, self.length : end] = k, v
        self.length = end
        return self.keys[:, :end], self.values[:, :end]


class KVCache:
    """One :class:`LayerCache` a layer, for sequences of equal length. For use without gradients."""

    def __init__(self, config: GPTConfig) -> None:
        self.layers = [LayerCache(config.n_ctx) for _ in range(config.n_layer)]

    @property
    def length(self) -> int:
        """How many tokens it holds."""
        return self.layers[0].length
