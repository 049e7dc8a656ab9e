"""The bridge's losses against their definitions, and their gradients against one backward pass of the sum."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.config import BridgeConfig
from sparsecircuits.bridges.losses import (
    Losses,
    add_gradients,
    crossing,
    divergence,
    drawn_sides,
    missed,
    mixed,
)
from sparsecircuits.bridges.sides import Side, onward, side_of, traced
from sparsecircuits.model import GPTConfig, SparseGPT

DENSE = GPTConfig(vocab_size=50, n_ctx=12, n_layer=2, d_model=24, d_head=8)
SPARSE = GPTConfig(vocab_size=50, n_ctx=12, n_layer=2, d_model=32, d_head=8)
WEIGHTS = BridgeConfig(encode=0.5, decode=0.75, to_sparse=1.25, to_dense=1.5, mixtures=2, mixture=0.25)


def sides() -> tuple[Side, Side, Bridge]:
    dense, sparse = SparseGPT(DENSE, seed=1), SparseGPT(SPARSE, seed=2)
    dense.requires_grad_(False)
    for model in (dense, sparse):  # else all logits are nearly the same
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(8 if parameter.ndim == 2 else 1)
    return side_of(dense), side_of(sparse), Bridge(24, 32, 5, 0.25, seed=3)


def tokens() -> torch.Tensor:
    return torch.randint(50, (3, 11), generator=torch.Generator().manual_seed(0))


def gradients(*modules: torch.nn.Module) -> dict[str, torch.Tensor]:
    named = [(f"{i}.{name}", one) for i, m in enumerate(modules) for name, one in m.named_parameters()]
    return {name: one.grad.clone() for name, one in named if one.grad is not None}


def whole(dense: Side, sparse: Side, bridge: Bridge, config: BridgeConfig) -> torch.Tensor:
    """Everything in one graph."""
    inputs, targets = tokens()[:, :-1], tokens()[:, 1:]
    there, here = traced(dense, inputs), traced(sparse, inputs)
    wanted = there.logits.log_softmax(-1)
    total = F.cross_entropy(here.logits.flatten(0, 1), targets.flatten())
    for i in range(5):
        encoded, decoded = bridge.encode(there.stream[i], i), bridge.decode(here.stream[i], i)
        for weight, found, right in (
            (config.encode, encoded, here.stream[i]),
            (config.decode, decoded, there.stream[i]),
        ):
            mean = right.mean((0, 1))
            total = total + weight * ((found - right) ** 2).sum() / ((right - mean) ** 2).sum()
        for weight, side, x in ((config.to_sparse, sparse, encoded), (config.to_dense, dense, decoded)):
            logits = onward(side, x, i, inputs).log_softmax(-1)
            total = total + weight * (wanted.exp() * (wanted - logits)).sum(-1).mean()
    generator = torch.Generator().manual_seed(7)
    for _ in range(config.mixtures):
        drawn = torch.randint(2, (5,), generator=generator).tolist()
        logits = mixed(dense, sparse, bridge, there.stream[0], here.stream[0], drawn, inputs).log_softmax(-1)
        total = total + config.mixture * (wanted.exp() * (wanted - logits)).sum(-1).mean()
    return total


def test_gradients_are_those_of_the_sum():
    dense, sparse, bridge = sides()
    whole(dense, sparse, bridge, WEIGHTS).backward()
    right = gradients(sparse.module, bridge)
    sparse.module.zero_grad()
    bridge.zero_grad()
    generator = torch.Generator().manual_seed(7)
    losses = add_gradients(dense, sparse, bridge, tokens(), WEIGHTS, generator=generator)
    found = gradients(sparse.module, bridge)
    assert found.keys() == right.keys()
    for name, grad in right.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-6, msg=name)
    assert all(parameter.grad is None for parameter in dense.module.parameters())
    total = losses.pretraining + sum(
        weight * sum(part)
        for weight, part in (
            (0.5, losses.encode), (0.75, losses.decode), (1.25, losses.to_sparse),
            (1.5, losses.to_dense), (0.25, losses.mixtures),
        )
    )  # fmt: skip
    assert total == pytest.approx(float(whole(dense, sparse, bridge, WEIGHTS).detach()), rel=1e-5)


def test_half_a_batch_with_half_the_scale_twice():
    dense, sparse, bridge = sides()
    config = BridgeConfig(
        encode=0, decode=0
    )  # variances are of a part, so that only these are means of parts
    rows = torch.cat([tokens(), tokens().flip(0)])
    add_gradients(dense, sparse, bridge, rows, config)
    right = gradients(sparse.module, bridge)
    sparse.module.zero_grad()
    bridge.zero_grad()
    for part in rows.chunk(2):
        add_gradients(dense, sparse, bridge, part, config, scale=0.5)
    for name, grad in gradients(sparse.module, bridge).items():
        torch.testing.assert_close(grad, right[name], rtol=1e-4, atol=1e-6, msg=name)


def test_a_perfect_bridge_loses_nothing():
    """The same model on both sides, and the identity between: hybrids are the model itself."""
    model = SparseGPT(SPARSE, seed=2)
    side = side_of(model)
    bridge = Bridge(32, 32, 5, fraction=1.0)
    with torch.no_grad():
        for parameter in bridge.parameters():
            parameter.copy_(torch.eye(32) if parameter.ndim == 2 else torch.zeros(32))
    losses = add_gradients(
        side, side, bridge, tokens(), BridgeConfig(mixtures=3), generator=torch.Generator()
    )
    for part in losses[1:]:
        assert part == pytest.approx([0] * len(part), abs=1e-6)


def test_crossings_at_either_end():
    dense, sparse, bridge = sides()
    inputs = tokens()[:, :-1]
    there, here = traced(dense, inputs), traced(sparse, inputs)
    wanted = there.logits.log_softmax(-1)
    # Sparse up to the last location, and the dense model's unembedding of it.
    last = crossing(dense, sparse, bridge, there.stream[4], here.stream[4], 4, inputs, wanted)
    decoded = dense.leave(bridge.decode(here.stream[4], 4), inputs).log_softmax(-1)
    by_hand = (wanted.exp() * (wanted - decoded)).sum(-1).mean()
    assert float(last.to_dense.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-5)
    # One crossing is a mixture that changes sides once; none is the model itself.
    one = mixed(dense, sparse, bridge, there.stream[0], here.stream[0], [0, 0, 1, 1, 1], inputs)
    torch.testing.assert_close(one, onward(sparse, bridge.encode(there.stream[2], 2), 2, inputs))
    torch.testing.assert_close(
        mixed(dense, sparse, bridge, there.stream[0], here.stream[0], [1] * 5, inputs), here.logits
    )


def test_by_hand():
    # Mean 2 and deviations of 1 and 1: missed (1 - 1)^2 + (3 - 2)^2 of 2.
    assert float(missed(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[1.0], [3.0]]]))) == 0.5
    # The mean of 0 and of 3/4 log(3/2) + 1/4 log(1/2).
    wanted = torch.tensor([[[0.5, 0.5], [0.75, 0.25]]]).log()
    by_hand = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert float(divergence(wanted, torch.zeros(1, 2, 2))) == pytest.approx(by_hand)
    assert len(Losses._fields) == 6


def test_a_mixture_always_crosses():
    generator = torch.Generator().manual_seed(0)
    drawn = [tuple(drawn_sides(3, generator)) for _ in range(600)]
    counts = {sides: drawn.count(sides) for sides in set(drawn)}
    assert len(counts) == 6  # of 8, without the two that are of one model alone
    assert all(70 < count < 130 for count in counts.values()), counts
