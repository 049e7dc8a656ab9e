"""A tiny model with every option on, and made-up frozen values, for tests of circuits."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import GPTConfig, Node, SparseGPT

CONFIG = GPTConfig(vocab_size=20, n_ctx=8, n_layer=2, d_model=8, d_head=4, d_mlp=12, init_std=0.3)
TOKENS = torch.arange(16).view(2, 8)


def model() -> SparseGPT:
    return SparseGPT(CONFIG, seed=2)


def values(config: GPTConfig = CONFIG) -> dict[str, Tensor]:
    """Frozen values that are nowhere near 0."""
    generator = torch.Generator().manual_seed(4)
    return {str(at): 1 + torch.rand(config.width(at.site), generator=generator) for at in config.site_names()}


def nodes(*names: str) -> frozenset[Node]:
    return frozenset(map(Node.parse, names))


def every_node(config: GPTConfig = CONFIG) -> frozenset[Node]:
    return frozenset(Node(at, index) for at in config.site_names() for index in range(config.width(at.site)))


def circuit(*names: str, scale: float = 1.0) -> Circuit:
    return Circuit("toy", nodes(*names), values(), scale, {"seed": 3})
