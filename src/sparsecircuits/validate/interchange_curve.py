"""Interchange with the full model (T14): do nodes hold in the circuit what they hold in the model?

The circuit runs alone, its deleted nodes at their frozen values, while a random share f of its kept nodes
takes the values that the full model has on the same prompts. At f = 0 that is the circuit; at f = 1 all its
nodes are the full model's. Where both agree, the loss does not depend on f. It rises where the circuit is
adapted to values that the model does not have, and falls where it lacks what the model's values hold. (After
Drori's code, which draws the same curve.)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.validate.interchange import NodeValues
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS


@torch.no_grad()
def interchange_to_full(subject: Subject, *, shares: int = 11, draws: int = 10) -> Outcome:
    """Give a growing share of the kept nodes the full model's values. Control: a random circuit likewise.

    Judged is how far the loss gets from that at f = 0, up or down: a loss that falls, too, says that the
    circuit's values are not the model's.

    Args:
        subject: what is tested. Its cut edges stay cut; a node that takes the model's value has no gain.
        shares: how many, evenly from 0 to 1; at least two.
        draws: of which nodes, for each share between.

    Raises:
        ValueError: fewer than two shares, or no draw.
    """
    if shares < 2 or draws < 1:
        raise ValueError(f"shares is {shares} and draws {draws}; at least 2 and 1 are needed")
    pairs = subject.some
    found = _curve(subject, shares, draws)
    (random,) = subject.random_circuits(1)
    other = _curve(subject.about(random), shares, draws)
    return Outcome(
        test="T14",
        estimate=found.change,
        interval=subject.interval(found.changes, pairs),
        control=other.change,
        passed=found.change <= THRESHOLDS.interchange_curve,
        figures={
            "shares": found.shares,
            "curve": found.means,
            "rise": max(found.means) - found.means[0],
            "fall": found.means[0] - min(found.means),
            "control_curve": other.means,
        },
        settings=subject.settings(
            pairs,
            ablated="all other nodes, and cut edges",
            to="their means",
            patched="a random share of the kept nodes, to the full model's values on the same prompts",
            shared_by="all prompts",
            shares=shares,
            draws=draws,
        ),
    )


class _Curve(NamedTuple):
    """Losses while a share of the kept nodes is the full model's.

    Attributes:
        shares: from 0 to 1.
        losses: [shares, rows] mean over draws, in nats.
    """

    shares: list[float]
    losses: Tensor

    @property
    def means(self) -> list[float]:
        return self.losses.mean(1).tolist()

    @property
    def changes(self) -> Tensor:
        """[rows] from share 0 to the one of farthest mean, signed so that their mean is not negative."""
        changes = self.losses - self.losses[0]
        farthest = changes[changes.mean(1).abs().argmax()]
        return farthest * farthest.mean().sign()

    @property
    def change(self) -> float:
        return float(self.changes.mean())


def _curve(subject: Subject, shares: int, draws: int) -> _Curve:
    model, circuit, pairs = subject.model, subject.circuit, subject.some
    nodes = sorted(circuit.nodes)
    # A node's value on a token depends on what is before it alone, so prompts that begin alike may share it.
    full = NodeValues.of(model, nodes, lambda: model.answers(pairs.prompts))
    generator = torch.Generator().manual_seed(subject.seed)
    points = [step / (shares - 1) for step in range(shares)]
    losses = []
    for share in points:
        count = round(share * len(nodes))
        total = torch.zeros(len(pairs.last))
        times = 1 if count in (0, len(nodes)) else draws
        for _ in range(times):
            order = torch.randperm(len(nodes), generator=generator)[:count].tolist()
            with (
                circuit.installed(model, sealed=True),
                full.only(nodes[place] for place in order).put(model),
            ):
                total += subject.losses(model.answers(pairs.prompts), pairs)
        losses.append(total / times)
    return _Curve(points, torch.stack(losses))
