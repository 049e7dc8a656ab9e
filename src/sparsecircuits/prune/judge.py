"""Runs candidate circuits on the pairs that they are chosen on, and says whether they will do.

A circuit must hold the target on the selection pairs and on those of the validation split, which has other
templates and names; with the objective ``faithful`` also while deleted nodes come back at random. Losses are
in nats, under the full model's scale or raw (``PruneConfig.held_scale``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from torch import Tensor

from sparsecircuits.circuit import Circuit, freeze
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.estimate import node_worth
from sparsecircuits.prune.masks import all_nodes
from sparsecircuits.prune.restore import drawn_restore, restored_losses
from sparsecircuits.prune.splits import Splits
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import Calibration, fit_scale, fit_scale_and_bias, pair_logits, score

#: So many selection pairs are enough for a first look at a circuit, and for estimates.
CHUNK = 64
#: A circuit whose loss on the first CHUNK selection pairs is above so many targets is not run on the rest.
HOPELESS = 1.3
#: While nodes come back, so many pairs of each set, and so many targets at most in the worst draw.
RESTORED, WORST = 32, 2
#: So many more restorings are tried on a circuit that is found, and as many of those that break it are kept.
CHALLENGES, HARDEST = 64, 4

#: ``watch(stage, done, of, loss)``.
Watch = Callable[[str, int, int, float], None]


class Judge:
    """Measures circuits of one model on one task, and counts what it took.

    Attributes:
        nodes: every node of the model.
        allowed: those that a circuit may have.
        held: scale of all logits, and the bias that goes with it.
        chosen_on: the pairs on which a circuit must hold the target.
        hard: restorings that have broken some circuit; see :meth:`challenge`.
        spent: how much was run.
    """

    def __init__(
        self,
        model: SparseGPT,
        task: str,
        pairs: Splits,
        means: Mapping[str, Tensor],
        config: PruneConfig,
        *,
        removed: frozenset[Node] = frozenset(),
        held: Calibration | None = None,
        watch: Watch,
    ) -> None:
        """Fit the scale on the train pairs unless it is given; see :class:`~.prune.PruneJob`."""
        self.model, self.task, self.pairs, self.means = model, task, pairs, means
        self.config, self.watch = config, watch
        sites = model.config.site_names()
        self.nodes = all_nodes(sites, [model.config.width(site.site) for site in sites])
        self.allowed = frozenset(self.nodes) - removed
        self.removed = Circuit(task, removed, means).keep_masks() if removed else None
        self.spent = {"mask_steps": 0, "evaluations": 0, "estimates": 0}
        self.chosen_on: tuple[TokenPairs, ...] = (pairs.selection, pairs.validation)
        self.hard: list[int] = []
        self.budget = 0
        self.held = self._fitted() if held is None else held

    def _fitted(self) -> Calibration:
        """What suits everything that is allowed."""
        if not self.config.held_scale:
            return Calibration(1.0, 0.0)
        with self.whole():
            logits = pair_logits(self.model, self.pairs.train)
        if self.config.held_bias:
            return fit_scale_and_bias(logits, self.pairs.train)
        return Calibration(fit_scale(logits, self.pairs.train), 0.0)

    @contextmanager
    def whole(self) -> Generator[None]:
        """Run the model with everything that is allowed."""
        if self.removed is None:
            yield
            return
        with freeze(self.model, {name: ~gone for name, gone in self.removed.items()}, self.means):
            yield

    def installed(self, nodes: frozenset[Node]) -> AbstractContextManager[None]:
        """Run the model as the circuit of these nodes."""
        return self.circuit(nodes).installed(self.model, sealed=True)

    def circuit(self, nodes: frozenset[Node]) -> Circuit:
        """These nodes, all others at their means."""
        return Circuit(self.task, nodes, self.means)

    def whole_loss(self, pairs: TokenPairs) -> float:
        """Loss of everything that is allowed."""
        with self.whole():
            return self._score(pairs)

    def loss(self, nodes: frozenset[Node], pairs: TokenPairs) -> float:
        """Loss of a circuit, all else frozen."""
        with self.installed(nodes):
            return self._score(pairs)

    def reaches(self, nodes: frozenset[Node], target: float) -> bool:
        """Whether a circuit holds ``target`` on all pairs that it is chosen on.

        Given up as soon as one set of them, or the first few of it, settles the question.
        """
        return self.holds(self.circuit(nodes), target)

    def holds(self, circuit: Circuit, target: float) -> bool:
        """As :meth:`reaches`, of a circuit that may lack edges."""
        self.spent["evaluations"] += 1
        loss = 0.0
        with circuit.installed(self.model, sealed=True):
            for pairs in self.chosen_on:
                if self._score(pairs.first(CHUNK)) > HOPELESS * target:
                    return False
                if (loss := self._score(pairs)) > target:
                    return False
        if self.config.objective == "faithful":
            loss = max(loss, self._restored_loss(circuit, target))
            if loss > target:
                return False
        self.watch("nodes", len(circuit), len(self.nodes), loss)
        return True

    def within_budget(self, nodes: frozenset[Node], target: float) -> bool:
        """As :meth:`reaches`, and no once the evaluations are spent."""
        return self.spent["evaluations"] < self.budget and self.reaches(nodes, target)

    def allow(self, evaluations: int) -> None:
        """:meth:`within_budget` answers so many times from now on."""
        self.budget = self.spent["evaluations"] + evaluations

    def worse_loss(self, nodes: frozenset[Node], limit: float = math.inf) -> float:
        """Of the plain loss and that with nodes restored the larger; infinite where it is above ``limit``."""
        return self.worse_loss_of(self.circuit(nodes), limit, chunk=CHUNK)

    def worse_loss_of(self, circuit: Circuit, limit: float = math.inf, chunk: int | None = None) -> float:
        """As :meth:`worse_loss`, of a circuit that may lack edges; on so many pairs of each set."""
        self.spent["evaluations"] += 1
        with circuit.installed(self.model, sealed=True):
            plain = max(self._score(pairs.first(chunk or len(pairs))) for pairs in self.chosen_on)
        if plain > limit:
            return math.inf
        if self.config.objective == "task":
            return plain
        return max(plain, self._restored_loss(circuit, limit))

    def worth(self, nodes: frozenset[Node]) -> Mapping[Node, float]:
        """How much each allowed node is estimated to lower the loss by being live."""
        self.spent["estimates"] += 1
        some = self.chosen_on[-1].first(CHUNK)
        worth = node_worth(self.model, some, nodes, self.means, self.held.scale)
        return (
            worth if self.removed is None else {node: worth[node] for node in worth if node in self.allowed}
        )

    def size_of_worth(self, nodes: frozenset[Node]) -> Mapping[Node, float]:
        """How much each node matters, for better or worse: where copies saturate, slopes have either sign."""
        return {node: abs(worth) for node, worth in self.worth(nodes).items()}

    def challenge(self, circuit: Circuit, target: float, *, besides: Circuit | None = None) -> bool:
        """Try many more restorings on a circuit; those that break it are asked of every circuit from now on.

        Args:
            circuit: one that holds the target.
            target: in nats.
            besides: restorings that break this one too do not count.

        Returns:
            Whether there are any.
        """
        first = self.config.draws
        draws = [draw for draw in range(first, first + CHALLENGES) if draw not in self.hard]
        broken = self._broken(circuit, draws, target)
        if besides is not None:
            anyway = self._broken(besides, sorted(broken), target)
            broken = {draw: loss for draw, loss in broken.items() if draw not in anyway}
        self.hard += sorted(broken, key=lambda draw: -broken[draw])[:HARDEST]
        return bool(broken)

    def forgive(self, circuit: Circuit, target: float) -> None:
        """Ask no circuit for the restorings that break this one."""
        broken = self._broken(circuit, self.hard, target)
        self.hard = [draw for draw in self.hard if draw not in broken]

    def _broken(self, circuit: Circuit, draws: Sequence[int], target: float) -> dict[int, float]:
        """The loss in those of ``draws`` that break a circuit."""
        broken: dict[int, float] = {}
        for pairs in self.chosen_on:
            for draw, loss in zip(draws, self._restored(circuit, pairs, draws), strict=True):
                if loss > WORST * target:
                    broken[draw] = max(loss, broken.get(draw, 0.0))
        return broken

    def worth_when_hard(self, nodes: frozenset[Node]) -> Mapping[Node, float]:
        """As :meth:`worth`, in the mean over the restorings that have broken a circuit."""
        total = dict.fromkeys(self.allowed, 0.0)
        for draw in self.hard:
            back = drawn_restore(len(self.nodes), self._seed, draw).nodes.tolist()
            there = {node for node, live in zip(self.nodes, back, strict=True) if live} & self.allowed
            for node, worth in self.worth(nodes | there).items():
                total[node] += 0.0 if node in there else worth
        return total

    def _restored_loss(self, circuit: Circuit, limit: float) -> float:
        """Mean loss over random restorings, or half of the worst if that is more.

        On the first pairs of each set that circuits are chosen on; infinite, and given up early, where one of
        them is above ``limit``.
        """
        worst = 0.0
        for pairs in self.chosen_on:
            for loss in self._restored(circuit, pairs, self.hard):
                worst = max(worst, loss / WORST)
                if worst > limit:
                    return math.inf
        draws = self.config.draws
        for pairs in self.chosen_on:
            total = 0.0
            for loss in self._restored(circuit, pairs, range(draws)):
                total += loss
                worst = max(worst, loss / WORST, total / draws)
                if worst > limit:
                    return math.inf
        return worst

    def _restored(self, circuit: Circuit, pairs: TokenPairs, draws: Sequence[int]) -> Iterator[float]:
        return restored_losses(
            self.model,
            circuit,
            pairs.first(RESTORED),
            held=self.held,
            draws=draws,
            seed=self._seed,
            never=self.removed,
        )

    @property
    def _seed(self) -> int:
        """Of restorings: not those that the circuit is tested with afterwards."""
        return self.config.seed + 1

    def _score(self, pairs: TokenPairs) -> float:
        """Loss on ``pairs`` of the model as it now runs."""
        return score(pair_logits(self.model, pairs), pairs, self.held).loss
