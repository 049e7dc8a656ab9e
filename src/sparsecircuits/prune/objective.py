"""What a mask run minimises, besides the number of nodes.

``task``, the paper's: the task loss of the circuit, all deleted nodes at their means (§2.2, §A.5).

``faithful``: a quarter task loss, three quarters KL divergence from the full model's answer to the circuit's.
In half of the steps deleted nodes are restored (:mod:`.restore`), at random and as an adversary wants it by
turns, and where they are not restored they take, by turns, their means and the values of one random token of
the training text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sparsecircuits.model import SparseGPT
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.masks import NodeMasks
from sparsecircuits.prune.restore import adversarial_restore, random_restore, split_by_site
from sparsecircuits.tasks.loss import answer_log_probabilities, task_loss
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import pair_logits


class Measured(NamedTuple):
    """One batch under the masks.

    Attributes:
        loss: what is minimised, without the penalty.
        task: the task loss in it, in nats, detached.
        count: number of kept nodes; it and the loss are differentiable in the masks.
        plain: whether all deleted nodes were at their means.
    """

    loss: Tensor
    task: Tensor
    count: Tensor
    plain: bool


class Objective(Protocol):
    """Measures masks on some of the training pairs."""

    def __call__(self, masks: NodeMasks, drawn: Tensor, step: int) -> Measured:
        """Run the model under ``masks`` on the pairs at ``drawn``."""
        ...


class TaskObjective:
    """The paper's."""

    def __init__(
        self, model: SparseGPT, pairs: TokenPairs, means: Mapping[str, Tensor], scale: float
    ) -> None:
        self.model, self.pairs, self.means, self.scale = model, pairs, means, scale

    def __call__(self, masks: NodeMasks, drawn: Tensor, step: int) -> Measured:
        some = self.pairs.rows(drawn)
        with masks.installed(self.model, self.means) as count:
            logits = self.model(some.tokens, some.last)
        loss = task_loss(self.scale * logits, some).mean()
        return Measured(loss, loss.detach(), count, plain=True)


class FaithfulObjective:
    """Task loss and KL to the full model, with deleted nodes restored and resampled."""

    def __init__(
        self,
        model: SparseGPT,
        pairs: TokenPairs,
        means: Mapping[str, Tensor],
        scale: float,
        config: PruneConfig,
        pool: Tensor,
        generator: torch.Generator,
    ) -> None:
        """See :class:`TaskObjective`; ``pool`` is [tokens, nodes], from :func:`~.means.pretraining_pool`."""
        self.model, self.pairs, self.means, self.scale = model, pairs, means, scale
        self.config, self.pool, self.generator = config, pool, generator
        self.wanted = answer_log_probabilities(scale * pair_logits(model, pairs), pairs)

    def __call__(self, masks: NodeMasks, drawn: Tensor, step: int) -> Measured:
        some = self.pairs.rows(drawn)
        wanted = self.wanted[torch.cat([drawn, drawn + len(self.pairs)])]
        frozen, count = self._frozen(step), self.model.config.node_count
        restored = None
        if step % 4 == 1:
            restored = random_restore(count, self.generator)
        elif step % 4 == 3:
            fixed = masks.hard().detach()

            def loss_at(candidate: Tensor) -> Tensor:
                with masks.installed(self.model, frozen, candidate, hard=fixed):
                    logits = self.model(some.tokens, some.last)
                return task_loss(self.scale * logits, some).mean()

            restored = adversarial_restore(loss_at, count, self.config.adversary_steps, self.generator)
        with masks.installed(self.model, frozen, restored) as kept:
            logits = self.scale * self.model(some.tokens, some.last)
        task = task_loss(logits, some).mean()
        answered = answer_log_probabilities(logits, some)
        divergence = (wanted.exp() * (wanted - answered)).sum(-1).mean()
        share = self.config.kl_share
        return Measured((1 - share) * task + share * divergence, task.detach(), kept, plain=step % 2 == 0)

    def _frozen(self, step: int) -> Mapping[str, Tensor]:
        """The means, or in every other pair of steps one token's values."""
        if not self.config.resample or step % 4 < 2:
            return self.means
        row = int(torch.randint(len(self.pool), (), generator=self.generator))
        return split_by_site(self.model.config, self.pool[row])
