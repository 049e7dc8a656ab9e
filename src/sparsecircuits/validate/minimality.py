"""Minimality (T16): does each node of a circuit matter more than a random addition to it would?

1. Harm of a kept node: how much the loss of the circuit rises without it.
2. Reference: random nodes outside the circuit are added to it, one at a time, active ones with replacement.
   The harm of one of these is how much the loss of the circuit that it was added to rises without it.
3. A node wins against a reference if its harm is larger, and is a harm at all (``THRESHOLDS.harm``).
4. It is minimal if a one-sided binomial test rejects that it wins against no more than 90% of such nodes, at
   level 0.05 divided by the number of nodes (Shi et al. 2024, minimality; Bonferroni).

A test of so many nodes needs enough references for even a clean sweep to reject; more are drawn then. Where
single edges were pruned the same is asked of edges, against the same references; elsewhere a circuit says
nothing about its edges, and nor does this.

A set with redundant parts is not minimal: without one copy the other still does the task.

A node may be idle only as long as all else is at its mean: it makes up for what a deleted node does once that
comes back. So the same is asked once more while deleted nodes come back at random
(:mod:`~sparsecircuits.validate.restored_harm`). That is told beside, and not judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit, Edge
from sparsecircuits.model import Node, SiteName
from sparsecircuits.validate.interval import Interval, drawn_weights, middle, templates_of_rows
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.restored_harm import restored_harms
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

#: So many of the added nodes are asked too; hardly any should be minimal.
CONTROLS = 20
#: Restorings, and pairs, on which harm is measured while deleted nodes come back.
RESTORINGS, RESTORED_PAIRS = 8, 16


@torch.no_grad()
def minimality(
    subject: Subject, *, inflations: int = 100, most_edges: int = 100, most_restored: int = 100
) -> Outcome:
    """T16: share of nodes (and of edges, where they were pruned) that are minimal.

    Args:
        subject: measured on its ``some``.
        inflations: random additions, at least; the outcome's settings say how many there were.
        most_edges: of more edges than these, so many random ones are tested.
        most_restored: of more nodes than these, so many random ones are tested while others come back.

    Returns:
        ``estimate`` is the share of nodes; its interval is over other prompts, from harms averaged over
        templates drawn anew. Passes if both shares are large enough.
    """
    circuit, pairs = subject.circuit, subject.some
    outside = others(subject)
    if not circuit.nodes or not outside:
        return Outcome.not_applicable(
            "T16", "the circuit has no nodes" if outside else "the circuit is the whole model"
        )
    generator = torch.Generator().manual_seed(subject.seed)
    nodes, edges = sorted(circuit.nodes), _edges(subject, most_edges, generator)
    inflations = max(inflations, fewest_references(max(len(nodes), len(edges))))
    added = [outside[i] for i in torch.randint(len(outside), (inflations,), generator=generator).tolist()]
    alone = subject.circuit_losses(pairs).double()
    removed = {node: alone - _losses(subject, circuit.keeping({*nodes, node})) for node in sorted(set(added))}
    references = torch.stack([removed[node] for node in added])
    harms = torch.stack([_losses(subject, circuit.without([node])) - alone for node in nodes])
    least = THRESHOLDS.harm * subject.target
    found = _verdict(harms.mean(1), references.mean(1), least)
    cut = [_losses(subject, circuit.cutting([edge.ends])) - alone for edge in edges]
    by_edge = _verdict(torch.stack(cut).mean(1), references.mean(1), least) if edges else None
    tested = torch.randperm(len(nodes), generator=generator)[:most_restored].sort().values
    some = [nodes[i] for i in tested.tolist()]
    restored = _restored(subject, some, added, least, tests=len(nodes))
    idle = ~found.minimal[tested]
    return Outcome(
        test="T16",
        estimate=found.share,
        interval=_interval(subject, harms, references, least),
        control=_verdict(references[:CONTROLS].mean(1), references.mean(1), least, tests=len(nodes)).share,
        passed=found.share >= THRESHOLDS.minimal and (by_edge is None or by_edge.share >= THRESHOLDS.minimal),
        figures={
            "not_minimal": found.failing(nodes),
            "wins_needed": found.needed,
            "reference_90": float(references.mean(1).quantile(0.9)),
            "reference_largest": float(references.mean(1).max()),
            "edges_minimal": None if by_edge is None else by_edge.share,
            "edges_tested": len(edges),
            "edges_not_minimal": {} if by_edge is None else by_edge.failing(edges),
            "negligible": least,
            "minimal_restored": restored.share,
            "tested_restored": len(some),
            "idle_plain_but_needed_restored": restored.named(some, idle & restored.minimal),
        },
        settings=subject.settings(
            pairs,
            ablated="each node or edge of the circuit, by means",
            inflations=inflations,
            restorings=RESTORINGS,
            restored_prompts=2 * len(pairs.first(RESTORED_PAIRS)),
        ),
        note="" if edges else "edges were not pruned one by one, so nothing is said about them",
    )


class Verdict(NamedTuple):
    """Which of some nodes or edges are minimal.

    Attributes:
        harms: [many] mean rise of the loss without each, in nats.
        minimal: [many] boolean.
        needed: so many references each must win against.
    """

    harms: Tensor
    minimal: Tensor
    needed: int

    @property
    def share(self) -> float:
        """Of minimal ones."""
        return float(self.minimal.double().mean())

    def failing(self, names: Sequence[Node] | Sequence[Edge]) -> dict[str, float]:
        """Name -> harm of each that is not minimal."""
        return self.named(names, ~self.minimal)

    def named(self, names: Sequence[Node] | Sequence[Edge], which: Tensor) -> dict[str, float]:
        """Name -> harm of those that ``which`` [many] says."""
        rows = zip(names, self.harms.tolist(), which.tolist(), strict=True)
        return {str(name): harm for name, harm, wanted in rows if wanted}


def wins(harms: Tensor, references: Tensor, least: float = 0.0) -> Tensor:
    """[..., many] how many ``references`` [..., n] each of ``harms`` [..., many] is larger than.

    None where it is at most ``least``: two nodes that do nothing differ by rounding.
    """
    smaller = torch.searchsorted(references.sort(-1).values.contiguous(), harms.contiguous())
    return torch.where(harms > least, smaller, 0)


def needed_wins(references: int, tests: int) -> int:
    """The fewest wins among ``references`` that reject the null at the level of one of ``tests`` tests.

    Raises:
        ValueError: not even a win against all does.
    """
    level = THRESHOLDS.alpha / tests
    for least in range(references + 1):
        if binomial_tail(references, least, THRESHOLDS.random_null) <= level:
            return least
    raise ValueError(
        f"{references} references cannot decide {tests} tests: at least {fewest_references(tests)} are needed"
    )


def fewest_references(tests: int) -> int:
    """So many that a win against all of them rejects the null: ``0.9**n <= 0.05 / tests``."""
    return math.ceil(math.log(THRESHOLDS.alpha / tests) / math.log(THRESHOLDS.random_null))


def binomial_tail(count: int, least: int, chance: float) -> float:
    """The probability of at least ``least`` successes in ``count`` tries, exactly."""
    return math.fsum(
        math.comb(count, i) * chance**i * (1 - chance) ** (count - i) for i in range(least, count + 1)
    )


def others(subject: Subject) -> list[Node]:
    """Nodes outside the circuit that are active on the prompts; where there is none, all outside it."""
    config, circuit = subject.model.config, subject.circuit
    active = {
        Node(SiteName.parse(name), index)
        for name, found in subject.active.items()
        for index in found.tolist()
    }
    every = {Node(site, index) for site in config.site_names() for index in range(config.width(site.site))}
    return sorted(active - circuit.nodes) or sorted(every - circuit.nodes)


def _edges(subject: Subject, most: int, generator: torch.Generator) -> list[Edge]:
    """The circuit's edges, or ``most`` random ones; none where they were not pruned."""
    circuit = subject.circuit
    if not circuit.cut and not circuit.info.get("before_edges"):
        return []
    edges = circuit.edges(subject.model)
    return [edges[i] for i in torch.randperm(len(edges), generator=generator)[:most].sort().values.tolist()]


