"""T23, weights: does the full model mind losing the circuit's weights more than others of the same size?

The circuit's weights are its edges. The steps:

1. every one gets a partner: another nonzero weight of the model that carries an edge outside the circuit,
   none drawn twice. Its size lies within one standard deviation of the mean size of the circuit's weights: of
   those in the same matrix if that has at least twenty times as many others of that size, else in the whole
   model; if that has not either, it is one of the twenty times as many that are nearest in size;
2. a share of the circuit's weights, drawn at random, is set to 0 in the full model, all else live; then their
   partners are instead. Shares run from one part to all, each drawn several times;
3. how much the loss rises for the circuit's, over how much for the partners, is the estimate. A rise for the
   partners below :data:`LEAST` counts as that much, so that the ratio is finite, and small where both rises
   are next to nothing.

A circuit is often made of large weights; without the match in size it would win by that alone. After the code
of Drori 2025. Where several circuits do the task, the weights are those of all of them
(``subject.complete``): the full model can fall back on the others.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.edges import Edge, Ends, edge_blocks
from sparsecircuits.circuit.wiring import Wires
from sparsecircuits.model import Node, SiteName, SparseGPT
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import pair_logits
from sparsecircuits.validate.interval import ratio_rows
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

#: The model runs some hundred times, each time on so many pairs.
PAIRS = 32
#: Partners are drawn from so many times as many weights, so that one that matters does not decide.
ENOUGH = 20
#: Nats; a rise of the loss that is smaller is next to nothing.
LEAST = 0.001


class Partners(NamedTuple):
    """Another weight for each of some edges.

    Attributes:
        edges: in the same order.
        same_matrix, same_model, nearest: how many were found in which way, as the file's first step says.
    """

    edges: tuple[Edge, ...]
    same_matrix: int
    same_model: int
    nearest: int


class Weights(NamedTuple):
    """Weights of one matrix that are not the circuit's: [n] their rows, columns and values."""

    source: SiteName
    target: SiteName
    rows: Tensor
    columns: Tensor
    weights: Tensor

    @property
    def sizes(self) -> Tensor:
        """[n] without sign."""
        return self.weights.abs()

    def edge(self, index: int) -> Edge:
        """One of them."""
        source = Node(self.source, int(self.columns[index]))
        return Edge(source, Node(self.target, int(self.rows[index])), float(self.weights[index]))

    def without(self, edges: Iterable[Edge]) -> Weights:
        """All but ``edges``."""
        mine = [edge for edge in edges if (edge.source.at, edge.target.at) == self[:2]]
        keep = torch.ones(len(self.weights), dtype=torch.bool)
        for edge in mine:
            keep &= (self.rows != edge.target.index) | (self.columns != edge.source.index)
        return Weights(self.source, self.target, self.rows[keep], self.columns[keep], self.weights[keep])


#: (source, target) of a matrix -> its weights outside the circuit.
OtherWeights = dict[tuple[SiteName, SiteName], Weights]


@torch.no_grad()
def weight_ablation(subject: Subject, *, shares: int = 11, draws: int = 10) -> Outcome:
    """Judge T23: the ratio of what losing the circuit's weights costs to what losing others costs.

    Args:
        subject: its ``complete`` circuit is meant; the edges that it cuts are not its weights.
        shares: points from none of the weights to all, both counted; none costs nothing and is not run.
        draws: of weights and partners at each point.

    Raises:
        ValueError: fewer than two points or one draw.
    """
    edges = subject.complete.edges(subject.model)
    if not edges:
        return Outcome.not_applicable("T23", "the circuit has no edges")
    if shares < 2 or draws < 1:
        raise ValueError(f"shares is {shares}, draws is {draws}; needed are two points and one draw")
    generator = torch.Generator().manual_seed(subject.seed)
    pairs, rest_of_model = subject.some.first(PAIRS), other_weights(subject.model, subject.complete)
    full = subject.full_losses(pairs)
    points = [step / (shares - 1) for step in range(1, shares)]
    own, others = torch.zeros(2, len(points), len(full), dtype=torch.double)
    found = Partners((), 0, 0, 0)
    for _ in range(draws):
        found = partners(rest_of_model, edges, generator)
        if not found.edges:
            return Outcome.not_applicable("T23", "the model has fewer other weights than the circuit")
        for point, share in enumerate(points):
            some = torch.randperm(len(edges), generator=generator)[
                : max(1, round(share * len(edges)))
            ].tolist()
            own[point] += _harm(subject, [edges[i] for i in some], pairs, full) / draws
            others[point] += _harm(subject, [found.edges[i] for i in some], pairs, full) / draws
    circuit, rest = own.mean(0), others.mean(0)  # [rows]
    values = ratio_rows(circuit, rest) if float(rest.mean()) > LEAST else circuit / LEAST
    ratio = float(values.mean())
    return Outcome(
        test="T23",
        estimate=ratio,
        interval=subject.interval(values, pairs),
        passed=ratio >= THRESHOLDS.weights_ratio,
        figures={
            "circuit": float(circuit.mean()),
            "others": float(rest.mean()),
            "shares": [0.0, *points],
            "circuit_curve": [0.0, *own.mean(1).tolist()],
            "others_curve": [0.0, *others.mean(1).tolist()],
            "edges": len(edges),
            "mean_size": _mean_size(edges),
            "others_mean_size": _mean_size(found.edges),
            "partners_in_same_matrix": found.same_matrix,
            "partners_in_model": found.same_model,
            "partners_nearest_in_size": found.nearest,
        },
        settings=subject.settings(
            pairs,
            ablated="weights of the circuit in the full model",
            values="zero",
            control="weights of the model outside the circuit, of the same size",
            circuit="all circuits that do the task" if subject.complete is not subject.circuit else "itself",
            draws=draws,
            loss="rise above the full model's, nats",
        ),
    )


