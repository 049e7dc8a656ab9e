"""One optimizer step: gradients by their RMS, decay, and the order of things, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sparsecircuits.model import SparseGPT
from sparsecircuits.train import RunConfig
from sparsecircuits.train.optimizer import SparseOptimizer, gradient_divisor, gradient_rms

# RMS over all four: sqrt((9 + 16 + 0 + 144) / 4) = 6.5, then a hundredth of that.
GRADIENTS = [[3.0, 4.0], [0.0, 12.0]]


def parameters(scale: float = 1.0) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    for parameter, gradient in zip(made, GRADIENTS, strict=False):
        parameter.grad = torch.tensor(gradient) * scale
    return made  # the third has no gradient and does not count


@pytest.mark.parametrize(
    ("mode", "scale", "divisor"),
    [
        ("normalise", 1.0, 6.5 + 1e-5),
        ("normalise", 0.01, 0.065 + 1e-5),
        ("clip", 1.0, 6.5),
        ("clip", 0.01, 1.0),
        ("none", 1.0, 1.0),
        ("none", 0.01, 1.0),
    ],
)
def test_gradients_by_their_rms(mode: str, scale: float, divisor: float):
    rms = gradient_rms(parameters(scale))
    assert rms == pytest.approx(6.5 * scale)
    assert gradient_divisor(rms, mode) == pytest.approx(divisor)


def test_decay_is_for_matrices_but_the_bigram_table(config: RunConfig):
    # No gradient, nothing sparse, and past warm-up: only the decay of lr · 0.1 is left.
    train = config.train.replace(density=1.0, embed_density=None, lr=0.5, decay="constant")
    for positions in ("learned", "concat"):
        model = SparseGPT(type(config.model).from_dict({**config.model.to_dict(), "positions": positions}))
        optimizer = SparseOptimizer(model, train)
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step(4)
        for name, parameter in model.named_parameters():
            decays = parameter.ndim == 2 and name != "bigram_table"
            expected = before[name] * (1 - 0.5 * 0.1) if decays else before[name]
            torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=0)


def test_the_first_step_of_adam_by_hand(config: RunConfig):
    """With bias correction the first step is lr · g / (|g| + eps), here before a decay of 0."""
    train = config.train.replace(
        density=1.0, embed_density=None, lr=0.5, decay="constant", weight_decay=0.0, grad_rms="none"
    )
    model = SparseGPT(config.model)
    optimizer = SparseOptimizer(model, train)
    bias = model.get_parameter("transformer.h.0.mlp.c_fc.bias")
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert bias.grad is not None
    bias.grad[0], bias.grad[1] = 0.3, -0.1
    rms = optimizer.step(2)  # warm-up ends at step 2
    assert bias[:3].tolist() == pytest.approx([-0.5 * 0.3 / 0.4, 0.5 * 0.1 / 0.2, 0.0])
    assert rms == pytest.approx(math.sqrt(0.1 / sum(p.numel() for p in model.parameters())))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_adam_sees_the_normalised_gradients(config: RunConfig):
    """The first step again, lr · g / (|g| + eps), with every g divided by the RMS of all + 1e-5."""
    train = config.train.replace(density=1.0, embed_density=None, lr=0.5, decay="constant", weight_decay=0.0)
    model = SparseGPT(config.model)
    bias = model.get_parameter("transformer.h.0.mlp.c_fc.bias")
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert bias.grad is not None
    bias.grad[0] = 0.3
    rms = SparseOptimizer(model, train).step(2)
    count = sum(p.numel() for p in model.parameters())
    assert rms == pytest.approx(0.3 / math.sqrt(count))
    g = 0.3 / (rms + 1e-5)
    assert bias[:2].tolist() == pytest.approx([-0.5 * g / (g + 0.1), 0.0])


def test_a_zeroed_weight_can_come_back(config: RunConfig):
    model = SparseGPT(config.model)
    optimizer = SparseOptimizer(model, config.train.replace(lr=1.0))
    weight = model.lm_head.weight

    def step(gradient: torch.Tensor) -> None:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        weight.grad = gradient
        optimizer.step(6)

    step(torch.zeros_like(weight))
    row, column = [int(x) for x in (weight == 0).nonzero()[0]]
    gradient = torch.zeros_like(weight)
    gradient[row, column] = -1.0
    step(gradient)
    assert weight[row, column] > 0
    assert weight.count_nonzero() == 300 * 16 // 2


def test_state_comes_back(config: RunConfig):
    model = SparseGPT(config.model)
    optimizer = SparseOptimizer(model, config.train)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step(3)
    other = SparseOptimizer(SparseGPT(config.model), config.train)
    other.load_state(optimizer.state())
    state = optimizer.state()
    assert state["lm_head.weight/step"] == 1
    assert set(state) == {
        f"{name}/{key}" for name in optimizer.names for key in ("step", "exp_avg", "exp_avg_sq")
    }
    assert all(torch.equal(state[name], tensor) for name, tensor in other.state().items())
