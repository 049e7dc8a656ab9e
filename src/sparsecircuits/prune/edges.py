"""Edges after nodes: cut single weights between kept nodes, as many as the target allows.

The paper removes nodes only and counts the weights between them (Gao et al. 2025, §2.2); pruning edges it
leaves for later. With sparse weights a circuit has few, so each can be tried. An absent edge carries its
source's frozen value (:mod:`sparsecircuits.circuit.wiring`). The steps of :func:`remove_edges`:

1. nodes that are *dead* are dropped: nothing reads them, nothing reaches them, or a query without its key;
2. where there are many edges, masks on them are learned, like those on nodes (§A.5): τ for each edge, kept
   iff τ >= 0, a sigmoid's derivative in place of the step's, a penalty on each kept edge that adapts to hold
   the target. Edges are ranked by τ and the shortest prefix that holds is found by bisection;
3. the rest are tried exactly: those first whose removal is estimated to cost least (one backward,
   gradient x weight x (activation - frozen value)), a quarter of all at once, then halves of what failed,
   down to single edges; and again until nothing more can go or the evaluations are spent;
4. nodes that have died meanwhile are dropped.

What a circuit must hold is the caller's to say: ``holds(circuit)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit, Ends, Wires, freeze
from sparsecircuits.circuit.edges import READERS
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune.masks import Heaviside
from sparsecircuits.tasks.loss import task_loss
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import Calibration, calibrated

#: Whether a circuit holds the target, on whatever it is chosen on.
Holds = Callable[[Circuit], bool]
#: Sites that a weight reaches.
_TARGETS = frozenset(site for reads in READERS.values() for site in reads)
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class EdgeConfig(Config):
    """How edges are removed."""

    few: int = 2000
    """With more edges than so many, masks are learned first."""
    evaluations: int = 200
    """At most so many circuits are tried in all."""
    steps: int = 100
    """Optimizer steps of the masks."""
    pairs_per_step: int = 16
    """Pairs in a step."""
    penalty: float = 14.0
    """Cost of all edges together to begin with, in nats."""
    adapt: float = 0.05
    """Each step multiplies the penalty by 1 + adapt while the running loss is within the target, and divides
    it by as much while it is not."""
    patience: int = 5
    """After more batches than so many in a row that miss the target, the masks go back to the best so far,
    with a quarter of the penalty."""
    lr: float = 1e-2
    """Learning rate of the masks, decaying linearly to 0."""
    beta2: float = 0.95
    """Adam's second decay rate."""
    weight_decay: float = 1e-3
    """Decoupled decay of the masks."""
    init_bias: float = 0.1
    """Where the mask starts whose edge is estimated to matter least."""
    init_spread: float = 0.5
    """So far above it starts that of the edge which matters most, the others between by rank. (Of masks that
    start together, as the paper's on nodes do, all that the loss does not yet mind reach 0 together.)"""
    temperature: float = 1.0
    """Of the sigmoid whose derivative stands in for the step's."""
    estimate_pairs: int = 64
    """Pairs on which removals are estimated."""
    seed: int = 0
    """Of masks and batches."""

    def validate(self) -> None:
        for name in ("evaluations", "steps", "pairs_per_step", "estimate_pairs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"EdgeConfig.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("penalty", "lr", "temperature"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"EdgeConfig.{name} is {getattr(self, name)}; it must be positive")
        for name in ("few", "adapt"):
            if getattr(self, name) < 0:
                raise ConfigError(f"EdgeConfig.{name} is {getattr(self, name)}; it must not be negative")


@dataclass(frozen=True)
class EdgesRemoved:
    """What :func:`remove_edges` found.

    Attributes:
        circuit: the smallest circuit that held; the one given where even that did not.
        held: whether the one given held.
        complete: whether no single edge more can go (False also where the evaluations ran out).
        before, after: how many edges there were and are.
        evaluations: circuits tried.
        steps: optimizer steps of edge masks.
    """

    circuit: Circuit
    held: bool
    complete: bool
    before: int
    after: int
    evaluations: int
    steps: int


def remove_edges(
    model: SparseGPT,
    circuit: Circuit,
    pairs: TokenPairs,
    holds: Holds,
    *,
    target: float,
    scale: float,
    config: EdgeConfig | None = None,
) -> EdgesRemoved:
    """Cut every edge of ``circuit`` that is not needed, and drop the nodes that die of it.

    Args:
        model: left as it is.
        circuit: its frozen values, gains and bias stay.
        pairs: prompts for estimates and masks, such as the train split's.
        holds: whether a circuit will do; asked at most ``config.evaluations`` times.
        target: task loss in nats that masks are to hold on ``pairs``.
        scale: factor on the logits.
        config: None: the defaults.

    Raises:
        CheckpointError: the circuit does not fit the model.
    """
    config = config or EdgeConfig()
    before = circuit.edge_count(model)
    trial = Trial(circuit, holds, config.evaluations)
    if not trial.take(circuit):
        return EdgesRemoved(circuit, False, False, before, before, trial.evaluations, 0)
    drop_dead(model, trial)
    steps = 0
    if trial.circuit.edge_count(model) > config.few:
        steps = config.steps
        tau = learn_edges(model, trial.circuit, pairs, target=target, scale=scale, config=config)
        bisect_edges(trial, ranked_edges(tau))
        drop_dead(model, trial)
    some = pairs.rows(slice(config.estimate_pairs))
    complete, size = False, trial.circuit.edge_count(model) // 4
    while not complete and not trial.spent:
        edges = trial.circuit.edges(model)
        rise = estimate_rises(model, trial.circuit, some, scale=scale).edges
        order = sorted((edge.ends for edge in edges), key=lambda ends: (rise[ends], ends))
        taken = shed(order, lambda run: trial.take(trial.circuit.cutting(run)), max(1, size))
        complete, size = not taken and not trial.spent, len(taken) // 4
        drop_dead(model, trial)
    after = trial.circuit.edge_count(model)
    return EdgesRemoved(trial.circuit, True, complete, before, after, trial.evaluations, steps)


class Trial:
    """The smallest circuit so far, and how many more may be tried.

    Attributes:
        circuit: the latest that was taken.
        evaluations: how many were tried.
    """

    def __init__(self, circuit: Circuit, holds: Holds, evaluations: int) -> None:
        self.circuit = circuit
        self.evaluations = 0
        self._holds, self._most = holds, evaluations

    @property
    def spent(self) -> bool:
        """Whether nothing more may be tried."""
        return self.evaluations >= self._most

    def take(self, circuit: Circuit) -> bool:
        """Take ``circuit`` if it holds; no once the evaluations are spent."""
        if self.spent:
            return False
        self.evaluations += 1
        if self._holds(circuit):
            self.circuit = circuit
            return True
        return False


def shed(order: Sequence[_Item], attempt: Callable[[Sequence[_Item]], bool], size: int = 1) -> list[_Item]:
    """Take away what can be taken: runs of ``size`` items, halves of a run that fails, down to single ones.

    Args:
        order: the least important first.
        attempt: takes some away for good, or says no.
        size: at most so many at once.

    Returns:
        What was taken.
    """
    taken: list[_Item] = []

    def split(run: Sequence[_Item], *, fails: bool = False) -> bool:
        if not fails and attempt(run):
            taken.extend(run)
            return True
        if len(run) > 1:
            half = len(run) // 2
            # With its first half gone, the second is what has just failed.
            first = split(run[:half])
            split(run[half:], fails=first)
        return False

    for start in range(0, len(order), size):
        split(order[start : start + size])
    return taken


def dead_nodes(model: SparseGPT, circuit: Circuit) -> frozenset[Node]:
    """Kept nodes that do nothing, or the same at every token.

    Those that weights read (act_in, v, post_act) with no edge out, which can go for nothing; those that
    weights reach (q, k, v, post_act, resid_delta) with no edge in, which are constants, though not their
    frozen values; and a q or k channel without its partner.
    """
    edges = circuit.edges(model)
    sources, targets = {edge.source for edge in edges}, {edge.target for edge in edges}
    paired = {(n.layer, n.index, n.site) for n in circuit.nodes}
    other = {"attn.q": "attn.k", "attn.k": "attn.q"}

    def dead(node: Node) -> bool:
        unread = node.site in READERS and node not in sources
        unfed = node.site in _TARGETS and node not in targets
        alone = node.site in other and (node.layer, node.index, other[node.site]) not in paired
        return unread or unfed or alone

    return frozenset(node for node in circuit.nodes if dead(node))


def drop_dead(model: SparseGPT, trial: Trial) -> None:
    """Drop :func:`dead_nodes` for as long as there are some without which the circuit holds."""
    tried: set[Node] = set()
    while dead := sorted(dead_nodes(model, trial.circuit) - tried):
        tried |= set(dead)
        shed(dead, lambda run: trial.take(trial.circuit.without(run)), len(dead))


class Rises(NamedTuple):
    """Of a circuit's nodes and edges, the estimated rise in loss, in nats, when each alone is removed."""

    nodes: dict[Node, float]
    edges: dict[Ends, float]


def estimate_rises(model: SparseGPT, circuit: Circuit, pairs: TokenPairs, *, scale: float) -> Rises:
    """First-order estimates by one backward: minus the slope of the task loss by how far each is live.

    For an edge that is gradient x weight x (activation - frozen value), summed over tokens.

    Args:
        model: any; its parameters get no gradient.
        circuit: with its cuts, gains and bias.
        pairs: prompts.
        scale: factor on the logits.
    """
    factors = {name: factor.requires_grad_() for name, factor in circuit.factors().items()}
    wires = Wires.of(model, [*(edge.ends for edge in circuit.edges(model)), *sorted(circuit.cut)])
    live = torch.tensor([float(ends not in circuit.cut) for ends in wires.edges], requires_grad=True)
    with (
        torch.enable_grad(),
        freeze(model, factors, circuit.frozen),
        wires.carrying(model, live, circuit.frozen),
    ):
        loss = _loss(model, circuit, pairs, scale)
        leaves = [*factors.values(), live] if wires.edges else list(factors.values())
        slopes = torch.autograd.grad(loss, leaves, allow_unused=True)
    by_site = dict(zip(factors, slopes, strict=False))
    nodes: dict[Node, float] = {}
    for node in circuit.nodes:
        slope = by_site[str(node.at)]
        gain = circuit.gain.get(node, 1.0)
        nodes[node] = 0.0 if slope is None else -gain * float(slope[node.index])
    by_edge = slopes[-1].tolist() if wires.edges and slopes[-1] is not None else [0.0] * len(wires.edges)
    edges = {
        ends: -slope for ends, slope in zip(wires.edges, by_edge, strict=True) if ends not in circuit.cut
    }
    return Rises(nodes, edges)


def learn_edges(
    model: SparseGPT,
    circuit: Circuit,
    pairs: TokenPairs,
    *,
    target: float,
    scale: float,
    config: EdgeConfig | None = None,
) -> dict[Ends, float]:
    """Learn a mask on every edge of ``circuit``; weights and nodes stay.

    Masks start in the order in which edges are estimated to matter.

    Args:
        model: its parameters get no gradient.
        circuit: whose edges; those that are cut stay so.
        pairs: prompts that batches are drawn from.
        target: task loss in nats; the penalty rises while it is held.
        scale: factor on the logits.
        config: None: the defaults.

    Returns:
        Edge -> τ, kept by the masks iff it is >= 0; of the fewest edges that held the target on a batch.
    """
    config = config or EdgeConfig()
    generator = torch.Generator().manual_seed(config.seed)
    edges = [edge.ends for edge in circuit.edges(model)]
    wires, count = Wires.of(model, [*edges, *sorted(circuit.cut)]), len(edges)
    off = torch.zeros(len(circuit.cut))
    rise = estimate_rises(model, circuit, pairs.rows(slice(config.estimate_pairs)), scale=scale).edges
    rank = torch.tensor([rise[ends] for ends in edges]).argsort(stable=True).argsort()
    tau = config.init_bias + config.init_spread * rank / max(1, count - 1)
    tau.requires_grad_()
    optimizer = torch.optim.AdamW(
        [tau], lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay
    )
    each, running = config.penalty / max(1, count), target
    best, kept, missed = tau.detach().clone(), float(count), 0
    with torch.enable_grad(), freeze(model, circuit.factors(), circuit.frozen):
        for step in range(config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * (1 - step / config.steps)
            drawn = torch.randperm(len(pairs), generator=generator)[: config.pairs_per_step]
            hard = Heaviside.apply(tau, config.temperature)
            assert isinstance(hard, Tensor)
            with wires.carrying(model, torch.cat([hard, off]), circuit.frozen):
                loss = _loss(model, circuit, pairs.rows(drawn), scale)
            missed = 0 if loss.item() <= target else missed + 1
            now = hard.detach().sum().item()
            if not missed and now <= kept:
                best, kept = tau.detach().clone(), now
            if missed > config.patience:  # where much is off at once, no slope says what to turn on again
                with torch.no_grad():
                    tau.copy_(best)
                optimizer.state.clear()
                each, running, missed = each / 4, target, 0
                continue
            (tau.grad,) = torch.autograd.grad(loss + each * hard.sum(), [tau])
            torch.nn.utils.clip_grad_norm_([tau], 1.0)
            optimizer.step()
            with torch.no_grad():
                tau.clamp_(-1, 1)
            running = 0.9 * running + 0.1 * loss.item()
            each *= 1 + config.adapt if running <= target else 1 / (1 + config.adapt)
    return dict(zip(edges, best.tolist(), strict=True))


def ranked_edges(tau: dict[Ends, float]) -> list[Ends]:
    """Edges from the largest τ to the smallest; equal ones in their own order."""
    return sorted(tau, key=lambda ends: (-tau[ends], ends))


def bisect_edges(trial: Trial, ranked: list[Ends]) -> None:
    """Keep the shortest prefix of ``ranked`` that holds, supposing that more edges never hurt.

    Args:
        trial: whose circuit holds with all of them.
        ranked: its edges, the most important first.
    """
    whole, low, high = trial.circuit, 0, len(ranked)
    while high - low > 1 and not trial.spent:
        middle = (low + high) // 2
        low, high = (low, middle) if trial.take(whole.cutting(ranked[middle:])) else (middle, high)


def _loss(model: SparseGPT, circuit: Circuit, pairs: TokenPairs, scale: float) -> Tensor:
    """Task loss of the model as it now runs, in nats, differentiable."""
    logits = model.answers(pairs.prompts)
    return task_loss(calibrated(logits, pairs, Calibration(scale, circuit.bias)), pairs).mean()
