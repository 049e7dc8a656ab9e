"""Measures of a bridge against those of whole runs, and of a perfect one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.measure import measure
from sparsecircuits.bridges.sides import onward, side_of, traced
from sparsecircuits.model import GPTConfig, SparseGPT
from tests.bridges.test_losses import sides

TOKENS = np.random.default_rng(0).integers(50, size=200).astype(np.uint16)


def test_a_perfect_bridge_costs_nothing():
    model = SparseGPT(GPTConfig(vocab_size=50, n_ctx=12, n_layer=2, d_model=32, d_head=8), seed=2)
    bridge = Bridge(32, 32, 5, fraction=1.0)
    with torch.no_grad():
        for parameter in bridge.parameters():
            parameter.copy_(torch.eye(32) if parameter.ndim == 2 else torch.zeros(32))
    side = side_of(model)
    found = measure(side, side, bridge, TOKENS, mixtures=3, rows=4)
    assert found.tokens == 16 * 12
    for losses in (found.to_sparse, found.to_dense, found.mixtures, [found.sparse]):
        assert losses == pytest.approx([found.dense] * len(losses), abs=1e-6)
    assert found.encode == found.decode == [0.0] * 5
    assert abs(found.mean_excess) < 1e-6


@torch.no_grad()
def test_as_in_one_batch():
    dense, sparse, bridge = sides()
    found = measure(dense, sparse, bridge, TOKENS, limit=60, mixtures=4, rows=2)
    ids = torch.from_numpy(TOKENS[:60].astype(np.int64)).view(5, 12)
    targets = torch.from_numpy(TOKENS[1:61].astype(np.int64)).view(5, 12)
    there, here = traced(dense, ids), traced(sparse, ids)

    def loss(logits: torch.Tensor) -> float:
        return float(F.cross_entropy(logits.flatten(0, 1), targets.flatten()))

    assert found.tokens == 60
    assert (found.dense, found.sparse) == pytest.approx((loss(there.logits), loss(here.logits)), abs=1e-5)
    encoded = bridge.encode(there.stream[3], 3)
    assert found.to_sparse[3] == pytest.approx(loss(onward(sparse, encoded, 3, ids)), abs=1e-5)
    right = here.stream[3]
    share = (encoded - right).square().sum() / (right - right.mean((0, 1))).square().sum()
    assert found.encode[3] == pytest.approx(float(share), rel=1e-5)
    excess = max(*found.to_sparse, *found.to_dense) - max(found.dense, found.sparse)
    assert found.largest_excess == excess > found.mean_excess
    assert len(found.mixtures) == 4
    assert all(0 <= count <= 4 for count in found.crossings)
