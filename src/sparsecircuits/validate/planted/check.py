"""Is a truth true? Two checks of a planted model, by doing the interventions.

1. Enough: all nodes outside the union of the minimal sets take the values that they have on *one* other
   input. The answers' logits must not move (at most 1e-5 of the largest of them).
2. Minimal: each minimal set alone, all else frozen to its mean, does the task; without any one node it does
   not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit, edges_between
from sparsecircuits.data.batches import batch
from sparsecircuits.model import Node, intervene, record
from sparsecircuits.prune.means import pretraining_means
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import fit_scale, pair_logits, score
from sparsecircuits.validate.planted.plant import PlantedModel

#: How far resampling may move an answer's logit, as a share of the largest.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class TruthCheck:
    """What the interventions did. Losses are in nats, on held-out pairs, with the full model's scale.

    Attributes:
        full_loss: of the whole model.
        shift: how far resampling all but the truth moved the answers' logits, as a share of the largest.
        losses: of each minimal set.
        broken: for each minimal set, the smallest loss when one of its nodes is removed, and that node.
        unlisted: edges between nodes of a minimal set that the truth does not name.
    """

    full_loss: float
    shift: float
    losses: tuple[float, ...]
    broken: tuple[tuple[float, Node], ...]
    unlisted: int

    def holds(self, target: float = 0.15) -> bool:
        """Whether the truth is enough, does the task within ``target``, and needs every node for it."""
        return (
            self.shift <= TOLERANCE
            and self.unlisted == 0
            and max(self.full_loss, *self.losses) <= target < min(loss for loss, _ in self.broken)
        )


@torch.no_grad()
def check_truth(planted: PlantedModel, *, pairs: int = 32, seed: int = 0) -> TruthCheck:
    """Do the interventions on ``pairs`` held-out pairs."""
    model, truth = planted.model, planted.truth
    some = planted.task.pairs(planted.tokenizer, "heldout", pairs, seed=seed, max_tokens=model.config.n_ctx)
    means = pretraining_means(model, planted.corpus, count=2048)
    logits = pair_logits(model, some)
    scale = fit_scale(logits, some)

    def loss(nodes: Iterable[Node]) -> float:
        with Circuit(planted.task.name, frozenset(nodes), means).installed(model):
            return score(scale * pair_logits(model, some), some).loss

    broken = [min((loss(part.nodes - {node}), node) for node in part.nodes) for part in truth.minimal]
    unlisted = [
        edge
        for part in truth.minimal
        for edge in edges_between(model, part.nodes)
        if (edge.source, edge.target) not in part.edges
    ]
    return TruthCheck(
        full_loss=score(scale * logits, some).loss,
        shift=_shift(planted, some, Circuit(planted.task.name, truth.union.nodes, means).keep_masks(), seed),
        losses=tuple(loss(part.nodes) for part in truth.minimal),
        broken=tuple(broken),
        unlisted=len(unlisted),
    )


def _shift(planted: PlantedModel, pairs: TokenPairs, keep: dict[str, Tensor], seed: int) -> float:
    """The largest move of an answer's logit when everything that is not kept runs on other text."""
    model = planted.model
    rows, width = pairs.tokens.shape
    other = batch(planted.corpus, seed=seed + 1, step=0, rows=rows, n_ctx=width)[:, :-1]
    sites = [str(site) for site in model.config.site_names()]
    with record(model, sites) as elsewhere:
        model(other)
    candidates = torch.stack([pairs.target, pairs.other], dim=1)
    before = model(pairs.tokens, pairs.last).gather(1, candidates)
    with intervene(model, {site: _Swap(keep[site], elsewhere[site]) for site in sites}):
        after = model(pairs.tokens, pairs.last).gather(1, candidates)
    return float((after - before).abs().max() / before.abs().max())


class _Swap:
    """``x`` where kept, another run's value elsewhere: [batch, pos, width] to the same."""

    def __init__(self, keep: Tensor, other: Tensor) -> None:
        self.keep, self.other = keep, other

    def __call__(self, x: Tensor) -> Tensor:
        return torch.where(self.keep, x, self.other)
