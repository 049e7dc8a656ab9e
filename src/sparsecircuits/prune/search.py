"""One pruning of one task, from masks to a circuit: steps 3 to 6 of :mod:`.prune`.

A :class:`Pruner` runs no masks itself: its :meth:`~Pruner.run` is a generator that asks for mask runs and is
sent how they ended, so that whoever drives several of them can have the model run once for all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit, count_edges, model_hash
from sparsecircuits.errors import PruneError
from sparsecircuits.model import Node
from sparsecircuits.prune.discretise import bisect_size, clean_up, exchange, grow, ranking, whittle
from sparsecircuits.prune.edges import EdgeConfig, remove_edges
from sparsecircuits.prune.judge import CHUNK, Judge
from sparsecircuits.prune.objective import Objective
from sparsecircuits.prune.optimise import MaskJob, MaskRun
from sparsecircuits.prune.simplify import SimplifyConfig, simplify
from sparsecircuits.tasks.loss import answer_log_probabilities
from sparsecircuits.tasks.score import (
    Calibration,
    Score,
    calibrated,
    fit_scale,
    fit_scale_and_bias,
    pair_logits,
    score,
)

#: Where a mask run has turned off nodes that are needed, another begins with its penalty divided by this.
GENTLER = 4
#: Where the kept nodes miss the target, so many times as many and so many more are tried ...
GROWN, GROWN_ANYWAY = 2, 16
#: ... and then all nodes, less those that can go, with so many times the clean-up's evaluations.
WHITTLING = 3
#: A circuit that other restorings break is mended so often; one that lacks edges is made anew so often.
ROUNDS, EDGE_ROUNDS = 4, 2
#: More nodes than this are whittled down before they are cleaned up.
MANY = 24
#: Whittling goes by few pairs, so the target is so many times as large there.
STRICTER = 0.8
#: Between the seeds of a pruning's mask runs.
SEEDS_APART = 7919


class UnreachableError(PruneError):
    """Nothing that was tried reaches the target.

    Attributes:
        loss: the lowest of what mask runs kept, in nats, on the pairs that circuits are chosen on (of the
            sets of pairs the worse one), under the held scale.
    """

    def __init__(self, task: str, target: float, loss: float) -> None:
        self.loss = loss
        super().__init__(f"{task}: no set of nodes reaches the target {target}; the best loss is {loss:.3f}")


@dataclass(frozen=True)
class PruneResult:
    """A circuit and its figures. Losses are means over both sides, in nats.

    Attributes:
        circuit: the smallest circuit found (the best reached where the target was missed).
        met: whether it holds the target on selection and validation pairs.
        nodes, edges: its size.
        loss, raw_loss: on held-out pairs, with and without its scale (and its bias, if it has one).
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


#: A pruning that asks for mask runs and is sent how they ended.
Search = Generator[list[MaskJob], list[MaskRun], PruneResult]


@dataclass(frozen=True)
class _Candidate:
    nodes: frozenset[Node]
    edges: int
    validation_loss: float
    penalty: float
    run: MaskRun
    """The mask run that it came from."""

    @property
    def size(self) -> tuple[int, int]:
        return self.edges, len(self.nodes)


