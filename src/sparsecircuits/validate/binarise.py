"""A circuit of switches: every kept node is made a step between two levels (Gao et al. 2025, §C, Fig 34).

A circuit whose nodes are on or off can be read as logic. How near one is to that is told in these steps:

1. A node's activations are those within the circuit, at every real token of training prompts of the task.
   A threshold at a quarter, half or three quarters of their range parts them; ``low`` and ``high`` are the
   means of the two parts, and the step lies at ``(low + high) / 2``, wherever the threshold was.
2. Of the three thresholds each node gets the one of least harm: the circuit's task loss with that node alone
   made a step; of equally good ones the first. A node that never varies is a constant. As each node is
   chosen for alone, choices may not go together: a better choice may exist.
3. All nodes become steps at once, and the loss is measured on held-out prompts: as it is, after refitting one
   positive scale, and on the way there (:func:`mixed`). One after another, from the least harmful on, as many
   nodes become steps as the loss allows.

Nothing is trained on the way. In the paper, models with more nonzero weights bear it better.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsecircuits.model import Node
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import Calibration, fit_scale, pair_logits, score
from sparsecircuits.validate.interval import Interval
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.steps import Step, activations, binarised, mixed, stepping
from sparsecircuits.validate.subject import FEW, Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

__all__ = [
    "Binarised",
    "Step",
    "StepEffect",
    "binarise",
    "binarised",
    "binarising",
    "find_steps",
    "mixed",
]

#: Where in a node's range its activations are parted.
SHARES = (0.25, 0.5, 0.75)
#: Thresholds whose harm differs by less, in nats, are equally good, and the first is taken. Else rounding
#: would choose, and of two that are as good alone one may ruin all nodes together.
TIE = 1e-4
#: At which progress the way from activation to step is measured.
PROGRESS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
#: Nodes that are tried one by one, at most.
MOST_NODES = 128


def find_steps(subject: Subject, *, pairs: int = FEW, most_nodes: int = MOST_NODES) -> dict[Node, Step]:
    """The step of every kept node, each of least harm alone.

    Args:
        pairs: so many train pairs tell levels and harm.
        most_nodes: so many nodes, in their order, have all thresholds tried; others get that at one half.
    """
    return {node: tried.step for node, tried in _find(subject, pairs, most_nodes).items()}


class _Tried(NamedTuple):
    """A node's best step, and the circuit's train loss with it alone, if that was measured."""

    step: Step
    loss: float | None


@torch.no_grad()
def _find(subject: Subject, pairs: int, most_nodes: int) -> dict[Node, _Tried]:
    train, nodes = subject.train.first(pairs), sorted(subject.circuit.nodes)
    values = activations(subject.model, nodes, train, subject.circuit)
    found = {}
    with subject.circuit.installed(subject.model, sealed=True):
        for node in nodes[:most_nodes]:
            steps = dict.fromkeys(Step.parting(values[node], share) for share in SHARES)
            tried = [(step, float(_losses(subject, train, {node: step}).mean())) for step in steps]
            least = min(loss for _, loss in tried)
            found[node] = next(_Tried(*one) for one in tried if one[1] <= least + TIE)
    return found | {node: _Tried(Step.parting(values[node], 0.5), None) for node in nodes[most_nodes:]}


def _losses(subject: Subject, pairs: TokenPairs, steps: Mapping[Node, Step], progress: float = 1.0) -> Tensor:
    """[rows] of the installed circuit."""
    with stepping(subject.model, steps, progress):
        return subject.losses(pair_logits(subject.model, pairs), pairs)


@dataclass(frozen=True, kw_only=True)
class StepEffect:
    """One node made a step, all others live.

    Attributes:
        change: of the circuit's held-out task loss, in nats; with its 95% interval over templates.
    """

    node: Node
    step: Step
    change: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Binarised:
    """What a circuit of steps does on held-out pairs; losses in nats, under the full model's scale.

    Attributes:
        effects: of each node alone, in the order of nodes.
        steps: of all nodes.
        left_out: how many nodes were not tried alone, being too many.
        plain: loss of the circuit as it is.
        loss: with all nodes steps, and its 95% interval.
        refitted: the same after refitting one positive ``scale`` on train pairs.
        plain_accuracy, accuracy: share of prompts right, as it is and with all nodes steps.
        curve: (progress, loss) of all nodes together on their way to steps.
        limit: what a held-out loss may be: the circuit's target and test T1's slack.
        taken: nodes that became steps one after another, from the least harmful on train pairs on; one that
            would lift the loss above ``limit`` stayed live.
        taken_loss: with those.
    """

    effects: tuple[StepEffect, ...]
    steps: Mapping[Node, Step]
    left_out: int
    plain: float
    loss: float
    interval: Interval
    refitted: float
    scale: float
    plain_accuracy: float
    accuracy: float
    curve: tuple[tuple[float, float], ...]
    limit: float
    taken: tuple[Node, ...]
    taken_loss: float

    @property
    def constant(self) -> tuple[Node, ...]:
        """Nodes that never vary on the task."""
        return tuple(node for node, step in self.steps.items() if step.low == step.high)

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        data["steps"] = {str(node): step._asdict() for node, step in self.steps.items()}
        data["effects"] = {
            str(one.node): {"change": one.change, "interval": list(one.interval)} for one in self.effects
        }
        data["taken"] = [str(node) for node in self.taken]
        data["constant"] = [str(node) for node in self.constant]
        return data | {"interval": list(self.interval), "curve": [list(point) for point in self.curve]}


@torch.no_grad()
def binarise(subject: Subject, *, most_nodes: int = MOST_NODES) -> Binarised:
    """Make the nodes of a circuit steps, alone, one after another and all at once.

    Args:
        most_nodes: so many, in the order of nodes, are tried alone and one after another; all together they
            are steps in any case.
    """
    model, pairs = subject.model, subject.some
    found = _find(subject, FEW, most_nodes)
    steps = {node: tried.step for node, tried in found.items()}
    limit = subject.target + THRESHOLDS.sufficiency_slack
    order = sorted((one.loss, node) for node, one in found.items() if one.loss is not None)
    with subject.circuit.installed(model, sealed=True):
        plain = pair_logits(model, pairs)
        before = subject.losses(plain, pairs)
        effects = [_effect(subject, node, steps[node], before) for node in sorted(steps)[:most_nodes]]
        curve = [(at, float(_losses(subject, pairs, steps, at).mean())) for at in PROGRESS]
        taken: dict[Node, Step] = {}
        taken_loss = float(before.mean())
        for _, node in order:
            loss = float(_losses(subject, pairs, taken | {node: steps[node]}).mean())
            if loss <= limit:
                taken[node], taken_loss = steps[node], loss
        with stepping(model, steps):
            scale = fit_scale(pair_logits(model, subject.train), subject.train)
            logits = pair_logits(model, pairs)
    after = subject.losses(logits, pairs)
    return Binarised(
        effects=tuple(effects),
        steps=steps,
        left_out=len(steps) - len(effects),
        plain=float(before.mean()),
        loss=float(after.mean()),
        interval=subject.interval(after, pairs),
        refitted=score(logits, pairs, Calibration(scale, 0.0)).loss,
        scale=scale,
        plain_accuracy=score(plain, pairs).accuracy,
        accuracy=score(logits, pairs).accuracy,
        curve=tuple(curve),
        limit=limit,
        taken=tuple(taken),
        taken_loss=taken_loss,
    )


def _effect(subject: Subject, node: Node, step: Step, before: Tensor) -> StepEffect:
    """Of one node, in the installed circuit with losses ``before`` [rows]."""
    change = _losses(subject, subject.some, {node: step}) - before
    interval = subject.interval(change, subject.some)
    return StepEffect(node=node, step=step, change=float(change.mean()), interval=interval)


def binarising(subject: Subject, *, most_nodes: int = MOST_NODES) -> Outcome:
    """B: task loss of the circuit with every node a step, beside that of the circuit as it is; not judged."""
    if not subject.circuit.nodes:
        return Outcome.not_applicable("B", "a circuit without nodes has nothing to make steps of")
    result = binarise(subject, most_nodes=most_nodes)
    note = (
        f"a report, not judged: {len(result.taken)} of {len(result.effects)} nodes can be steps together "
        f"within {result.limit:.3g} nats"
    )
    return Outcome(
        test="B",
        estimate=result.loss,
        interval=result.interval,
        control=result.plain,
        passed=None,
        figures=result.to_dict(),
        settings=subject.settings(
            subject.some,
            ablated="all nodes outside the circuit; its own are steps",
            values="pretraining means; two levels each, from train prompts within the circuit",
            draws=1,
        ),
        note=note,
    )
