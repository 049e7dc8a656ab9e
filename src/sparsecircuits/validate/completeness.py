"""Completeness (T17): is the circuit all that does the task, or has the model spare parts outside it?

A circuit that lacks a backup looks whole until a part of it is taken away: then the circuit fails, and the
model, which falls back on the backup, does not (Wang et al. 2023, IOI). So for sets K of the circuit's nodes

    gap(K) = |F(circuit without K) - F(model without K)|

1. random K: sizes are spread evenly over the logarithm, from one node to all; without half of the nodes
   nearly every circuit and its model are both lost, and the gap says nothing;
2. greedy K: from nothing, the node that raises the gap most, for as long as one does;
3. the mean over both kinds, each counting half (a spare part for one node in twelve is hardly ever met by
   chance), as a share of F(model).

F is the mean over prompts of P(right answer) - P(wrong answer) under the model's scale: 1 if always right,
0 if guessing. IOI has the difference of the two logits, which has no bound: in a model that is right beyond
doubt a backup doubles it without changing one answer, and circuits, which are chosen by their loss, stay far
below it, so that differences of certainty would drown what removals do. It is given too, not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import Node
from sparsecircuits.tasks.score import pair_logits
from sparsecircuits.validate.interval import Interval
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

#: At each greedy step so many nodes are tried.
CANDIDATES = 20
#: From the second on, a step must raise the gap by more than this; less is rounding.
STEP = 1e-4


@torch.no_grad()
def completeness(subject: Subject, *, subsets: int = 10, greedy: int = 5) -> Outcome:
    """T17: mean gap between circuit and model without the same nodes, as a share of the model's score.

    Args:
        subject: its ``complete`` is tested, on its ``some``.
        subsets: random sets of nodes, at least one.
        greedy: nodes that are chosen greedily, at most; the set after each step counts. At least one.

    Returns:
        ``estimate`` is the mean gap by F(model); the control is the same of a random circuit of equal
        profile, over random sets.

    Raises:
        ValueError: no random or no greedy sets asked for.
    """
    if subsets < 1 or greedy < 1:
        raise ValueError(f"{subsets} random sets and {greedy} greedy nodes; at least one of each")
    circuit, pairs = subject.complete, subject.some
    if not circuit.nodes:
        return Outcome.not_applicable("T17", "the circuit has no nodes")
    whole = Gap.of(subject, circuit, frozenset())
    model = float(certainty(whole.full).mean())
    if model <= 0:
        return Outcome.not_applicable("T17", "the model does not do the task", model=model)
    generator = torch.Generator().manual_seed(subject.seed)
    drawn = [Gap.of(subject, circuit, some) for some in random_subsets(circuit, subsets, generator)]
    chosen = greedy_gaps(subject, circuit, greedy, generator)
    rows = (_mean_rows(drawn) + _mean_rows(chosen)) / (2 * model)
    low, high = subject.interval(rows, pairs)
    other = next(subject.about(circuit).random_circuits(1))
    elsewhere = [Gap.of(subject, other, some) for some in random_subsets(other, subsets, generator)]
    worst = max(chosen, key=lambda gap: gap.size)
    return Outcome(
        test="T17",
        estimate=float(rows.mean()),
        interval=Interval(max(0.0, low), high),
        control=float(_mean_rows(elsewhere).mean()) / model,
        passed=float(rows.mean()) <= THRESHOLDS.completeness,
        figures={
            "model": model,
            "circuit": float(certainty(whole.alone).mean()),
            "gap_of_none": whole.size,
            "gap_random": float(_mean_rows(drawn).mean()),
            "gap_greedy": float(_mean_rows(chosen).mean()),
            "gap_greedy_worst": worst.size,
            "greedy_worst": [str(node) for node in sorted(worst.nodes)],
            "logit_difference_model": float(whole.full.mean()),
            "logit_difference_circuit": float(whole.alone.mean()),
            "logit_gap_random": sum(gap.logit_size for gap in drawn) / len(drawn),
            "logit_gap_greedy": sum(gap.logit_size for gap in chosen) / len(chosen),
        },
        settings=subject.settings(
            pairs,
            ablated="the same nodes in circuit and model, by means",
            subsets=subsets,
            greedy=len(chosen),
            candidates=CANDIDATES,
        ),
    )


@dataclass(frozen=True)
class Gap:
    """Circuit and model without some of the circuit's nodes.

    Attributes:
        nodes: which both lack.
        alone, full: [rows] scaled logit of the right answer minus that of the wrong one.
    """

    nodes: frozenset[Node]
    alone: Tensor
    full: Tensor

    @classmethod
    def of(cls, subject: Subject, circuit: Circuit, nodes: frozenset[Node]) -> Gap:
        """Run both on the subject's ``some``."""
        with circuit.without(nodes).installed(subject.model, sealed=True):
            alone = advantages(subject)
        with circuit.keeping(nodes).removed(subject.model):
            full = advantages(subject)
        return cls(nodes, alone, full)

    @property
    def rows(self) -> Tensor:
        """[rows] what each prompt adds to the gap; their mean is :attr:`size`."""
        difference = certainty(self.alone) - certainty(self.full)
        return -difference if difference.mean() < 0 else difference

    @property
    def size(self) -> float:
        """The gap, between 0 and 2."""
        return float(self.rows.mean())

    @property
    def logit_size(self) -> float:
        """The gap if F is the mean logit difference."""
        return abs(float((self.alone - self.full).mean()))


def advantages(subject: Subject) -> Tensor:
    """[rows] scaled logit of the right answer minus that of the wrong one, of what is installed on the model.

    Where a token stands against all others: log-odds of what is right, the token or not the token.
    """
    pairs = subject.some
    return subject.leads(pair_logits(subject.model, pairs).double(), pairs)


def certainty(advantage: Tensor) -> Tensor:
    """P(right answer) - P(wrong answer) of a logit difference, between -1 and 1."""
    return (advantage / 2).tanh()


def random_subsets(circuit: Circuit, count: int, generator: torch.Generator) -> list[frozenset[Node]]:
    """Nodes of ``circuit``, each set of a size drawn evenly over the logarithm from 1 to all."""
    nodes = sorted(circuit.nodes)
    sizes = [round(len(nodes) ** float(torch.rand((), generator=generator))) for _ in range(count)]
    return [_some(nodes, size, generator) for size in sizes]


def greedy_gaps(subject: Subject, circuit: Circuit, most: int, generator: torch.Generator) -> list[Gap]:
    """The gaps of growing sets of nodes: at each step that which raises the gap most joins.

    The first is always taken; then it ends where none of the nodes tried raises the gap, or at ``most``.
    """
    found: list[Gap] = []
    nodes: frozenset[Node] = frozenset()
    while len(found) < most and nodes != circuit.nodes:
        tried = _some(sorted(circuit.nodes - nodes), CANDIDATES, generator)
        best = max(
            (Gap.of(subject, circuit, nodes | {node}) for node in sorted(tried)), key=lambda gap: gap.size
        )
        if found and best.size <= found[-1].size + STEP:
            break
        found.append(best)
        nodes = best.nodes
    return found


def _some(nodes: Sequence[Node], count: int, generator: torch.Generator) -> frozenset[Node]:
    order = torch.randperm(len(nodes), generator=generator)[:count]
    return frozenset(nodes[i] for i in order.tolist())


def _mean_rows(gaps: Sequence[Gap]) -> Tensor:
    """[rows] mean over sets."""
    return torch.stack([gap.rows for gap in gaps]).mean(0)
