"""A model small enough to check by hand, and a few tokens."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.model import GPTConfig, SparseGPT

TINY = GPTConfig(vocab_size=11, n_ctx=6, n_layer=2, d_model=8, d_head=4)


@pytest.fixture
def config() -> GPTConfig:
    return TINY


@pytest.fixture
def model() -> SparseGPT:
    """Two layers with weights large enough for every part of the forward to matter."""
    model = SparseGPT(TINY, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.tensor([[10, 1, 2, 3, 4], [10, 5, 5, 0, 9]])
