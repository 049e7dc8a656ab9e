"""Deleted nodes come back to life: a circuit that is true must not mind.

With c = 1 for a kept node and r = 1 for a deleted one that is restored, a node's value is

    c * live + (1 - c) * (r * live + (1 - r) * frozen)

r = 0 everywhere is the circuit as pruning has it, r = 1 everywhere the full model. A circuit that uses one of
two nodes which cancel each other in the model does well at r = 0 alone. One r is drawn for a whole batch:
drawn for each prompt, noise would average out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sparsecircuits.circuit import freeze
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import Calibration, pair_logits, score


def random_restore(count: int, generator: torch.Generator) -> Tensor:
    """[count] 0 or 1: a share p of all nodes comes back, p itself uniform between 0 and 1."""
    share = torch.rand((), generator=generator)
    return (torch.rand(count, generator=generator) < share).float()


def adversarial_restore(
    loss_at: Callable[[Tensor], Tensor], count: int, steps: int, generator: torch.Generator
) -> Tensor:
    """[count] between 0 and 1: what raises the loss, found by signed gradient steps from a random start.

    Args:
        loss_at: the loss for some r, differentiable in it.
        count: number of nodes.
        steps: gradient steps, of 1/2 each.
        generator: of the start.
    """
    restored = random_restore(count, generator)
    for _ in range(steps):
        restored.requires_grad_(True)
        (slope,) = torch.autograd.grad(loss_at(restored), restored)
        restored = (restored.detach() + 0.5 * slope.sign()).clamp(0, 1)
    return restored.detach()


def restored_losses(
    model: SparseGPT,
    keep: Mapping[str, Tensor],
    frozen: Mapping[str, Tensor],
    pairs: TokenPairs,
    *,
    scale: float,
    draws: int,
    seed: int = 0,
) -> list[float]:
    """The task loss under each of ``draws`` random restorings, in nats.

    Args:
        model: the full model.
        keep: site name -> [width] boolean, the circuit.
        frozen: site name -> [width] values of deleted nodes.
        pairs: prompts.
        scale: factor on the logits.
        draws: how many; the same seed gives the same ones, whatever the circuit.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(draws):
        back = split_by_site(model.config, random_restore(model.config.node_count, generator).bool())
        with freeze(model, {name: kept | back[name] for name, kept in keep.items()}, frozen):
            losses.append(score(pair_logits(model, pairs), pairs, Calibration(scale, 0.0)).loss)
    return losses


def split_by_site(config: GPTConfig, flat: Tensor) -> dict[str, Tensor]:
    """A vector over all nodes as site name -> [width]."""
    sites = config.site_names()
    return dict(zip(map(str, sites), flat.split([config.width(at.site) for at in sites]), strict=True))
