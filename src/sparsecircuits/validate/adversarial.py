"""Adversarial ablation (T5): the worst set of deleted nodes comes back.

Random restoring (:mod:`~sparsecircuits.validate.stochastic`) may miss a bad set; here an adversary looks for
one. It chooses r between 0 and 1 for every deleted node and every cut edge, the same for all prompts, so that
it cannot live on the noise of single ones:

1. from each of several starts (nothing restored, then uniformly random r) it goes up the loss on the even
   pairs by signed gradient steps on r (PGD with one mask for the whole batch, as in Goodfire's ``spd``), and
   keeps the r of highest loss that it meets;
2. the worst of all is scored on the odd pairs, which it has not seen.

r = 0 everywhere is the circuit alone, so on the pairs that it is tuned on the worst is no better than that.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit, Wires, freeze
from sparsecircuits.model import SparseGPT
from sparsecircuits.prune.restore import split_by_site
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

#: Length of a signed gradient step.
STEP = 0.2
#: Starts of the attack on the control.
CONTROL_RESTARTS = 2


@torch.no_grad()
def adversarial_ablation(subject: Subject, *, restarts: int = 5, steps: int = 20) -> Outcome:
    """Find the restoring that harms the circuit most, on one half of the prompts, and score it on the other.

    Control: the same attack on a random circuit of equal profile.

    Args:
        subject: what is tested.
        restarts: starts of the adversary; the first restores nothing.
        steps: signed gradient steps from each.

    Raises:
        ValueError: no start.
    """
    if restarts < 1:
        raise ValueError(f"restarts is {restarts}; at least one start is needed")
    even, odd = subject.some.rows(slice(0, None, 2)), subject.some.rows(slice(1, None, 2))
    found = _attack(subject, even, restarts, steps)
    losses = _losses(subject, odd, found.restored)
    plain = float(subject.circuit_losses(odd).mean())
    (random,) = subject.random_circuits(1)
    about = subject.about(random)
    worst = _attack(about, even, min(restarts, CONTROL_RESTARTS), steps)
    control = float(_losses(about, odd, worst.restored).mean())
    loss = float(losses.mean())
    return Outcome(
        test="T5",
        estimate=loss,
        interval=subject.interval(losses, odd),
        control=control,
        passed=loss <= THRESHOLDS.adversarial and loss < control,
        figures={
            "plain_loss": plain,
            "ratio": loss / plain if plain else math.inf,
            "full_loss": float(subject.full_losses(odd).mean()),
            "tuned_loss": max(found.losses),
            "loss_per_restart": list(found.losses),
            "restored": found.share,
            "control_plain_loss": float(subject.circuit_losses(odd, random).mean()),
        },
        settings=subject.settings(
            odd,
            ablated="all other nodes, and cut edges, less what an adversary restores",
            to="their means",
            shared_by="all prompts",
            tuned_on=f"{2 * len(even)} other prompts",
            restarts=restarts,
            control_restarts=min(restarts, CONTROL_RESTARTS),
            steps=steps,
            step=STEP,
        ),
    )


class _Attack(NamedTuple):
    """What an adversary found.

    Attributes:
        restored: [nodes + cut edges] between 0 and 1; what it says of kept nodes has no effect.
        losses: the highest loss from each start, on the prompts that it was tuned on.
        share: how much of the deleted nodes and cut edges is restored, on average.
    """

    restored: Tensor
    losses: tuple[float, ...]
    share: float


def _attack(subject: Subject, pairs: TokenPairs, restarts: int, steps: int) -> _Attack:
    absent = _absent(subject.model, subject.circuit)
    generator = torch.Generator().manual_seed(subject.seed)
    losses, worst = [], torch.zeros(len(absent))
    for restart in range(restarts):
        # Between 0 and 1, not 0 or 1: along a chain of nodes one that is off hides the slope of the rest.
        start = torch.rand(len(absent), generator=generator) if restart else torch.zeros(len(absent))
        restored, loss = _ascend(subject, pairs, start, steps)
        worst = restored if loss > max(losses, default=float("-inf")) else worst
        losses.append(loss)
    share = float(worst[absent].mean()) if bool(absent.any()) else 0.0
    return _Attack(worst, tuple(losses), share)


def _ascend(subject: Subject, pairs: TokenPairs, start: Tensor, steps: int) -> tuple[Tensor, float]:
    """The r of highest mean loss on the way up from ``start``, and that loss."""
    here, best, highest = start, start, float("-inf")
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            here = here.detach().requires_grad_(step < steps)
            loss = _losses(subject, pairs, here).mean()
            slope = torch.autograd.grad(loss, here)[0] if step < steps else torch.zeros_like(here)
        if float(loss.detach()) > highest:
            best, highest = here.detach(), float(loss.detach())
        here = (here.detach() + STEP * slope.sign()).clamp(0, 1)
    return best, highest


def _losses(subject: Subject, pairs: TokenPairs, restored: Tensor) -> Tensor:
    """[rows] task losses while ``restored`` is, differentiable in it."""
    with _restoring(subject.model, subject.circuit, restored):
        return subject.losses(subject.model.answers(pairs.prompts), pairs)


@contextmanager
def _restoring(model: SparseGPT, circuit: Circuit, restored: Tensor) -> Generator[None]:
    """Run ``model`` as the circuit, what it lacks being live by ``restored`` [nodes + cut edges]."""
    cut = sorted(circuit.cut)
    nodes, edges = restored.split([model.config.node_count, len(cut)])
    back = split_by_site(model.config, nodes)
    deleted = {name: ~keep for name, keep in circuit.keep_masks().items()}
    live = {name: factor + back[name] * deleted[name] for name, factor in circuit.factors().items()}
    wires = Wires.of(model, cut)
    with freeze(model, live, circuit.frozen), wires.carrying(model, edges, circuit.frozen):
        yield


def _absent(model: SparseGPT, circuit: Circuit) -> Tensor:
    """[nodes + cut edges] whether each is absent from the circuit, in the order of :func:`_restoring`."""
    kept = circuit.keep_masks()
    nodes = [~kept[str(at)] for at in model.config.site_names()]
    return torch.cat([*nodes, torch.ones(len(circuit.cut), dtype=torch.bool)])
