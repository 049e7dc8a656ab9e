"""The mask run: learn which nodes to keep (§A.5).

Objective: the task loss on a batch of pairs, with the full model's scale held, or more than that
(:mod:`.objective`), plus ``k_coef`` times the number of kept nodes. AdamW with clipped gradients and a rate
that decays linearly; τ is clamped to [-1, 1] after each step. Weights never move.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.model import SparseGPT
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.masks import NodeMasks
from sparsecircuits.prune.objective import Objective

#: Called after each step with (step done, task loss, kept nodes).
Watch = Callable[[int, float, int], None]


class MaskRun(NamedTuple):
    """Where a mask run ended.

    Attributes:
        tau: [nodes] final mask parameters, in node order.
        kept: how many are >= 0.
        loss: task loss of the last batch, scaled.
        steps: optimizer steps that it took.
    """

    tau: Tensor
    kept: int
    loss: float
    steps: int

    def failed(self) -> bool:
        """Whether nothing, or nearly everything, is left."""
        return self.kept == 0 or self.kept > 0.9 * self.tau.numel()


def optimise_masks(
    model: SparseGPT,
    objective: Objective,
    pairs: int,
    *,
    penalty: float,
    config: PruneConfig,
    steps: int,
    give_up_at: int | None = None,
    watch: Watch | None = None,
) -> MaskRun:
    """Learn masks for one task.

    Args:
        model: frozen (no gradient for its parameters).
        objective: what is minimised, on some of the training pairs.
        pairs: how many training pairs there are to draw batches from.
        penalty: ``k_coef`` times the number of nodes.
        steps: optimizer steps; the rate decays to 0 over them.
        give_up_at: a run that has failed after so many steps ends there.
        watch: called after every step.
    """
    generator = torch.Generator().manual_seed(config.seed)
    masks = NodeMasks(
        model.config,
        bias=config.init_bias,
        scale=config.init_scale,
        temperature=config.temperature,
        generator=generator,
        tied=config.objective == "faithful",
    )
    k_coef = penalty / masks.tau.numel()
    # Of batches as they are and of those with nodes restored; the worse of the two decides the penalty.
    running = {True: config.target, False: 0.0}
    optimizer = torch.optim.AdamW(
        masks.parameters(), lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay
    )
    loss = 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * _rate(step, steps, config.warmup)
        drawn = torch.randperm(pairs, generator=generator)[: config.pairs_per_step]
        measured = objective(masks, drawn, step)
        optimizer.zero_grad(set_to_none=True)
        (measured.loss + k_coef * measured.count).backward()
        torch.nn.utils.clip_grad_norm_(masks.parameters(), 1.0)
        optimizer.step()
        masks.clamp_()
        loss = float(measured.task)
        running[measured.plain] = 0.9 * running[measured.plain] + 0.1 * loss
        k_coef *= 1 + config.adapt if max(running.values()) <= config.target else 1 / (1 + config.adapt)
        if watch is not None:
            watch(step + 1, loss, int(measured.count.detach().round()))
        if step + 1 == give_up_at and _run(masks, loss, step + 1).failed():
            return _run(masks, loss, step + 1)
    return _run(masks, loss, steps)


def _run(masks: NodeMasks, loss: float, steps: int) -> MaskRun:
    tau = masks.by_node().clone()
    return MaskRun(tau, int((tau >= 0).sum()), loss, steps)


def _rate(step: int, steps: int, warmup: float) -> float:
    rising = warmup * steps
    return (step + 1) / rising if step < rising else 1 - step / steps
