"""Adam in one launch: by hand, and as the training's own and torch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sparsecircuits.ops import gpu
from sparsecircuits.ops.gpu import adam as kernels
from sparsecircuits.train.adam import Adam

SIZES = [(3, 5), (1,), (kernels.CHUNK,), (0,), (2, kernels.CHUNK + 1)]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def trained(
    device: torch.device, betas: tuple[float, float], late: int = 0, plain: bool = False
) -> list[Tensor]:
    """Weights, both moments and step counts after three steps; ``late`` tensors have no gradient at first.

    ``plain``: by torch's Adam on divided gradients.
    """
    tensors = [normal(*shape, seed=place).to(device) for place, shape in enumerate(SIZES)]
    adam = Adam(tensors, lr=1.0, betas=betas, eps=1e-3)
    torchs = torch.optim.Adam(tensors, lr=1.0, betas=betas, eps=1e-3)
    for step in range(3):
        lr, divisor = 0.01 * (step + 1), 0.37 + step
        for place, tensor in enumerate(tensors):
            grad = normal(*tensor.shape, seed=100 * step + place).to(device)
            tensor.grad = None if step == 0 and place < late else grad / (divisor if plain else 1)
        torchs.param_groups[0]["lr"] = lr
        _ = torchs.step() if plain else adam.step(lr, divisor)
    states = (torchs if plain else adam).state
    return tensors + [states[one][key] for key in ("exp_avg", "exp_avg_sq", "step") for one in tensors]


@pytest.mark.parametrize("betas", [(0.9, 0.95), (0.0, 0.999)])
def test_it_is_the_adam_of_training(device: torch.device, betas: tuple[float, float]):
    ours = trained(device, betas)
    with gpu.using("off"):
        theirs = trained(device, betas)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("late", [0, 2])
def test_it_is_torchs_with_gradients_divided(device: torch.device, late: int):
    ours = trained(device, (0.9, 0.95), late)
    for one, other in zip(ours, trained(device, (0.9, 0.95), late, plain=True), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=1e-7)
    assert [float(count) for count in ours[-len(SIZES) :]] == [3.0 - (place < late) for place in range(5)]


def test_two_steps_by_hand(device: torch.device):
    weight = torch.tensor([1.0, 1.0], device=device)
    adam = Adam([weight], lr=1.0, betas=(0.5, 0.75), eps=0.0)
    weight.grad = torch.tensor([2.0, -6.0], device=device)
    adam.step(0.1, 2.0)
    # Corrected for their start the moments are g and g², so that the step is 0.1 to either side.
    torch.testing.assert_close(weight, torch.tensor([0.9, 1.1], device=device))
    weight.grad = torch.tensor([0.0, 0.0], device=device)
    adam.step(0.1, 2.0)
    # m = 0.25 g / (1 - 0.25), v = 0.1875 g² / (1 - 0.5625).
    moved = 0.1 * (0.25 / 0.75) / math.sqrt(0.1875 / 0.4375)
    torch.testing.assert_close(weight, torch.tensor([0.9 - moved, 1.1 + moved], device=device))


def test_the_same_bits_wherever_it_is_cut(device: torch.device):
    def stepped(parts: list[Tensor]) -> Tensor:
        adam = Adam(parts, lr=1.0, betas=(0.9, 0.95), eps=0.1)
        for part, grad in zip(parts, normal(1200, seed=5).split([len(p) for p in parts]), strict=True):
            part.grad = grad.to(device)
        adam.step(0.3, 1.7)
        return torch.cat(parts)

    start = normal(1200, seed=4).to(device)
    cut = [part.clone() for part in start.split([7, 1100, 93])]
    assert torch.equal(stepped([start.clone()]), stepped(cut))


def test_a_gradient_that_lies_otherwise(device: torch.device):
    """A product's gradient may come transposed."""
    weight = torch.zeros(2, 3, device=device)
    weight.grad = normal(3, 2, seed=0).to(device).t()
    adam = Adam([weight], lr=1.0, betas=(0.9, 0.95), eps=0.0)
    adam.step(0.1, 1.0)
    torch.testing.assert_close(weight, -0.1 * weight.grad.sign())


def test_torch_counts_the_change(device: torch.device):
    """What is known of a weight, such as its pattern, is void when its version changes."""
    weight = torch.zeros(2, device=device, requires_grad=True)
    before = weight._version
    weight.grad = torch.ones(2, device=device)
    Adam([weight], lr=1.0, betas=(0.9, 0.95), eps=0.1).step(0.1, 1.0)
    assert weight._version > before


def test_nan_stays_in_its_place(device: torch.device):
    weight = torch.ones(3, device=device)
    weight.grad = torch.tensor([1.0, torch.nan, 1.0], device=device)
    Adam([weight], lr=1.0, betas=(0.9, 0.95), eps=0.0).step(0.1, 1.0)
    assert weight.isnan().tolist() == [False, True, False]


def test_without_gradients_nothing_happens(device: torch.device):
    weight = torch.ones(3, device=device)
    adam = Adam([weight], lr=1.0, betas=(0.9, 0.95), eps=0.1)
    adam.step(0.1, 1.0)
    assert weight.tolist() == [1.0] * 3
    assert not adam.state.get(weight)