class Pruner:
    """One pruning of one task; the methods are the numbered steps above."""

    def __init__(self, judge: Judge, pool: Tensor | None, *, anyway: bool = False) -> None:
        self.judge, self.pool, self.anyway = judge, pool, anyway
        self.config, self.pairs, self.model = judge.config, judge.pairs, judge.model
        self.wanted: Tensor | None = None
        self.begun = 0
        self.able = True
        """Whether the full model does the task; repairs that begin with it make no sense otherwise."""
        self.missed: list[frozenset[Node]] = []
        """What mask runs have kept, and yet it missed the target."""

    def run(self) -> Search:
        judge, target = self.judge, self.config.target
        whole = judge.whole_loss(self.pairs.selection)
        self.able = whole <= target
        if not self.able and not self.anyway:
            raise PruneError(
                f"{judge.task}: the full model's own loss is {whole:.3f}, above the target {target}; it "
                f"cannot be pruned to it"
            )
        if self.pool is not None:
            with judge.whole():
                logits = pair_logits(self.model, self.pairs.train)
            self.wanted = answer_log_probabilities(
                calibrated(logits, self.pairs.train, judge.held), self.pairs.train
            )
        if not self.config.repair:
            judge.chosen_on = (self.pairs.selection,)
        found = []
        for run, penalty in (yield from self._mask_runs(self.config.penalties)):
            candidate = yield from self._found(run, penalty)
            if candidate is not None:
                found.append(candidate)
        if not found:
            raise UnreachableError(judge.task, target, min(map(judge.worse_loss, self.missed)))
        held = [c for c in found if c.validation_loss <= target or not self.config.repair]
        best = min(held, key=lambda c: c.size) if held else min(found, key=lambda c: c.validation_loss)
        return self._result(best, met=bool(held))

    def _found(
        self, first: MaskRun, penalty: float
    ) -> Generator[list[MaskJob], list[MaskRun], _Candidate | None]:
        """Steps 4 and 5 for one mask run; a gentler one, then other nodes, where too much was turned off."""
        judge, target = self.judge, self.config.target
        if not self.config.repair:
            ranked = ranking(judge.nodes, first.tau)
            nodes = self._smallest(ranked if self.able else ranked[: first.kept])
            return None if nodes is None else self._candidate(nodes, penalty, first)
        kept = ranking(judge.nodes, first.tau)[: first.kept]
        nodes = self._smallest(kept)
        if nodes is None:
            ((gentler, less),) = yield from self._mask_runs([penalty / GENTLER])
            more = ranking(judge.nodes, gentler.tau)[: gentler.kept]
            nodes = self._smallest(more)
            if nodes is not None:
                first, penalty = gentler, less
        if nodes is None:
            nodes = self._grown(kept, target)
        if nodes is None and self.able:  # even the whole model misses it on the validation pairs
            judge.chosen_on = (self.pairs.selection,)
            nodes = self._smallest(kept) or self._grown(kept, target)
        if nodes is None:
            return None
        if self.config.cleanup:
            nodes = self._cleaned(nodes, target)
        if self.pool is not None:
            nodes = exchange(nodes, judge.worth, judge.worse_loss)
            for _ in range(ROUNDS):
                if not judge.challenge(judge.circuit(nodes), target):
                    break
                held = grow(
                    nodes, judge.worth_when_hard, judge.reaches, target, GROWN * len(nodes) + GROWN_ANYWAY
                )
                if held is None:  # it stays as it is: whittling anew takes minutes, and finds no other
                    judge.forgive(judge.circuit(nodes), target)
                    break
                nodes = self._cleaned(held, target)
        return self._candidate(nodes, penalty, first)

    def _smallest(self, ranked: list[Node]) -> frozenset[Node] | None:
        """The shortest prefix that reaches the target, if any does."""
        nodes = bisect_size(ranked, self.judge.reaches, self.config.target)
        if nodes is None:
            self.missed.append(frozenset(ranked))
        return nodes

    def _cleaned(self, nodes: frozenset[Node], target: float) -> frozenset[Node]:
        judge = self.judge
        judge.allow(self.config.evaluations)
        if len(nodes) > MANY:
            nodes = whittle(nodes, judge.worth, judge.within_budget, target)
        return clean_up(nodes, judge.worth, judge.within_budget, target)

    def _candidate(self, nodes: frozenset[Node], penalty: float, run: MaskRun) -> _Candidate:
        validation = self.judge.loss(nodes, self.pairs.validation)
        return _Candidate(nodes, count_edges(self.model, nodes), validation, penalty, run)

    def _grown(self, kept: list[Node], target: float) -> frozenset[Node] | None:
        """The kept nodes and few others; or, where estimates do not say which, what is left of all nodes.

        Nothing is left of all nodes where they cannot do the task.
        """
        most = GROWN * len(kept) + GROWN_ANYWAY
        grown = grow(frozenset(kept), self.judge.worth, self.judge.reaches, target, most)
        return self._whittled(target) if grown is None and self.able else grown

    def _whittled(self, target: float) -> frozenset[Node] | None:
        """All nodes, less those that can go; None where even all of them miss the target.

        On few pairs and a stricter target, so that it does not take long; what all pairs want more is added.
        """
        judge = self.judge
        if not judge.reaches(judge.allowed, target):
            return None
        judge.allow(WHITTLING * self.config.evaluations)
        whole = judge.chosen_on
        judge.chosen_on = tuple(pairs.first(CHUNK) for pairs in whole)
        nodes = whittle(judge.allowed, judge.size_of_worth, judge.within_budget, STRICTER * target)
        judge.chosen_on = whole
        return nodes if judge.reaches(nodes, target) else grow(nodes, judge.worth, judge.reaches, target)

    def _mask_runs(
        self, penalties: Sequence[float]
    ) -> Generator[list[MaskJob], list[MaskRun], list[tuple[MaskRun, float]]]:
        """Mask runs side by side; one that fails half-way is given up and begun again with the steps left."""
        steps = self.config.steps
        give_up_at = steps // 2 if self.config.repair else None
        runs = yield [self._job(penalty, steps, give_up_at) for penalty in penalties]
        ended = list(zip(runs, penalties, strict=True))
        again = {
            which: penalty / 4 if run.kept == 0 else penalty * 4
            for which, (run, penalty) in enumerate(ended)
            if run.steps < steps
        }
        if again:
            runs += yield [self._job(penalty, steps - steps // 2) for penalty in again.values()]
            for (which, penalty), run in zip(again.items(), runs[-len(again) :], strict=True):
                ended[which] = run, penalty
        self.judge.spent["mask_steps"] += sum(run.steps for run in runs)
        return ended

    def _job(self, penalty: float, steps: int, give_up_at: int | None = None) -> MaskJob:
        allowed = None
        if self.judge.removed is not None:
            allowed = 1 - torch.cat(list(self.judge.removed.values())).float()
        objective = Objective(
            config=self.config,
            pairs=self.pairs.train,
            means=self.judge.means,
            held=self.judge.held,
            pool=self.pool,
            wanted=self.wanted,
            allowed=allowed,
            seed=self.config.seed + SEEDS_APART * self.begun,
        )
        self.begun += 1
        return MaskJob(objective, penalty, steps, give_up_at)

    def _simplified(self, circuit: Circuit) -> Circuit:
        """Without the edges that it does not need, then edited as the authors did by hand.

        ``faithful``: made anew where other restorings, of edges too, break it.
        """
        simpler = self._simplified_once(circuit)
        if self.pool is not None:
            for _ in range(EDGE_ROUNDS):
                if not self.judge.challenge(simpler, self.config.target, besides=circuit):
                    break
                simpler = self._simplified_once(circuit)
        return simpler

    def _simplified_once(self, circuit: Circuit) -> Circuit:
        judge, target = self.judge, self.config.target
        fewer = remove_edges(
            self.model,
            circuit,
            self.pairs.train,
            lambda candidate: judge.holds(candidate, target),
            target=target,
            scale=judge.held.scale,
            config=EdgeConfig(evaluations=self.config.evaluations // 2, seed=self.config.seed),
        )
        simpler = simplify(
            self.model,
            fewer.circuit,
            list(judge.chosen_on),
            target=target,
            scale=judge.held.scale,
            loss=lambda candidate: judge.worse_loss_of(candidate, target),
            config=SimplifyConfig(evaluations=self.config.evaluations // 2),
        )
        return simpler.circuit

    def _before_edges(self, best: _Candidate) -> dict[str, object]:
        """The circuit before single edges were cut: its size, and its nodes by name."""
        names = [str(node) for node in sorted(best.nodes)]
        return {"nodes": len(best.nodes), "edges": best.edges, "names": names}

    def _result(self, best: _Candidate, *, met: bool) -> PruneResult:
        judge, pairs = self.judge, self.pairs
        circuit = judge.circuit(best.nodes)
        if self.config.edges and met:
            circuit = self._simplified(circuit)
        edges = circuit.edge_count(self.model)
        with circuit.installed(self.model):
            train, logits = pair_logits(self.model, pairs.train), pair_logits(self.model, pairs.heldout)
        if self.config.bias:
            own = fit_scale_and_bias(train, pairs.train)
        else:
            own = Calibration(fit_scale(train, pairs.train), 0.0)
        raw, scaled = score(logits, pairs.heldout), score(logits, pairs.heldout, own)
        with judge.whole():
            whole = pair_logits(self.model, pairs.heldout)
        full = score(whole, pairs.heldout, judge.held)
        info = {
            "model_sha256": model_hash(self.model),
            "target": self.config.target,
            "met": met,
            "form": pairs.heldout.form,
            "loss": scaled.loss,
            "raw_loss": raw.loss,
            "accuracy": scaled.accuracy,
            "full_loss": full.loss,
            "full_accuracy": full.accuracy,
            "full_scale": judge.held.scale,
            "validation_loss": best.validation_loss,
            "nodes": len(circuit),
            "edges": edges,
            "before_edges": self._before_edges(best) if self.config.edges else None,
            "total_nodes": len(judge.nodes),
            "penalty": best.penalty,
            "curve": _columns(best.run.curve),
            "spent": dict(judge.spent),
            "pairs_sha256": {part.name: getattr(pairs, part.name).hash for part in dataclasses.fields(pairs)},
            "config": self.config.to_dict(),
        }
        info = {**circuit.info, **info}  # what simplifying has logged
        circuit = dataclasses.replace(circuit, scale=own.scale, bias=own.bias, info=info)
        return PruneResult(
            circuit=circuit,
            met=met,
            nodes=len(circuit),
            edges=edges,
            loss=scaled.loss,
            raw_loss=raw.loss,
            accuracy=scaled.accuracy,
            full=full,
            validation_loss=best.validation_loss,
            forwards=dict(judge.spent),
        )


def _columns(curve: Sequence[tuple[int, float, int]]) -> dict[str, list[float]]:
    """A mask run's curve as it is stored."""
    return {name: [point[i] for point in curve] for i, name in enumerate(("step", "loss", "nodes"))}