def other_weights(model: SparseGPT, circuit: Circuit) -> OtherWeights:
    """The nonzero weights that carry edges and are not the circuit's; one that it cuts is not."""
    own: dict[tuple[SiteName, SiteName], list[Edge]] = {}
    for edge in circuit.edges(model):
        own.setdefault((edge.source.at, edge.target.at), []).append(edge)
    others = {}
    for block in edge_blocks(model):
        there = block.weight != 0
        for edge in own.get((block.source, block.target), ()):
            there[edge.target.index, edge.source.index] = False
        rows, columns = torch.nonzero(there, as_tuple=True)
        others[block.source, block.target] = Weights(
            block.source, block.target, rows, columns, block.weight[rows, columns]
        )
    return others


def partners(others: OtherWeights, edges: Sequence[Edge], generator: torch.Generator) -> Partners:
    """Draw one of ``others`` for each of ``edges``, none twice.

    Returns:
        As many as there are edges; or none, where there are fewer others than that.
    """
    if sum(len(matrix.weights) for matrix in others.values()) < len(edges):
        return Partners((), 0, 0, 0)
    drawn: dict[int, Edge] = {}
    grouped: dict[tuple[SiteName, SiteName], list[int]] = {}
    for place, edge in enumerate(edges):
        grouped.setdefault((edge.source.at, edge.target.at), []).append(place)
    for at, places in grouped.items():
        near = _near(others[at].sizes, [edges[place] for place in places])
        if len(near) >= ENOUGH * len(places):
            drawn |= _deal(places, [others[at]], near, generator)
    missing = [place for place in range(len(edges)) if place not in drawn]
    same_matrix = len(drawn)
    if not missing:
        return Partners(tuple(drawn[place] for place in range(len(edges))), same_matrix, 0, 0)
    left = [matrix.without(drawn.values()) for matrix in others.values()]
    sizes = torch.cat([matrix.sizes for matrix in left])
    wanted = [edges[place] for place in missing]
    near = _near(sizes, wanted)
    enough = len(near) >= ENOUGH * len(missing)
    if not enough:
        near = (sizes - _mean_size(wanted)).abs().argsort()[: ENOUGH * len(missing)]
    drawn |= _deal(missing, left, near, generator)
    rest = (len(missing), 0) if enough else (0, len(missing))
    return Partners(tuple(drawn[place] for place in range(len(edges))), same_matrix, *rest)


def _near(sizes: Tensor, edges: Sequence[Edge]) -> Tensor:
    """Which of ``sizes`` are within one standard deviation of the mean size of ``edges``."""
    own = torch.tensor([abs(edge.weight) for edge in edges], dtype=torch.float)
    far = (sizes - own.mean()).abs()
    return torch.nonzero(far <= own.std(correction=0) + 1e-6 * own.mean()).flatten()


def _deal(
    places: Sequence[int], matrices: Sequence[Weights], near: Tensor, generator: torch.Generator
) -> dict[int, Edge]:
    """For each place another of the weights ``near``, counted through all matrices."""
    chosen = near[torch.randperm(len(near), generator=generator)[: len(places)]].tolist()
    starts = [0, *itertools.accumulate(len(matrix.weights) for matrix in matrices)]
    dealt = {}
    for place, index in zip(places, chosen, strict=True):
        which = bisect.bisect_right(starts, index) - 1
        dealt[place] = matrices[which].edge(index - starts[which])
    return dealt


def _mean_size(edges: Sequence[Edge]) -> float:
    return sum(abs(edge.weight) for edge in edges) / len(edges)


def _harm(subject: Subject, edges: Iterable[Edge], pairs: TokenPairs, full: Tensor) -> Tensor:
    """[rows] how much the loss rises where ``edges`` weigh 0."""
    with zeroed(subject.model, [edge.ends for edge in edges]):
        return subject.losses(pair_logits(subject.model, pairs), pairs) - full


def zeroed(model: SparseGPT, edges: Sequence[Ends]) -> AbstractContextManager[None]:
    """A context in which the weights of ``edges`` are 0."""
    zeros = {str(at): torch.zeros(model.config.width(at.site)) for at in model.config.site_names()}
    return Wires.of(model, edges).carrying(model, torch.zeros(len(edges)), zeros)
