"""Stability: do other seeds and other data give the same circuit? (T20.)

Pure functions of node sets. The Jaccard index of two sets is the share of their union that both have; beside
it stands that of random sets of the same sizes, which is about k / 2n for k of n nodes. The consensus core is
what at least 80% of the circuits have.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import torch

from sparsecircuits.model import Node
from sparsecircuits.validate.thresholds import THRESHOLDS

#: Share of the circuits that a node of the core is in, at least.
CORE = 0.8
#: Draws of random sets.
DRAWS = 20


@dataclass(frozen=True)
class Stability:
    """How much the circuits of one model and task agree.

    Attributes:
        circuits: how many.
        jaccard: mean over all pairs of them, between 0 and 1.
        random_jaccard: the same of random node sets of the same sizes.
        core: nodes in at least :data:`CORE` of the circuits.
        core_loss, mean_loss: held-out loss of the core and mean of the circuits', in nats, each scaled.
    """

    circuits: int
    jaccard: float
    random_jaccard: float
    core: frozenset[Node]
    core_loss: float
    mean_loss: float

    @property
    def passed(self) -> bool:
        """Whether they agree enough, and what they share is about as good."""
        return self.jaccard >= THRESHOLDS.jaccard and self.core_loss <= self.mean_loss + THRESHOLDS.core_slack


def jaccard(one: frozenset[Node], other: frozenset[Node]) -> float:
    """Shared nodes by all nodes of the two; 1 for two empty sets.

    >>> jaccard(frozenset("ab"), frozenset("bcd"))
    0.25
    """
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def mean_jaccard(circuits: Sequence[frozenset[Node]]) -> float:
    """Mean of :func:`jaccard` over all pairs.

    Raises:
        ValueError: fewer than two circuits.
    """
    if len(circuits) < 2:
        raise ValueError(f"{len(circuits)} circuits; two are needed to compare")
    return fmean(jaccard(one, other) for one, other in combinations(circuits, 2))


def random_jaccard(sizes: Sequence[int], total: int, *, draws: int = DRAWS, seed: int = 0) -> float:
    """:func:`mean_jaccard` of random sets of these sizes, drawn from ``total`` nodes; mean over the draws.

    Raises:
        ValueError: fewer than two sizes, or one above ``total``.
    """
    if len(sizes) < 2 or max(sizes) > total:
        raise ValueError(
            f"sizes {tuple(sizes)} of {total} nodes; needed are two or more, none above the total"
        )
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(draws):
        masks = torch.zeros(len(sizes), total)
        for mask, size in zip(masks, sizes, strict=True):
            mask[torch.randperm(total, generator=generator)[:size]] = 1
        shared = masks @ masks.T
        own = shared.diagonal()
        union = own[:, None] + own[None] - shared
        first, second = torch.triu_indices(len(sizes), len(sizes), 1)
        index = torch.where(union > 0, shared / union.clamp(min=1), torch.ones(()))
        found.append(float(index[first, second].double().mean()))
    return fmean(found)


def consensus_core(circuits: Sequence[frozenset[Node]], share: float = CORE) -> frozenset[Node]:
    """The nodes that at least ``share`` of the circuits have; none of no circuits.

    >>> sorted(consensus_core([frozenset("ab")] * 4 + [frozenset("b")]))
    ['a', 'b']
    """
    needed = math.ceil(share * len(circuits) - 1e-9)
    counts = Counter(node for nodes in circuits for node in nodes)
    return frozenset(node for node, count in counts.items() if count >= needed)
