"""The mask run: learn which nodes to keep (§A.5); several runs at once over one model.

Objective: the task loss on a batch of pairs, with the full model's scale held, or more than that
(:mod:`.objective`), plus ``k_coef`` times the number of kept nodes. AdamW with clipped gradients and a rate
that decays linearly; τ is clamped to [-1, 1] after each step. Weights never move.

Runs of one kind (:attr:`~.objective.Objective.kind`) and of equally many steps go through the model together,
each with its own pairs, penalty, rates and random numbers, so that each ends as it would have alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.model import SparseGPT
from sparsecircuits.prune.masks import NodeMasks, Start
from sparsecircuits.prune.objective import Measured, Objective, measure

#: Called after each step with (which job, step done, task loss, kept nodes).
Watch = Callable[[int, int, float, int], None]
#: Share of the machine's free memory that a batch may take.
MEMORY_SHARE = 0.5
#: About so many numbers of four bytes are held for each node and token, for the way back.
HELD = 6
#: Points of a mask run's curve, at most (and its end).
CURVE_POINTS = 100


class MaskRun(NamedTuple):
    """Where a mask run ended.

    Attributes:
        tau: [nodes] final mask parameters, in node order.
        kept: how many are >= 0.
        loss: task loss of the last batch, scaled.
        steps: optimizer steps that it took.
        curve: (step, task loss of its batch, kept nodes) of some of them, the last among them.
    """

    tau: Tensor
    kept: int
    loss: float
    steps: int
    curve: tuple[tuple[int, float, int], ...] = ()

    def failed(self) -> bool:
        """Whether nothing, or nearly everything, is left."""
        return self.kept == 0 or self.kept > 0.9 * self.tau.numel()


@dataclass(frozen=True)
class MaskJob:
    """A mask run to be made.

    Attributes:
        objective: what is minimised, with its settings and pairs.
        penalty: ``k_coef`` times the number of nodes.
        steps: optimizer steps; the rate decays to 0 over them.
        give_up_at: a run that has failed after so many steps ends there.
    """

    objective: Objective
    penalty: float
    steps: int
    give_up_at: int | None = None


def optimise_masks(
    model: SparseGPT, jobs: Sequence[MaskJob], *, watch: Watch | None = None, at_once: int | None = None
) -> list[MaskRun]:
    """Learn masks.

    Args:
        model: frozen (no gradient for its parameters).
        jobs: any; those that can go together do.
        watch: called after every step of every job.
        at_once: so many mask sets in a batch at most; None: as many as memory allows.

    Returns:
        One for each job.
    """
    done: dict[int, MaskRun] = {}
    groups: dict[object, list[int]] = {}
    for index, job in enumerate(jobs):
        groups.setdefault((job.objective.kind, job.steps), []).append(index)
    for group in groups.values():
        size = at_once or max_sets(model, jobs[group[0]].objective)
        for first in range(0, len(group), size):
            batch = group[first : first + size]
            done.update(_Batch(model, {index: jobs[index] for index in batch}, watch).run())
    return [done[index] for index in range(len(jobs))]


def max_sets(model: SparseGPT, objective: Objective) -> int:
    """How many mask sets of this kind fit into memory at once; at least one."""
    pairs = objective.pairs
    rows = 2 * min(objective.config.pairs_per_step, len(pairs))
    held = HELD * rows * int(pairs.last.max() + 1) * model.config.node_count + 2 * rows * (
        model.config.vocab_size
    )
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, int(MEMORY_SHARE * free / (4 * held)))


@dataclass
class _Progress:
    """How far one job of a batch is."""

    job: MaskJob
    generator: torch.Generator
    k_coef: float
    running: dict[bool, float]
    """Running task loss of batches as they are, and of those with nodes restored."""
    loss: float = 0.0
    curve: list[tuple[int, float, int]] = field(default_factory=list)


class _Batch:
    """Jobs of one kind, side by side; one that gives up leaves the batch."""

    def __init__(self, model: SparseGPT, jobs: dict[int, MaskJob], watch: Watch | None) -> None:
        self.model, self.watch = model, watch
        self.steps = next(iter(jobs.values())).steps
        self.at: dict[int, _Progress] = {}
        starts = []
        for index, job in jobs.items():
            config = job.objective.config
            generator = torch.Generator().manual_seed(job.objective.seed)
            self.at[index] = _Progress(job, generator, 0.0, {True: config.target, False: 0.0})
            starts.append(Start(config.init_bias, config.init_scale, config.temperature, generator))
        objectives = self._objectives()
        allowed = None
        if any(one.allowed is not None for one in objectives):
            everything = torch.ones(model.config.node_count)
            allowed = torch.stack([everything if o.allowed is None else o.allowed for o in objectives])
        self.masks = NodeMasks(model.config, starts, tied=objectives[0].config.tied, allowed=allowed)
        for one in self.at.values():
            one.k_coef = one.job.penalty / self.masks.tau.shape[1]
        self.optimizer = MaskAdamW(self.masks.tau, [one.config for one in objectives])

    def _objectives(self) -> list[Objective]:
        return [one.job.objective for one in self.at.values()]

    def run(self) -> Iterator[tuple[int, MaskRun]]:
        """The runs as they end, with their jobs' indices."""
        for step in range(self.steps):
            measured = self._step(step)
            self._hear(step, measured)
            yield from self._given_up(step + 1)
            if not self.at:
                return
        for row, index in enumerate(self.at):
            yield index, self._ended(row, self.at[index], self.steps)

    def _step(self, step: int) -> Measured:
        progress = list(self.at.values())
        drawn = []
        for one in progress:
            pairs, config = one.job.objective.pairs, one.job.objective.config
            drawn.append(torch.randperm(len(pairs), generator=one.generator)[: config.pairs_per_step])
        measured = measure(self.model, self._objectives(), self.masks, drawn, step)
        k_coef = torch.tensor([one.k_coef for one in progress])
        (slope,) = torch.autograd.grad((measured.loss + k_coef * measured.count).sum(), self.masks.tau)
        rates = [_rate(step, self.steps, one.job.objective.config.warmup) for one in progress]
        self.optimizer.step(slope, rates)
        self.masks.clamp_()
        return measured

    def _hear(self, step: int, measured: Measured) -> None:
        """Each job's losses decide its next penalty."""
        counts = measured.count.detach().round().int().tolist()
        for (index, one), loss, count in zip(self.at.items(), measured.task.tolist(), counts, strict=True):
            config = one.job.objective.config
            one.loss = loss
            one.running[measured.plain] = 0.9 * one.running[measured.plain] + 0.1 * loss
            within = max(one.running.values()) <= config.target
            one.k_coef *= 1 + config.adapt if within else 1 / (1 + config.adapt)
            if step % -(-self.steps // CURVE_POINTS) == 0 or step + 1 == self.steps:
                one.curve.append((step + 1, round(loss, 4), count))
            if self.watch is not None:
                self.watch(index, step + 1, loss, count)

    def _given_up(self, done: int) -> Iterator[tuple[int, MaskRun]]:
        over: list[int] = []
        for row, (index, one) in enumerate(list(self.at.items())):
            if done == one.job.give_up_at and done < self.steps:
                run = self._ended(row, one, done)
                if run.failed():
                    over.append(row)
                    del self.at[index]
                    yield index, run
        if over:
            self._leave(torch.tensor([row for row in range(len(self.masks.tau)) if row not in over]).long())

    def _leave(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        with torch.no_grad():
            self.masks.keep_sets_(rows)
            self.optimizer.keep_sets_(self.masks.tau, rows)

    def _ended(self, row: int, one: _Progress, steps: int) -> MaskRun:
        tau = self.masks.by_node()[row].clone()
        return MaskRun(tau, int((tau >= 0).sum()), one.loss, steps, tuple(one.curve))


@dataclass
class MaskAdamW:
    """AdamW over [sets, parameters], each set with its own rate, decay, beta2 and clipping at a norm of 1.

    For one set it does what ``clip_grad_norm_`` and ``torch.optim.AdamW`` do.
    """

    tau: Tensor
    configs: Sequence[object]
    beta1: float = 0.9
    eps: float = 1e-8
    taken: int = 0
    settings: Tensor = field(init=False)
    mean: Tensor = field(init=False)
    square: Tensor = field(init=False)

    def __post_init__(self) -> None:
        columns = ("lr", "beta2", "weight_decay")
        rows = [[getattr(config, name) for name in columns] for config in self.configs]
        self.settings = torch.tensor(rows, dtype=torch.double)
        self.mean, self.square = torch.zeros_like(self.tau), torch.zeros_like(self.tau)

    @torch.no_grad()
    def step(self, slope: Tensor, rates: Iterable[float]) -> None:
        """Take one step.

        Args:
            slope: [sets, parameters].
            rates: by set, factor on its learning rate.
        """
        self.taken += 1
        lr, beta2, decay = (column[:, None] for column in self.settings.unbind(1))
        lr = lr * torch.tensor(list(rates), dtype=torch.double)[:, None]
        slope = slope * (1 / (slope.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1)
        self.tau.mul_((1 - lr * decay).float())
        self.mean.lerp_(slope, 1 - self.beta1)
        self.square.mul_(beta2.float()).add_((1 - beta2).float() * slope * slope)
        spread = self.square.sqrt() / (1 - beta2**self.taken).sqrt().float() + self.eps
        self.tau.sub_((lr / (1 - self.beta1**self.taken)).float() * self.mean / spread)

    def keep_sets_(self, tau: Tensor, rows: Tensor) -> None:
        """Go on with some of the sets, whose ``tau`` is now this."""
        self.tau, self.settings = tau, self.settings[rows]
        self.mean, self.square = self.mean[rows], self.square[rows]


def _rate(step: int, steps: int, warmup: float) -> float:
    rising = warmup * steps
    return (step + 1) / rising if step < rising else 1 - step / steps
