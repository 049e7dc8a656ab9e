"""Deleted nodes come back to life: a circuit that is true must not mind.

With c = 1 for a kept node and r = 1 for a deleted one that is restored, a node's value is

    c * live + (1 - c) * (r * live + (1 - r) * frozen)

r = 0 everywhere is the circuit as pruning has it, r = 1 everywhere the full model. A circuit that uses one of
two nodes which cancel each other in the model does well at r = 0 alone. One r is drawn for a whole batch:
drawn for each prompt, noise would average out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit, freeze
from sparsecircuits.circuit.edges import Ends
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.tasks.loss import task_loss
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import Calibration, calibrated, pair_logits


def random_restore(count: int, generator: torch.Generator) -> Tensor:
    """[count] 0 or 1: a share p of all nodes comes back, p itself uniform between 0 and 1."""
    share = torch.rand((), generator=generator)
    return (torch.rand(count, generator=generator) < share).float()


def adversarial_restore(loss_at: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Tensor:
    """Between 0 and 1, of the shape of ``start``: what raises the loss, found by signed gradient steps.

    Args:
        loss_at: the loss for some r, differentiable in it; the sum over all sets where there are several.
        start: [nodes] or [sets, nodes] between 0 and 1.
        steps: gradient steps, of 1/2 each.
    """
    restored = start.clone()
    for _ in range(steps):
        restored.requires_grad_(True)
        (slope,) = torch.autograd.grad(loss_at(restored), restored)
        restored = (restored.detach() + 0.5 * slope.sign()).clamp(0, 1)
    return restored.detach()


def restored_losses(
    model: SparseGPT,
    circuit: Circuit,
    pairs: TokenPairs,
    *,
    held: Calibration,
    draws: Iterable[int],
    seed: int = 0,
    never: Mapping[str, Tensor] | None = None,
) -> Iterator[float]:
    """The task loss under random restorings, in nats, one after the other: means of :func:`restored_rows`."""
    rows = restored_rows(model, circuit, pairs, held=held, draws=draws, seed=seed, never=never)
    return (float(losses.mean()) for losses in rows)


def restored_rows(
    model: SparseGPT,
    circuit: Circuit,
    pairs: TokenPairs,
    *,
    held: Calibration,
    draws: Iterable[int],
    seed: int = 0,
    never: Mapping[str, Tensor] | None = None,
) -> Iterator[Tensor]:
    """[rows] the task loss of every prompt under random restorings, in nats, one after the other.

    Args:
        model: the full model.
        circuit: its nodes stay live; all others, and the edges that it cuts, are absent or come back.
        pairs: prompts.
        held: scale and bias of the logits.
        draws: which ones; see :func:`drawn_restore`.
        seed: of the draws.
        never: site name -> [width] boolean, deleted nodes that do not come back.
    """
    for live, absent in restorings(model.config, circuit, draws, seed=seed, never=never):
        with freeze(model, live, circuit.frozen, cut=absent):
            losses = task_loss(calibrated(pair_logits(model, pairs), pairs, held), pairs)
        yield losses


class Restoring(NamedTuple):
    """A circuit of which something came back.

    Attributes:
        live: site name -> [width] how far each node is live, for :func:`~sparsecircuits.circuit.freeze`.
        absent: cut edges that did not come back.
    """

    live: dict[str, Tensor]
    absent: list[Ends]


def restorings(
    config: GPTConfig,
    circuit: Circuit,
    draws: Iterable[int],
    *,
    seed: int = 0,
    never: Mapping[str, Tensor] | None = None,
) -> Iterator[Restoring]:
    """What :func:`restored_rows` measures losses of, one after the other; for its arguments see there."""
    factors, kept, cut = circuit.factors(), circuit.keep_masks(), sorted(circuit.cut)
    for draw in draws:
        drawn = drawn_restore(config.node_count, seed, draw, edges=len(cut))
        back = split_by_site(config, drawn.nodes.bool())
        if never is not None:
            back = {name: some & ~never[name] for name, some in back.items()}
        live = {name: torch.where(~kept[name] & back[name], 1.0, one) for name, one in factors.items()}
        absent = [ends for ends, there in zip(cut, drawn.edges.tolist(), strict=True) if not there]
        yield Restoring(live, absent)


class Drawn(NamedTuple):
    """What comes back: [nodes] and [edges], 0 or 1 each."""

    nodes: Tensor
    edges: Tensor


def drawn_restore(count: int, seed: int, draw: int, edges: int = 0) -> Drawn:
    """:func:`random_restore` number ``draw`` of a seed: always the same nodes, whatever is drawn besides."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + draw)
    share = torch.rand((), generator=generator)
    return Drawn(*((torch.rand(many, generator=generator) < share).float() for many in (count, edges)))


def split_by_site(config: GPTConfig, flat: Tensor) -> dict[str, Tensor]:
    """[..., nodes] as site name -> [..., width]."""
    sites = config.site_names()
    return dict(
        zip(map(str, sites), flat.split([config.width(at.site) for at in sites], dim=-1), strict=True)
    )
