"""A bridge: at every residual location an encoder, dense to sparse, and a decoder, sparse to dense (§A.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsecircuits.ops import abs_topk


class Encoder(nn.Module):
    """A linear map, then AbsTopK: [..., dense] to [..., sparse]."""

    def __init__(self, dense: int, sparse: int, k: int) -> None:
        super().__init__()
        self.linear, self.k = nn.Linear(dense, sparse), k

    def forward(self, x: Tensor) -> Tensor:
        return abs_topk(self.linear(x), self.k)


class Bridge(nn.Module):
    """Encoders and decoders by location, in forward order.

    Args:
        dense, sparse: widths of the two residual streams.
        locations: how many: one more than there are sublayers.
        fraction: share of an encoder's outputs that are kept.
        seed: of the initial weights: normal, of deviation 1 / sqrt(inputs); biases 0.
    """

    def __init__(self, dense: int, sparse: int, locations: int, fraction: float, seed: int = 0) -> None:
        super().__init__()
        self.dense, self.sparse, self.locations, self.fraction = dense, sparse, locations, fraction
        k = max(1, int(fraction * sparse))
        self.encoders = nn.ModuleList(Encoder(dense, sparse, k) for _ in range(locations))
        self.decoders = nn.ModuleList(nn.Linear(sparse, dense) for _ in range(locations))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(0, parameter.shape[1] ** -0.5, generator=generator)
                else:
                    parameter.zero_()

    def encode(self, x: Tensor, location: int) -> Tensor:
        """[..., dense] of one location's residual stream to [..., sparse]."""
        return self.encoders[location](x)

    def decode(self, x: Tensor, location: int) -> Tensor:
        """[..., sparse] to [..., dense]."""
        return self.decoders[location](x)

    def __len__(self) -> int:
        return len(self.encoders)
