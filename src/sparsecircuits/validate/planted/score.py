"""How well does a pruner find what was planted?

A circuit is compared with the nearest minimal set of the truth, the one with the largest F1 over nodes:

- precision: which share of what it keeps belongs there; recall: which share of what belongs there it keeps;
  F1 = 2 precision recall / (precision + recall). Over nodes, and over edges.
- completeness: the share of the *union* of the minimal sets that it keeps. A pruner that looks for the
  smallest circuit need not keep both copies of a part, so this is no fault; one that claims to be complete
  must.
- cancelling error: it keeps exactly one of two nodes that together do nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import PruneError
from sparsecircuits.model import SparseGPT
from sparsecircuits.validate.planted.plant import PlantedModel
from sparsecircuits.validate.planted.truth import Part, Truth
from sparsecircuits.validate.thresholds import THRESHOLDS

#: What a pruner should reach in the mean over all models (F1).
NODE_GOAL, EDGE_GOAL = THRESHOLDS.node_f1, THRESHOLDS.edge_f1

#: Any way to get a circuit; a :class:`PruneError` counts as finding nothing.
Pruner = Callable[[PlantedModel], Circuit]


@dataclass(frozen=True)
class Agreement:
    """Found things against true ones."""

    precision: float
    recall: float

    @classmethod
    def of(cls, found: Collection[object], true: Collection[object]) -> Agreement:
        """Of two sets; an empty one agrees with nothing.

        >>> Agreement.of({"a", "b", "c", "d"}, {"a", "b", "e"})
        Agreement(precision=0.5, recall=0.6666666666666666)
        """
        both = len(set(found) & set(true))
        return cls(both / len(found) if found else 0.0, both / len(true) if true else 0.0)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 where nothing true was found."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True)
class PlantedScore:
    """A circuit against a truth; see above for the words."""

    nodes: Agreement
    edges: Agreement
    completeness: float
    cancelling_errors: int


def score_circuit(truth: Truth, circuit: Circuit, model: SparseGPT) -> PlantedScore:
    """Compare a circuit of ``model`` with the truth about it."""
    return score_part(truth, _part(circuit, model))


def _part(circuit: Circuit, model: SparseGPT) -> Part:
    return Part(circuit.nodes, frozenset((edge.source, edge.target) for edge in circuit.edges(model)))


def score_part(truth: Truth, found: Part) -> PlantedScore:
    """Compare nodes and edges with a truth."""
    scores = [
        (Agreement.of(found.nodes, part.nodes), Agreement.of(found.edges, part.edges))
        for part in truth.minimal
    ]
    nodes, edges = max(scores, key=lambda pair: (pair[0].f1, pair[1].f1))
    return PlantedScore(
        nodes=nodes,
        edges=edges,
        completeness=Agreement.of(found.nodes, truth.union.nodes).recall,
        cancelling_errors=sum(
            (one in found.nodes) != (other in found.nodes) for one, other in truth.cancelling
        ),
    )


@dataclass(frozen=True)
class PlantedResult:
    """One model, pruned and scored.

    Attributes:
        program, seed, level: which model.
        score: of the circuit; all 0 where there is none.
        nodes, edges: the circuit's size.
        seconds: what pruning took.
        error: why there is no circuit, if there is none.
    """

    program: str
    seed: int
    level: int
    score: PlantedScore
    nodes: int
    edges: int
    seconds: float
    error: str | None = None


def score_pruner(
    pruner: Pruner, models: Iterable[PlantedModel], watch: Callable[[int], None] | None = None
) -> list[PlantedResult]:
    """Prune and score every model.

    Args:
        pruner: any function from a planted model to a circuit of it.
        models: such as :func:`~sparsecircuits.validate.planted.planted_models` makes.
        watch: told after each model how many are done.
    """
    results = []
    for planted in models:
        results.append(_result(pruner, planted))
        if watch is not None:
            watch(len(results))
    return results


def _result(pruner: Pruner, planted: PlantedModel) -> PlantedResult:
    start = time.perf_counter()
    found, error = Part(), None
    try:
        found = _part(pruner(planted), planted.model)
    except PruneError as reason:
        error = str(reason)
    return PlantedResult(
        program=planted.program.name,
        seed=planted.seed,
        level=planted.level,
        score=score_part(planted.truth, found),
        nodes=len(found.nodes),
        edges=len(found.edges),
        seconds=time.perf_counter() - start,
        error=error,
    )


@dataclass(frozen=True)
class PlantedMean:
    """Means over some models.

    Attributes:
        program, level: which; None for all of them.
        models: how many.
        node_precision, node_recall, node_f1, edge_precision, edge_recall, edge_f1, completeness: means.
        cancelling_errors: how many, in all.
        failed: models without any circuit.
        nodes, edges, seconds: means.
    """

    program: str | None
    level: int | None
    models: int
    node_precision: float
    node_recall: float
    node_f1: float
    edge_precision: float
    edge_recall: float
    edge_f1: float
    completeness: float
    cancelling_errors: int
    failed: int
    nodes: float
    edges: float
    seconds: float


def means_of(results: Sequence[PlantedResult]) -> list[PlantedMean]:
    """Means by program and level, then over programs by level, then over everything."""
    programs = dict.fromkeys(result.program for result in results)
    levels = sorted({result.level for result in results})
    groups: list[tuple[str | None, int | None]] = [(name, level) for name in programs for level in levels]
    groups += [(None, level) for level in levels] + [(None, None)]
    means = []
    for program, level in groups:
        chosen = [r for r in results if program in (None, r.program) and level in (None, r.level)]
        if chosen:
            means.append(_mean(program, level, chosen))
    return means


def _mean(program: str | None, level: int | None, results: Sequence[PlantedResult]) -> PlantedMean:
    def mean(of: Callable[[PlantedResult], float]) -> float:
        return sum(map(of, results)) / len(results)

    return PlantedMean(
        program=program,
        level=level,
        models=len(results),
        node_precision=mean(lambda r: r.score.nodes.precision),
        node_recall=mean(lambda r: r.score.nodes.recall),
        node_f1=mean(lambda r: r.score.nodes.f1),
        edge_precision=mean(lambda r: r.score.edges.precision),
        edge_recall=mean(lambda r: r.score.edges.recall),
        edge_f1=mean(lambda r: r.score.edges.f1),
        completeness=mean(lambda r: r.score.completeness),
        cancelling_errors=sum(r.score.cancelling_errors for r in results),
        failed=sum(r.error is not None for r in results),
        nodes=mean(lambda r: r.nodes),
        edges=mean(lambda r: r.edges),
        seconds=mean(lambda r: r.seconds),
    )
