"""What a mask run minimises, besides the number of nodes.

``task``, the paper's: the task loss of the circuit, all deleted nodes at their means (§2.2, §A.5).

``faithful``: a quarter task loss, three quarters KL divergence from the full model's answer to the circuit's.
In half of the steps deleted nodes are restored (:mod:`.restore`), at random and as an adversary wants it by
turns, and where they are not restored they take, by turns, their means and the values of one random token of
the training text.

An :class:`Objective` is one mask set's; :func:`measure` runs the model once for several of one kind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.model import Prompts, SparseGPT
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.masks import NodeMasks
from sparsecircuits.prune.restore import adversarial_restore, random_restore, split_by_site
from sparsecircuits.tasks.loss import answer_log_probabilities, task_loss
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import Calibration, left_candidate


class Measured(NamedTuple):
    """One batch under the masks.

    Attributes:
        loss: [sets] what is minimised, without the penalty.
        task: [sets] the task loss in it, in nats, detached.
        count: [sets] number of kept nodes; it and the loss are differentiable in the masks.
        plain: whether all deleted nodes were at their means.
    """

    loss: Tensor
    task: Tensor
    count: Tensor
    plain: bool


@dataclass(frozen=True)
class Objective:
    """What one set of masks is learned on.

    Attributes:
        config: says which objective it is, and how it goes.
        pairs: training pairs to draw from.
        means: site name -> [width] frozen values.
        held: scale and bias of the logits.
        pool: [tokens, nodes], from :func:`~.means.pretraining_pool`; for ``faithful``.
        wanted: [rows, 2] log-probabilities of the full model's answers to ``pairs``; for ``faithful``.
        allowed: [nodes] 0 where a node stays frozen whatever its mask; None: none does.
        seed: of masks, batches, restorings and the pool.
    """

    config: PruneConfig
    pairs: TokenPairs
    means: Mapping[str, Tensor]
    held: Calibration = Calibration(1.0, 0.0)
    pool: Tensor | None = None
    wanted: Tensor | None = None
    allowed: Tensor | None = None
    seed: int = 0
    generator: torch.Generator = field(init=False)
    """Of restorings and the pool; it moves on with every step."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "generator", torch.Generator().manual_seed(self.seed))

    @property
    def kind(self) -> tuple[object, ...]:
        """Objectives of one kind can be measured together."""
        config = self.config
        kind = (config.objective, self.pairs.form, config.pairs_per_step, len(self.pairs), config.tied)
        return (*kind, config.adversary_steps, config.resample) if config.objective == "faithful" else kind


def measure(
    model: SparseGPT, objectives: Sequence[Objective], masks: NodeMasks, drawn: Sequence[Tensor], step: int
) -> Measured:
    """Run the model once, each mask set on its own pairs.

    Args:
        model: frozen.
        objectives: one for each set of ``masks``, of one kind.
        masks: what is live.
        drawn: for each set, the indices of its pairs; equally many.
        step: from 0 on; says what is restored.
    """
    parts = [one.pairs.rows(rows) for one, rows in zip(objectives, drawn, strict=True)]
    some, prompts = join_pairs(parts), Prompts.stacked([part.prompts for part in parts])
    scale = _per_row(torch.tensor([one.held.scale for one in objectives]), some)[:, None]
    bias = _per_row(torch.tensor([one.held.bias for one in objectives]), some)
    at = torch.arange(len(bias)), left_candidate(some)

    def answers() -> Tensor:
        logits = model.answers(prompts)
        scaled = scale * _join_rows(logits.view(len(objectives), -1, logits.shape[-1]))
        return scaled.index_put(at, bias, accumulate=True) if bool(bias.any()) else scaled

    means = _means(objectives)
    if objectives[0].config.objective == "task":
        with masks.installed(model, means) as count:
            loss = _per_set(task_loss(answers(), some), len(objectives))
        return Measured(loss, loss.detach(), count, plain=True)
    frozen = _frozen(model, objectives, means, step)
    restored = None
    if step % 4 == 1:
        restored = torch.stack([random_restore(model.config.node_count, o.generator) for o in objectives])
    elif step % 4 == 3:
        fixed = masks.hard().detach()

        def loss_at(candidate: Tensor) -> Tensor:
            with masks.installed(model, frozen, candidate, hard=fixed):
                return _per_set(task_loss(answers(), some), len(objectives)).sum()

        start = torch.stack([random_restore(model.config.node_count, o.generator) for o in objectives])
        restored = adversarial_restore(loss_at, start, objectives[0].config.adversary_steps)
    with masks.installed(model, frozen, restored) as count:
        logits = answers()
    task = _per_set(task_loss(logits, some), len(objectives))
    answered = answer_log_probabilities(logits, some)
    wanted = _join_rows([_wanted(one, rows) for one, rows in zip(objectives, drawn, strict=True)])
    divergence = _per_set((wanted.exp() * (wanted - answered)).sum(-1), len(objectives))
    share = torch.tensor([one.config.kl_share for one in objectives])
    return Measured((1 - share) * task + share * divergence, task.detach(), count, plain=step % 2 == 0)


