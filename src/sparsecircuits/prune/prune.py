"""Prune a model to the smallest circuit that does a task (Gao et al. 2025, §2.2, §A.5).

The steps, each in its own file:

1. frozen values: mean activations over the pretraining distribution (``means``);
2. one positive scale fitted on the full model and the train split, then held (``score``);
3. mask runs, one for each penalty; one that has failed half-way (nothing left, or nearly
   everything) is given up and started again with a gentler or a harder penalty and the steps left
   (``optimise``; what they minimise: ``objective``);
4. nodes ranked by τ, the smallest prefix within the target found by bisection. Where more are needed than
   were kept: a second mask run with a gentler penalty, then a few nodes added, then the whole model whittled
   down instead. What is found is cleaned up (``discretise``). A circuit must hold on the selection pairs and
   on those of the validation split, which has other templates and names; with the objective ``faithful``
   also while deleted nodes come back (``restore``);
5. of several circuits the one with the fewest edges is taken;
6. the scale is refitted once, and raw and scaled loss are measured on held-out pairs.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit, count_edges, freeze, model_hash
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import PruneError
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.discretise import bisect_size, clean_up, exchange, grow, ranking, whittle
from sparsecircuits.prune.estimate import node_worth
from sparsecircuits.prune.masks import all_nodes
from sparsecircuits.prune.means import pretraining_means, pretraining_pool
from sparsecircuits.prune.objective import FaithfulObjective, Objective, TaskObjective
from sparsecircuits.prune.optimise import MaskRun, optimise_masks
from sparsecircuits.prune.restore import restored_losses
from sparsecircuits.prune.splits import Splits
from sparsecircuits.tasks.pairs import Task, TokenPairs
from sparsecircuits.tasks.score import Calibration, Score, fit_scale, pair_logits, score

#: ``watch(stage, done, of, loss)``.
Watch = Callable[[str, int, int, float], None]
#: So many selection pairs are enough for a first look at a circuit, and for estimates.
CHUNK = 64
#: Where a mask run has turned off nodes that are needed, another begins with its penalty divided by this.
GENTLER = 4
#: Where the kept nodes miss the target, so many times as many and so many more are tried ...
GROWN, GROWN_ANYWAY = 2, 16
#: ... and then all nodes, less those that can go, with so many times the clean-up's evaluations.
WHITTLING = 3
#: Whittling goes by few pairs, so the target is so many times as large there.
STRICTER = 0.8
#: A circuit whose loss on the first CHUNK selection pairs is above so many targets is not run on the rest.
HOPELESS = 1.3


@dataclass(frozen=True)
class PruneResult:
    """A circuit and its figures. Losses are means over both sides, in nats.

    Attributes:
        circuit: the smallest circuit found (the best reached where the target was missed).
        met: whether it holds the target on selection and validation pairs.
        nodes, edges: its size.
        loss, raw_loss: on held-out pairs, with and without its scale.
        accuracy: on held-out pairs.
        full: the unpruned model on the same pairs, scaled.
        validation_loss: what it was chosen on, with the full model's scale.
        forwards: mask steps and evaluations spent.
    """

    circuit: Circuit
    met: bool
    nodes: int
    edges: int
    loss: float
    raw_loss: float
    accuracy: float
    full: Score
    validation_loss: float
    forwards: dict[str, int]


def prune(
    model: SparseGPT,
    task: Task,
    tokenizer: TextTokenizer,
    tokens: np.ndarray,
    config: PruneConfig | None = None,
    *,
    means: Mapping[str, Tensor] | None = None,
    watch: Watch | None = None,
) -> PruneResult:
    """Find the smallest circuit of ``model`` that does ``task`` with loss at most ``config.target``.

    Args:
        model: left as it is.
        task: what the circuit must do.
        tokenizer: the model's.
        tokens: [total] training token ids, for the frozen values.
        config: None: the defaults.
        means: frozen values, if they are at hand already.
        watch: called with (stage, done, of, loss) as work goes on.

    Raises:
        TaskError: the task does not fit the tokenizer.
        PruneError: the full model itself misses the target on the selection pairs.
    """
    config = config or PruneConfig()
    pairs = Splits.draw(task, tokenizer, config, model.config.n_ctx)
    if means is None:
        means = pretraining_means(model, tokens, count=config.mean_tokens, seed=config.seed)
    pool = None
    if config.objective == "faithful":
        pool = pretraining_pool(model, tokens, count=config.pool_tokens, seed=config.seed)
    with _frozen_weights(model):
        return _Pruner(model, task, pairs, means, config, watch or _unwatched, pool).run()


def _unwatched(stage: str, done: int, of: int, loss: float) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class _Candidate:
    nodes: frozenset[Node]
    edges: int
    validation_loss: float
    penalty: float

    @property
    def size(self) -> tuple[int, int]:
        return self.edges, len(self.nodes)


class _Pruner:
    """One pruning of one task; the methods are the numbered steps above."""

    def __init__(
        self,
        model: SparseGPT,
        task: Task,
        pairs: Splits,
        means: Mapping[str, Tensor],
        config: PruneConfig,
        watch: Watch,
        pool: Tensor | None,
    ) -> None:
        self.model, self.task, self.pairs, self.means = model, task, pairs, means
        self.config, self.watch, self.pool = config, watch, pool
        sites = model.config.site_names()
        self.nodes = all_nodes(sites, [model.config.width(site.site) for site in sites])
        self.spent = {"mask_steps": 0, "evaluations": 0, "estimates": 0}
        self.chosen_on: tuple[TokenPairs, ...] = (pairs.selection, pairs.validation)
        self.scale = 1.0
        self.budget = 0

    def run(self) -> PruneResult:
        self.scale = fit_scale(pair_logits(self.model, self.pairs.train), self.pairs.train)
        full = score(pair_logits(self.model, self.pairs.selection), self.pairs.selection, self._held)
        if full.loss > self.config.target:
            raise PruneError(
                f"{self.task.name}: the full model's own loss is {full.loss:.3f}, above the target "
                f"{self.config.target}; it cannot be pruned to it"
            )
        found = [c for penalty in self.config.penalties if (c := self._found(penalty)) is not None]
        if not found:
            raise PruneError(f"{self.task.name}: no set of nodes reaches the target {self.config.target}")
        held = [c for c in found if c.validation_loss <= self.config.target]
        best = min(held, key=lambda c: c.size) if held else min(found, key=lambda c: c.validation_loss)
        return self._result(best, met=bool(held))

    @property
    def _held(self) -> Calibration:
        return Calibration(self.scale, 0.0)

    def _found(self, penalty: float) -> _Candidate | None:
        """Steps 3 to 5 for one penalty; a gentler one, then other nodes, where too much was turned off."""
        first, penalty = self._mask_run(penalty)
        kept = ranking(self.nodes, first.tau)[: first.kept]
        nodes, target = bisect_size(kept, self._reaches, self.config.target), self.config.target
        if nodes is None:
            gentler, less = self._mask_run(penalty / GENTLER)
            more = ranking(self.nodes, gentler.tau)[: gentler.kept]
            nodes = bisect_size(more, self._reaches, target)
            penalty = penalty if nodes is None else less
        if nodes is None:
            nodes = self._grown(kept, target)
        if nodes is None:  # even the whole model misses it on the validation pairs
            self.chosen_on = (self.pairs.selection,)
            nodes = bisect_size(kept, self._reaches, target) or self._grown(kept, target)
        if nodes is None:
            return None
        if self.config.cleanup:
            self.budget = self.spent["evaluations"] + self.config.evaluations
            nodes = clean_up(nodes, self._worth, self._within_budget, target)
        if self.pool is not None:
            nodes = exchange(nodes, self._worth, self._worse_loss)
        validation = self._loss(nodes, self.pairs.validation)
        return _Candidate(nodes, count_edges(self.model, nodes), validation, penalty)

    def _grown(self, kept: list[Node], target: float) -> frozenset[Node] | None:
        """The kept nodes and few others; or, where estimates do not say which, what is left of all nodes."""
        most = GROWN * len(kept) + GROWN_ANYWAY
        grown = grow(frozenset(kept), self._worth, self._reaches, target, most)
        return self._whittled(target) if grown is None else grown

    def _whittled(self, target: float) -> frozenset[Node] | None:
        """All nodes, less those that can go; None where even all of them miss the target.

        On few pairs and a stricter target, so that it does not take long; what all pairs want more is added.
        """
        everything = frozenset(self.nodes)
        if not self._reaches(everything, target):
            return None
        self.budget = self.spent["evaluations"] + WHITTLING * self.config.evaluations
        whole = self.chosen_on
        self.chosen_on = tuple(pairs.rows(slice(CHUNK)) for pairs in whole)
        nodes = whittle(everything, self._size_of_worth, self._within_budget, STRICTER * target)
        self.chosen_on = whole
        return nodes if self._reaches(nodes, target) else grow(nodes, self._worth, self._reaches, target)

    def _size_of_worth(self, nodes: frozenset[Node]) -> Mapping[Node, float]:
        """How much each node matters, for better or worse: where copies saturate, slopes have either sign."""
        return {node: abs(worth) for node, worth in self._worth(nodes).items()}

    def _mask_run(self, penalty: float) -> tuple[MaskRun, float]:
        """A mask run; one that fails half-way is given up and started again with the steps left."""
        half = self.config.steps // 2
        run = self._optimise(penalty, self.config.steps, give_up_at=half)
        if run.steps == self.config.steps:
            return run, penalty
        penalty = penalty / 4 if run.kept == 0 else penalty * 4
        return self._optimise(penalty, self.config.steps - run.steps), penalty

    def _optimise(self, penalty: float, steps: int, give_up_at: int | None = None) -> MaskRun:
        run = optimise_masks(
            self.model,
            self._objective(),
            len(self.pairs.train),
            penalty=penalty,
            config=self.config,
            steps=steps,
            give_up_at=give_up_at,
            watch=lambda done, loss, kept: self.watch("masks", done, steps, loss),
        )
        self.spent["mask_steps"] += run.steps
        return run

    def _objective(self) -> Objective:
        train = self.pairs.train
        if self.pool is None:
            return TaskObjective(self.model, train, self.means, self.scale)
        generator = torch.Generator().manual_seed(self.config.seed)
        return FaithfulObjective(self.model, train, self.means, self.scale, self.config, self.pool, generator)

    def _within_budget(self, nodes: frozenset[Node], target: float) -> bool:
        """As :meth:`_reaches`, and no once the evaluations are spent."""
        return self.spent["evaluations"] < self.budget and self._reaches(nodes, target)

    def _reaches(self, nodes: frozenset[Node], target: float) -> bool:
        """Whether a circuit holds ``target`` on all pairs that it is chosen on.

        Given up as soon as one set of them, or the first few of it, settles the question.
        """
        self.spent["evaluations"] += 1
        loss = 0.0
        with self._installed(nodes):
            for pairs in self.chosen_on:
                if self._score(pairs.rows(slice(CHUNK))) > HOPELESS * target:
                    return False
                if (loss := self._score(pairs)) > target:
                    return False
        if (
            self.pool is not None
            and (loss := max(loss, self._restored_loss(nodes, self.config.draws))) > target
        ):
            return False
        self.watch("nodes", len(nodes), len(self.nodes), loss)
        return True

    def _restored_loss(self, nodes: frozenset[Node], draws: int) -> float:
        """Mean loss over random restorings, on the first pairs of each set that circuits are chosen on."""
        keep = Circuit(self.task.name, nodes, self.means).keep_masks()
        return max(
            statistics.fmean(
                restored_losses(
                    self.model,
                    keep,
                    self.means,
                    pairs.rows(slice(CHUNK)),
                    scale=self.scale,
                    draws=draws,
                    seed=self.config.seed,
                )
            )
            for pairs in self.chosen_on
        )

    def _worse_loss(self, nodes: frozenset[Node]) -> float:
        """Of the plain loss and that with nodes restored the larger."""
        self.spent["evaluations"] += 1
        with self._installed(nodes):
            plain = max(self._score(pairs.rows(slice(CHUNK))) for pairs in self.chosen_on)
        return max(plain, self._restored_loss(nodes, 4 * self.config.draws))

    def _worth(self, nodes: frozenset[Node]) -> Mapping[Node, float]:
        self.spent["estimates"] += 1
        some = self.chosen_on[-1].rows(slice(CHUNK))
        return node_worth(self.model, some, nodes, self.means, self.scale)

    def _loss(self, nodes: frozenset[Node], pairs: TokenPairs) -> float:
        with self._installed(nodes):
            return self._score(pairs)

    def _score(self, pairs: TokenPairs) -> float:
        """Loss on ``pairs`` of the model as it now runs, under the full model's scale."""
        return score(pair_logits(self.model, pairs), pairs, self._held).loss

    def _installed(self, nodes: frozenset[Node]) -> AbstractContextManager[None]:
        keep = Circuit(self.task.name, nodes, self.means).keep_masks()
        return freeze(self.model, keep, self.means, sealed=True)

    def _result(self, best: _Candidate, *, met: bool) -> PruneResult:
        circuit = Circuit(self.task.name, best.nodes, self.means)
        with circuit.installed(self.model):
            scale = fit_scale(pair_logits(self.model, self.pairs.train), self.pairs.train)
            logits = pair_logits(self.model, self.pairs.heldout)
        raw = score(logits, self.pairs.heldout)
        scaled = score(logits, self.pairs.heldout, Calibration(scale, 0.0))
        full = score(pair_logits(self.model, self.pairs.heldout), self.pairs.heldout, self._held)
        info = {
            "model_sha256": model_hash(self.model),
            "target": self.config.target,
            "met": met,
            "form": self.pairs.heldout.form,
            "loss": scaled.loss,
            "raw_loss": raw.loss,
            "accuracy": scaled.accuracy,
            "full_loss": full.loss,
            "full_accuracy": full.accuracy,
            "full_scale": self.scale,
            "validation_loss": best.validation_loss,
            "nodes": len(best.nodes),
            "edges": best.edges,
            "total_nodes": len(self.nodes),
            "penalty": best.penalty,
            "spent": dict(self.spent),
            "pairs_sha256": {
                part.name: getattr(self.pairs, part.name).hash for part in dataclasses.fields(self.pairs)
            },
            "config": self.config.to_dict(),
        }
        circuit = Circuit(self.task.name, best.nodes, self.means, scale, info)
        return PruneResult(
            circuit=circuit,
            met=met,
            nodes=len(best.nodes),
            edges=best.edges,
            loss=scaled.loss,
            raw_loss=raw.loss,
            accuracy=scaled.accuracy,
            full=full,
            validation_loss=best.validation_loss,
            forwards=dict(self.spent),
        )


class _frozen_weights:
    """No gradient for the model's parameters inside the context."""

    def __init__(self, model: SparseGPT) -> None:
        self.before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]

    def __enter__(self) -> None:
        for parameter, _ in self.before:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter, wanted in self.before:
            parameter.requires_grad_(wanted)
