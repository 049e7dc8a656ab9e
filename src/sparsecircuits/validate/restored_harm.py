"""What a node does while others come back: the harm of its absence under restorings like those of T4.

With all else at its mean a node may be idle, and yet be there for a reason: it makes up for what a deleted
node does once that comes back. For each restoring, in which a random share of the deleted nodes and cut edges
is live again (:mod:`sparsecircuits.prune.restore`), the loss is measured with the node live and with the node
at its mean; all else is the same both times. The harm of its absence is the mean difference.

For a node outside the circuit it is that of taking it away again after it was added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sparsecircuits.circuit import Wires
from sparsecircuits.model import Node, Prompts, intervene
from sparsecircuits.prune.restore import restorings
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate.subject import Subject

#: So many nodes are tried in one run of the model, each on a copy of the prompts.
AT_ONCE = 8


@torch.no_grad()
def restored_harms(subject: Subject, nodes: Sequence[Node], pairs: TokenPairs, *, draws: int) -> Tensor:
    """[nodes] by how much the mean loss rises without each, in nats, mean over restorings.

    Args:
        subject: its circuit is meant.
        nodes: of the circuit or not.
        pairs: prompts.
        draws: restorings, the same for all nodes and prompts.
    """
    model, circuit = subject.model, subject.circuit
    harms = torch.zeros(len(nodes), dtype=torch.double)
    for live, absent in restorings(model.config, circuit, range(draws), seed=subject.draw_seed):
        there = [node in circuit.nodes or bool(live[str(node.at)][node.index]) for node in nodes]
        turned = [(node, 0.0 if on else 1.0) for node, on in zip(nodes, there, strict=True)]
        wires = Wires.of(model, absent)
        with wires.carrying(model, torch.zeros(len(absent)), circuit.frozen):
            (whole,) = _losses(subject, pairs, live, [None])
            chunks = [turned[start : start + AT_ONCE] for start in range(0, len(turned), AT_ONCE)]
            other = torch.cat([_losses(subject, pairs, live, chunk) for chunk in chunks])
        harms += torch.where(torch.tensor(there), other - whole, whole - other)
    return harms / draws


def _losses(
    subject: Subject,
    pairs: TokenPairs,
    live: Mapping[str, Tensor],
    turned: Sequence[tuple[Node, float] | None],
) -> Tensor:
    """[turned] mean losses while nodes are as far live as ``live`` says, but for one node each."""
    sets = len(turned)
    keep = {name: factors.repeat(sets, 1, 1) for name, factors in live.items()}  # [sets, 1, width]
    for row, change in enumerate(turned):
        if change is not None:
            node, factor = change
            keep[str(node.at)][row, 0, node.index] = factor
    frozen = subject.circuit.frozen
    changes = {name: _held(factors, frozen[name]) for name, factors in keep.items()}
    with intervene(subject.model, changes):
        logits = subject.model.answers(Prompts.stacked([pairs.prompts] * sets))
    each = logits.view(sets, len(pairs.last), -1)
    return torch.stack([subject.losses(rows, pairs).double().mean() for rows in each])


def _held(keep: Tensor, frozen: Tensor) -> Callable[[Tensor], Tensor]:
    """``x`` [sets, kept, width] as far as ``keep`` says, the frozen value for the rest."""
    rest = frozen * (1 - keep)
    return lambda x: torch.addcmul(rest, x, keep)