def _wanted(objective: Objective, rows: Tensor) -> Tensor:
    assert objective.wanted is not None
    return objective.wanted[torch.cat([rows, rows + len(objective.pairs)])]


def _means(objectives: Sequence[Objective]) -> Mapping[str, Tensor]:
    """site name -> [width] where all sets have the same values, else [sets, width]."""
    first = objectives[0].means
    if all(one.means is first for one in objectives):
        return first
    return {name: torch.stack([one.means[name] for one in objectives]) for name in first}


def _frozen(
    model: SparseGPT, objectives: Sequence[Objective], means: Mapping[str, Tensor], step: int
) -> Mapping[str, Tensor]:
    """The means, or in every other pair of steps one token's values, another token for each set."""
    if not objectives[0].config.resample or step % 4 < 2:
        return means
    rows = []
    for one in objectives:
        assert one.pool is not None
        rows.append(one.pool[int(torch.randint(len(one.pool), (), generator=one.generator))])
    return split_by_site(model.config, torch.stack(rows))


def join_pairs(parts: Sequence[TokenPairs]) -> TokenPairs:
    """Several sets' pairs as one, padded to the longest prompt: all left prompts, then all right ones."""
    if len(parts) == 1:
        return _cut(parts[0], int(parts[0].last.max()) + 1)
    longest = max(int(part.last.max()) for part in parts) + 1
    parts = [_cut(part, longest) for part in parts]
    joined = {
        name: _join_rows([getattr(part, name) for part in parts])
        for name in ("tokens", "last", "target", "other")
    }
    return dataclasses.replace(parts[0], texts=tuple(text for part in parts for text in part.texts), **joined)


def _cut(pairs: TokenPairs, longest: int) -> TokenPairs:
    """Without the padding beyond ``longest`` tokens, or with more of it."""
    tokens = pairs.tokens[:, :longest]
    missing = longest - tokens.shape[1]
    if missing > 0:
        tokens = torch.cat([tokens, tokens[:, :1].expand(-1, missing)], dim=1)  # they begin with the padding
    return dataclasses.replace(pairs, tokens=tokens)


def _join_rows(parts: Sequence[Tensor] | Tensor) -> Tensor:
    """[2n, ...] of each set to [2 sets n, ...]: the left halves, then the right ones."""
    stacked = parts if isinstance(parts, Tensor) else torch.stack(list(parts))
    sets, rows = stacked.shape[:2]
    return stacked.view(sets, 2, rows // 2, *stacked.shape[2:]).transpose(0, 1).flatten(0, 2)


def _per_row(values: Tensor, pairs: TokenPairs) -> Tensor:
    """[sets] to [rows]."""
    return values.repeat_interleave(len(pairs) // len(values)).repeat(2)


def _per_set(values: Tensor, sets: int) -> Tensor:
    """[rows] to [sets], the mean of each."""
    return values.view(2, sets, -1).mean((0, 2))
