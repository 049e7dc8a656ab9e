"""The clean-up that the authors did by hand on the circuits they read (Gao et al. 2025, §3.1, §F).

Three kinds of edits, each tried and kept only if the loss stays within the target:

========  ============================================================================================
drop      a node that does not matter is frozen at its stored value, edges that do not matter are cut
constant  a node that hardly varies on the task's prompts is frozen at its mean over *them*: a query
          that is always the same is a constant (§F.1)
absorb    of two nodes that say the same, one is frozen and the other rescaled to do the work of both
          (§F.2). They say the same if their values are nearly linear in each other, ``b = beta a + c``,
          and they write the same channel or are read by the same nodes
========  ============================================================================================

For ``absorb``, let ``w_a`` and ``w_b`` be their weights into all their targets (1 and 1 for two writers of a
channel), and ``mu`` the frozen value of ``a``. Both together write ``w_a a + w_b b``; ``a`` alone, with a
gain g about ``mu`` and b frozen at what it is where ``a = mu``, differs from that by
``(w_a g - w_a - beta w_b) (a - mu)``, which is least for g = 1 + beta (w_a . w_b) / (w_a . w_a).

Every step is logged with its price, and can be undone (:mod:`.edits`).

>>> found = simplify(model, circuit, [selection, validation], target=0.15)     # doctest: +SKIP
>>> for step in found.steps:                                                   # doctest: +SKIP
...     print(step)
drop 0.attn.k.12: 0.0712 -> 0.0711 nats
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError, PruneError
from sparsecircuits.model import Node, SparseGPT, record
from sparsecircuits.model.sites import WRITES
from sparsecircuits.prune.edges import Rises, dead_nodes, estimate_rises, shed
from sparsecircuits.prune.edits import KINDS, Kind, Step, logged
from sparsecircuits.prune.judge import CHUNK, HOPELESS
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import Calibration, pair_logits, score

#: Loss of a circuit, in nats, that must stay within the target.
Loss = Callable[[Circuit], float]


@dataclass(frozen=True, kw_only=True)
class SimplifyConfig(Config):
    """What :func:`simplify` tries."""

    kinds: tuple[str, ...] = KINDS
    """Which edits, in this order: drop, constant, absorb."""
    edges: bool = True
    """drop: edges too."""
    price: float | None = None
    """A step that costs more nats is not taken; None: any that stays within the target is."""
    steady: float = 0.5
    """constant: at most this share of a node's mean square distance from its frozen value is variance over
    the prompts."""
    alike: float = 0.95
    """absorb: the correlation of two nodes that say the same, or of one and the other's negative."""
    rounds: int = 2
    """How often all kinds are gone through; another round only if the last has changed anything."""
    evaluations: int = 300
    """At most so many circuits are tried in all."""

    def validate(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(f"SimplifyConfig.kinds has {kind!r}; known: {', '.join(KINDS)}")
        for name in ("rounds", "evaluations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"SimplifyConfig.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("steady", "alike"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"SimplifyConfig.{name} is {getattr(self, name)}; it is between 0 and 1")


@dataclass(frozen=True)
class Simplified:
    """What :func:`simplify` made of a circuit.

    Attributes:
        circuit: with the steps in its log. Losses in its ``info`` are those of before.
        steps: in order.
        before, after: loss in nats.
        evaluations: circuits tried.
    """

    circuit: Circuit
    steps: tuple[Step, ...]
    before: float
    after: float
    evaluations: int


def simplify(
    model: SparseGPT,
    circuit: Circuit,
    pairs: TokenPairs | Sequence[TokenPairs],
    *,
    target: float | None = None,
    scale: float | None = None,
    loss: Loss | None = None,
    config: SimplifyConfig | None = None,
) -> Simplified:
    """Make a circuit smaller, step by step, while its loss stays within the target.

    Args:
        model: left as it is.
        circuit: any, such as one that was saved.
        pairs: prompts of its task, or several sets, such as selection and validation: the largest of their
            losses counts. Nodes' means and variances are taken over them.
        target: in nats; None: the circuit's own, or 0.15 where it has none.
        scale: factor on the logits; None: the full model's, by which circuits are chosen, or else the
            circuit's. The circuit's bias counts too.
        loss: what must stay within the target; None: the task loss on ``pairs``. Estimates are of that.
        config: None: the defaults.

    Raises:
        PruneError: the circuit itself misses the target.
        CheckpointError: it does not fit the model.
    """
    sets = (pairs,) if isinstance(pairs, TokenPairs) else tuple(pairs)
    if not sets:
        raise PruneError("no prompts to simplify a circuit on")
    if target is None:
        target = float(circuit.info.get("target", 0.15))
    if scale is None:
        scale = float(circuit.info.get("full_scale", circuit.scale))
    loss = loss or PairLoss(model, sets, scale=scale, target=target)
    work = _Work(model, circuit, sets, scale, target, loss, config or SimplifyConfig())
    if work.before > target:
        raise PruneError(
            f"{circuit.task}: the circuit's own loss here is {work.before:.4f}, above the target {target}; "
            f"give a larger target to simplify it at a price"
        )
    work.run()
    return Simplified(work.circuit, tuple(work.steps), work.before, work.loss, work.evaluations)


class PairLoss:
    """A circuit's task loss in nats: the largest over some sets of pairs, under a given scale.

    Given up with what it is on the first few pairs where that is hopeless.
    """

    def __init__(self, model: SparseGPT, sets: Sequence[TokenPairs], *, scale: float, target: float) -> None:
        self.model, self.sets, self.scale, self.target = model, sets, scale, target

    def __call__(self, circuit: Circuit) -> float:
        held, worst = Calibration(self.scale, circuit.bias), 0.0
        with circuit.installed(self.model, sealed=True):
            for pairs in self.sets:
                few = pairs.first(CHUNK)
                first = score(pair_logits(self.model, few), few, held).loss
                if first > HOPELESS * self.target or len(few) == len(pairs):
                    worst = max(worst, first)
                else:
                    worst = max(worst, score(pair_logits(self.model, pairs), pairs, held).loss)
                if worst > self.target:
                    break
        return worst


class _Work:
    """A circuit under the knife; each method tries one kind of edit on all that it may suit."""

    def __init__(
        self,
        model: SparseGPT,
        circuit: Circuit,
        sets: Sequence[TokenPairs],
        scale: float,
        target: float,
        loss: Loss,
        config: SimplifyConfig,
    ) -> None:
        self.model, self.circuit, self.sets, self.scale = model, circuit, sets, scale
        self.target, self.config, self._measure = target, config, loss
        self.steps: list[Step] = []
        self.evaluations = 1
        self.before = self.loss = loss(circuit)

    def run(self) -> None:
        kinds = {"drop": self.drop, "constant": self.constant, "absorb": self.absorb}
        for _ in range(self.config.rounds):
            done = len(self.steps)
            for kind in self.config.kinds:
                kinds[kind]()
            if len(self.steps) == done:
                break

    @property
    def spent(self) -> bool:
        """Whether nothing more may be tried."""
        return self.evaluations >= self.config.evaluations

    def attempt(self, kind: Kind, new: Circuit) -> bool:
        """Take a circuit if its loss will do, and log the step."""
        if self.spent:
            return False
        self.evaluations += 1
        after = self._measure(new)
        price = self.config.price
        if after > self.target or (price is not None and after - self.loss > price):
            return False
        step = Step.between(kind, self.circuit, new, self.loss, after)
        self.circuit, self.loss = logged(new, step), after
        self.steps.append(step)
        return True

    def drop(self) -> None:
        self._drop_dead()
        rise = self._rises().nodes
        shed(sorted(rise, key=lambda node: (rise[node], node)), self._without)
        if self.config.edges:
            cost = self._rises().edges
            order = sorted(cost, key=lambda ends: (cost[ends], ends))
            shed(order, lambda run: self.attempt("drop", self.circuit.cutting(run)), max(1, len(order) // 4))
            self._drop_dead()

    def _drop_dead(self) -> None:
        """What nothing reads any more, or nothing reaches."""
        tried: set[Node] = set()
        while dead := sorted(dead_nodes(self.model, self.circuit) - tried):
            tried |= set(dead)
            shed(dead, self._without, len(dead))

    def _without(self, nodes: Sequence[Node]) -> bool:
        return self.attempt("drop", self.circuit.without(nodes))

    def _rises(self) -> Rises:
        return estimate_rises(self.model, self.circuit, self.sets[-1].first(CHUNK), scale=self.scale)

    def constant(self) -> None:
        """Queries and keys first, then the rest; those first that vary least."""
        values = node_values(self.model, self.circuit, self.sets)
        share = {}
        for node, of in values.items():
            distance = float((of - float(self.circuit.frozen[str(node.at)][node.index])).square().mean())
            share[node] = float(of.var(correction=0)) / distance if distance else 0.0
        steady = [node for node in share if share[node] <= self.config.steady]
        for node in sorted(steady, key=lambda n: (n.site not in ("attn.q", "attn.k"), share[n], n)):
            if node not in self.circuit.nodes or self.spent:
                continue
            mean = float(node_values(self.model, self.circuit, self.sets, [node])[node].mean())
            if self.attempt("constant", self.circuit.with_frozen(node, mean)):
                self._drop_dead()

    def absorb(self) -> None:
        """Pairs that say the same, the most alike first; of each pair, that stays which varies more."""
        values = node_values(self.model, self.circuit, self.sets)
        for one, other in alike_pairs(self.model, self.circuit, values, self.config.alike):
            if not {one, other} <= self.circuit.nodes or self.spent:
                continue
            now = node_values(self.model, self.circuit, self.sets, [one, other])
            first = (one, other) if now[one].var() >= now[other].var() else (other, one)
            for kept, gone in (first, first[::-1]):
                if now[kept].var() > 0 and self.attempt(
                    "absorb", absorbed(self.model, self.circuit, kept, gone, now)
                ):
                    break


@torch.no_grad()
def node_values(
    model: SparseGPT, circuit: Circuit, sets: Sequence[TokenPairs], nodes: Iterable[Node] | None = None
) -> dict[Node, Tensor]:
    """Each node's value at every token of the prompts, padding aside, while the circuit is installed.

    Args:
        model: which the circuit is of.
        circuit: with its gains: a rescaled node's value is the rescaled one.
        sets: prompts; the first few of each.
        nodes: kept ones; None: all of them.

    Returns:
        Node -> [tokens] float64.
    """
    chosen = sorted(circuit.nodes if nodes is None else nodes)
    found: dict[Node, list[Tensor]] = {node: [] for node in chosen}
    for pairs in sets:
        some = pairs.first(CHUNK)
        with circuit.installed(model), record(model, {str(node.at) for node in chosen}) as cache:
            model(some.tokens, some.last)
        real = torch.arange(some.tokens.shape[1], device=some.last.device) <= some.last[:, None]
        for node in chosen:
            found[node].append(cache[str(node.at)][..., node.index][real].double())
    return {node: torch.cat(parts) for node, parts in found.items()}


def alike_pairs(
    model: SparseGPT, circuit: Circuit, values: Mapping[Node, Tensor], alike: float
) -> list[tuple[Node, Node]]:
    """Pairs of nodes that one could stand for, those most alike first.

    Two writers of a residual channel; or two nodes of a site that share a reader (of one head, for values).

    Args:
        model: which the circuit is of.
        circuit: its edges say who reads whom.
        values: node -> [tokens], from :func:`node_values`.
        alike: the least correlation, or minus that.
    """
    weights = _weights(model, circuit)
    nodes = sorted(values)
    found = []
    for place, one in enumerate(nodes):
        for other in nodes[place + 1 :]:
            writers = one.site in WRITES and other.site in WRITES and one.index == other.index
            head = (
                one.site != "attn.v" or one.index // model.config.d_head == other.index // model.config.d_head
            )
            readers = (
                one.at == other.at and head and weights.get(one, {}).keys() & weights.get(other, {}).keys()
            )
            if writers or readers:
                r = abs(_correlation(values[one], values[other]))
                if r >= alike:
                    found.append((r, one, other))
    return [(one, other) for _, one, other in sorted(found, key=lambda each: (-each[0], each[1:]))]


def absorbed(
    model: SparseGPT, circuit: Circuit, kept: Node, gone: Node, values: Mapping[Node, Tensor]
) -> Circuit:
    """``circuit`` without ``gone``, whose part ``kept`` has taken over; by the formula above, b is ``gone``.

    Args:
        model: which the circuit is of.
        circuit: with both nodes.
        kept: rescaled.
        gone: frozen at what it is where ``kept`` is at its frozen value.
        values: node -> [tokens] of both, from :func:`node_values`.
    """
    a, b = values[kept], values[gone]
    slope = float(((a - a.mean()) * (b - b.mean())).mean() / a.var(correction=0))
    mu = float(circuit.frozen[str(kept.at)][kept.index])
    share = 1.0
    if kept.site not in WRITES:
        weights = _weights(model, circuit)
        mine, theirs = weights[kept], weights[gone]
        share = sum(mine[t] * theirs.get(t, 0.0) for t in mine) / sum(w * w for w in mine.values())
    constant = float(b.mean()) + slope * (mu - float(a.mean()))
    gain = circuit.gain.get(kept, 1.0) * (1 + slope * share)
    return circuit.with_frozen(gone, constant).rescaled(kept, gain)


def _weights(model: SparseGPT, circuit: Circuit) -> dict[Node, dict[Node, float]]:
    """Source -> target -> weight, of the circuit's edges."""
    weights: dict[Node, dict[Node, float]] = {}
    for edge in circuit.edges(model):
        weights.setdefault(edge.source, {})[edge.target] = edge.weight
    return weights


def _correlation(one: Tensor, other: Tensor) -> float:
    """Of two vectors; 0 where one of them is constant."""
    a, b = one - one.mean(), other - other.mean()
    norm = float(a.norm() * b.norm())
    return float(a @ b) / norm if norm > 0 else 0.0
