"""First-order estimates: what would removing each node of a circuit cost?

The task loss is differentiated by a factor on every kept node, from 1 (live) to 0 (frozen); minus the
derivative at 1 estimates the rise in loss. Cheap (one backward for all nodes) and rough, so it only
says in which order to try.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsecircuits.model import GPTConfig, Node, SparseGPT, intervene
from sparsecircuits.prune.masks import Mix
from sparsecircuits.tasks.loss import task_loss
from sparsecircuits.tasks.pairs import TokenPairs


def removal_estimates(
    model: SparseGPT, pairs: TokenPairs, nodes: frozenset[Node], means: Mapping[str, Tensor], scale: float
) -> dict[Node, float]:
    """Estimated rise of the task loss, in nats, when each of ``nodes`` alone is removed.

    Args:
        model: its parameters need no gradient.
        pairs: prompts on which the loss is taken.
        nodes: the circuit.
        means: site name -> [width] frozen values.
        scale: factor on the logits.
    """
    factors = {str(site): torch.zeros(width) for site, width in site_widths(model.config)}
    for node in nodes:
        factors[str(node.at)][node.index] = 1.0
    for factor in factors.values():
        factor.requires_grad_(True)
    changes = {name: Mix(factor, means[name]) for name, factor in factors.items()}
    with torch.enable_grad(), intervene(model, changes):
        logits = model(pairs.tokens, pairs.last)
        loss = task_loss(scale * logits, pairs).mean()
        grads = torch.autograd.grad(loss, list(factors.values()))
    slopes = dict(zip(factors, grads, strict=True))
    return {node: -float(slopes[str(node.at)][node.index]) for node in nodes}


def site_widths(config: GPTConfig) -> list[tuple[object, int]]:
    """Every site of a model with its width, in forward order."""
    return [(site, config.width(site.site)) for site in config.site_names()]
