"""First-order estimates: what would it cost to remove each node of a circuit, or gain to add each other?

The task loss is differentiated by a factor on every node, 1 where it is live and 0 where it is frozen.
Minus the derivative at 1 estimates the rise in loss when the node is removed, minus the derivative at
0 the fall when it is added. Cheap (one backward for all nodes) and rough, so it only says in which
order to try.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsecircuits.model import Node, SparseGPT, intervene
from sparsecircuits.prune.masks import Mix
from sparsecircuits.tasks.loss import task_loss
from sparsecircuits.tasks.pairs import TokenPairs


def node_worth(
    model: SparseGPT, pairs: TokenPairs, nodes: frozenset[Node], means: Mapping[str, Tensor], scale: float
) -> dict[Node, float]:
    """How much each node of the model is estimated to lower the task loss, in nats, by being live.

    Args:
        model: its parameters need no gradient.
        pairs: prompts on which the loss is taken.
        nodes: the circuit; its nodes are live, all others frozen.
        means: site name -> [width] frozen values.
        scale: factor on the logits.
    """
    factors = {site: torch.zeros(model.config.width(site.site)) for site in model.config.site_names()}
    for node in nodes:
        factors[node.at][node.index] = 1.0
    for factor in factors.values():
        factor.requires_grad_(True)
    changes = {str(site): Mix(factor, means[str(site)]) for site, factor in factors.items()}
    with torch.enable_grad(), intervene(model, changes):
        logits = model.answers(pairs.prompts)
        loss = task_loss(scale * logits, pairs).mean()
        slopes = torch.autograd.grad(loss, list(factors.values()))
    return {
        Node(site, index): -slope
        for site, grad in zip(factors, slopes, strict=True)
        for index, slope in enumerate(grad.tolist())
    }
