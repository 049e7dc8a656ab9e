"""The true circuit of a planted model: which nodes and edges its program consists of.

What counts as part of a program, and what does not:

- A node is in the truth if its value differs from token to token and the answer depends on it.
- A node that is constant over task and corpus (a query that comes from a bias or from the ballast alone, a
  value that does) is *free*: frozen to its mean it is what it was. It is not in the truth, nor are its edges.
- So the truth is minimal under mean ablation: it does the task, and without any one node it does not.
- Where a part was planted twice, either copy will do: there are several minimal sets. Resampling is stricter
  than freezing (a copy with values of another prompt answers for that prompt), so only the *union* of the
  minimal sets stands against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sparsecircuits.model import Node


@dataclass(frozen=True)
class Part:
    """Some nodes and the edges between them, each edge as (source, target)."""

    nodes: frozenset[Node] = frozenset()
    edges: frozenset[tuple[Node, Node]] = frozenset()

    def __or__(self, other: Part) -> Part:
        return Part(self.nodes | other.nodes, self.edges | other.edges)


@dataclass(frozen=True)
class Truth:
    """What a pruner should find.

    Attributes:
        minimal: every smallest circuit that does the task as the model does it; one unless there are copies.
        cancelling: pairs of nodes that together do nothing, and of which one alone is a new function.
    """

    minimal: tuple[Part, ...]
    cancelling: tuple[tuple[Node, Node], ...] = ()

    @property
    def union(self) -> Part:
        """Everything that is in some minimal set."""
        return unite(self.minimal)


def unite(parts: Iterable[Part]) -> Part:
    """One part of several."""
    whole = Part()
    for part in parts:
        whole = whole | part
    return whole