def _losses(subject: Subject, circuit: Circuit) -> Tensor:
    return subject.circuit_losses(subject.some, circuit).double()


def _restored(
    subject: Subject, nodes: Sequence[Node], added: Sequence[Node], least: float, tests: int
) -> Verdict:
    """Which of ``nodes`` are minimal while deleted nodes come back, against the same additions."""
    each = sorted({*nodes, *added})
    pairs = subject.some.first(RESTORED_PAIRS)
    found = dict(zip(each, restored_harms(subject, each, pairs, draws=RESTORINGS), strict=True))
    harms, references = (torch.stack([found[node] for node in some]) for some in (nodes, added))
    return _verdict(harms, references, least, tests)


def _verdict(harms: Tensor, references: Tensor, least: float, tests: int | None = None) -> Verdict:
    needed = needed_wins(len(references), tests or len(harms))
    return Verdict(harms, wins(harms, references, least) >= needed, needed)


def _interval(subject: Subject, harms: Tensor, references: Tensor, least: float) -> Interval:
    """Of the share of minimal nodes, whose harms [many, rows] are averaged over templates drawn anew."""
    weights = drawn_weights(templates_of_rows(subject.some), seed=subject.seed)
    needed = needed_wins(len(references), len(harms))
    return middle((wins(weights @ harms.T, weights @ references.T, least) >= needed).double().mean(1))
