"""Internal match (T13): does a circuit do inside what the full model does inside?

A circuit can answer as the model does and get there in another way: nodes take over other jobs, a head
attends elsewhere (Drori 2026, findings 2 and 3). Circuit and full model run on the same prompts, and two
things are compared at every token up to the prompt's last:

1. values of the kept nodes, as what comes after sees them (so a node's gain counts):

       FVU = sum (a_circuit - a_model)² / sum (a_model - mean of a_model)²

   over tokens and nodes, the mean of each node over tokens: 0 if equal, 1 if no better than the node's mean;
2. attention patterns of heads with a kept q, k or v node: half the sum of absolute differences of two rows
   (total variation: 0 if equal, 1 if they attend to nothing in common), the sink counted as one more key.

Sums over nodes are ruled by large ones, such as those that read embeddings and are the same in both; and the
mean over all rows can hide what happens at the token that answers. So the FVU of each layer, the mean over
nodes of each one's own (at most 1), and the distance at the last token are given too, not judged. And so is
the distance over those heads alone of which a q or k is kept: a circuit that keeps no more than a head's
values says nothing of where it attends, and leaves that to the means.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import Node, SiteName, SparseGPT, hooked
from sparsecircuits.model.gpt import Attention, Block
from sparsecircuits.model.sites import Site
from sparsecircuits.ops.attention import attention_weights
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate.interval import Interval
from sparsecircuits.validate.outcome import Outcome, missed
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

_HEADED = ("attn.q", "attn.k", "attn.v")
_QUERIED = ("attn.q", "attn.k")


@torch.no_grad()
def internal_match(subject: Subject, *, draws: int = 5) -> Outcome:
    """T13: fraction of the variance of kept nodes that is not the full model's, and distance of attention.

    Args:
        subject: measured on its ``some``.
        draws: random circuits of equal profile, pooled; their fraction is the control.

    Returns:
        ``estimate`` is the FVU over all kept nodes; its interval is that of a ratio of sums over prompts,
        linearised. Passes if it and the mean attention distance (where any head is used) are small enough.
    """
    pairs = subject.some
    if not subject.circuit.nodes:
        return Outcome.not_applicable("T13", "the circuit has no nodes")
    found = compare(subject.model, subject.circuit, pairs)
    controls = [compare(subject.model, other, pairs) for other in subject.random_circuits(draws)]
    return Outcome(
        test="T13",
        estimate=found.unexplained,
        interval=_interval(subject, found, pairs),
        control=ratio(
            sum(float(one.apart.sum()) for one in controls), sum(float(one.spread.sum()) for one in controls)
        ),
        passed=found.unexplained <= THRESHOLDS.unexplained
        and (found.attention is None or found.attention <= THRESHOLDS.attention_distance),
        figures={
            "by_layer": {str(layer): found.unexplained_at(layer) for layer in found.layers},
            "mean_of_nodes": found.mean_of_nodes,
            "worst_node": str(found.worst),
            "worst_node_unexplained": found.by_node[found.worst],
            "heads": found.heads,
            "attention_distance": found.attention,
            "attention_distance_last": found.attention_last,
            "heads_with_q_or_k": found.claimed,
            "attention_distance_with_q_or_k": found.attention_claimed,
            "control_attention_distance": _mean(one.attention for one in controls),
        },
        settings=subject.settings(pairs, ablated="all nodes outside the circuit, by means", draws=draws),
        note=missed(most={"attention rows": (found.attention, THRESHOLDS.attention_distance)})
        if found.attention is not None
        else "no head has a kept node, so attention is not compared",
    )


@dataclass(frozen=True)
class Inside:
    """What kept nodes and heads do in one run.

    Attributes:
        values: site name -> [rows, pos, kept] of its kept nodes, by index.
        patterns: layer -> [rows, heads, pos, pos] of the heads with kept nodes.
    """

    values: dict[str, Tensor]
    patterns: dict[int, Tensor]


@dataclass(frozen=True)
class Match:
    """How a circuit's inside differs from the full model's.

    Attributes:
        layers: those with kept nodes.
        apart: [layers, rows] sum of squared differences of kept nodes over tokens.
        spread: [layers, rows] the same of the model's values from their means.
        by_node: the fraction of each node alone.
        heads: how many have a kept node.
        attention: mean total variation over their rows; None without heads.
        attention_last: the same at the last tokens alone.
        claimed: how many heads have a kept q or k node, so that the circuit says where they attend.
        attention_claimed: as ``attention``, over those alone.
    """

    layers: list[int]
    apart: Tensor
    spread: Tensor
    by_node: dict[Node, float]
    heads: int
    attention: float | None
    attention_last: float | None
    claimed: int
    attention_claimed: float | None

    @property
    def unexplained(self) -> float:
        """The fraction over all kept nodes."""
        return ratio(float(self.apart.sum()), float(self.spread.sum()))

    @property
    def mean_of_nodes(self) -> float:
        """Mean over nodes of each one's fraction, one that is worse than its mean counting as 1."""
        return sum(min(1.0, one) for one in self.by_node.values()) / len(self.by_node)

    @property
    def worst(self) -> Node:
        """The node that is explained least."""
        return max(sorted(self.by_node), key=self.by_node.__getitem__)

    def unexplained_at(self, layer: int) -> float:
        """The fraction over those of one layer."""
        row = self.layers.index(layer)
        return ratio(float(self.apart[row].sum()), float(self.spread[row].sum()))


@torch.no_grad()
def compare(model: SparseGPT, circuit: Circuit, pairs: TokenPairs) -> Match:
    """Run the full model and the circuit on ``pairs`` and compare what kept nodes and their heads do."""
    full, alone = inside(model, circuit, pairs, installed=False), inside(model, circuit, pairs)
    real = torch.arange(pairs.tokens.shape[1]) <= pairs.last[:, None]
    layers = sorted({node.layer for node in circuit.nodes})
    apart, spread = torch.zeros(2, len(layers), len(pairs.last), dtype=torch.double)
    by_node: dict[Node, float] = {}
    for name, ours in alone.values.items():
        at, theirs = SiteName.parse(name), full.values[name].double()
        off = (ours.double() - theirs).square() * real[:, :, None]
        varied = (theirs - theirs[real].mean(0)).square() * real[:, :, None]
        apart[layers.index(at.layer)] += off.sum((1, 2))
        spread[layers.index(at.layer)] += varied.sum((1, 2))
        sums = zip(off.sum((0, 1)).tolist(), varied.sum((0, 1)).tolist(), strict=True)
        by_node |= {
            Node(at, index): ratio(*both)
            for index, both in zip(kept_by_site(circuit)[name], sums, strict=True)
        }
    # [all heads used, rows, pos]
    distances = [
        total_variation(alone.patterns[layer], full.patterns[layer]).transpose(0, 1)
        for layer in full.patterns
    ]
    apart_heads = torch.cat(distances) if distances else None
    asked = heads_of(model, circuit.nodes, _QUERIED)
    claimed = torch.tensor(
        [
            head in asked.get(layer, ())
            for layer, used in heads_of(model, circuit.nodes).items()
            for head in used
        ],
        dtype=torch.bool,
    )
    return Match(
        layers=layers,
        apart=apart,
        spread=spread,
        by_node=by_node,
        heads=0 if apart_heads is None else len(apart_heads),
        attention=None if apart_heads is None else float(apart_heads[:, real].mean()),
        attention_last=None
        if apart_heads is None
        else float(apart_heads[:, torch.arange(len(pairs.last)), pairs.last].mean()),
        claimed=int(claimed.sum()),
        attention_claimed=float(apart_heads[claimed][:, real].mean())
        if apart_heads is not None and bool(claimed.any())
        else None,
    )


@torch.no_grad()
def inside(model: SparseGPT, circuit: Circuit, pairs: TokenPairs, *, installed: bool = True) -> Inside:
    """What the circuit's nodes and heads do on ``pairs``: of the circuit alone, or of the full model."""
    kept, heads = kept_by_site(circuit), heads_of(model, circuit.nodes)
    queries = {str(SiteName(layer, site)) for layer in heads for site in _QUERIED}
    values: dict[str, Tensor] = {}
    matched: dict[str, Tensor] = {}

    def keep(tensor: Tensor, *, hook: Site) -> None:
        if hook.name in kept:
            values[hook.name] = tensor[:, :, kept[hook.name]]
        if hook.name in queries:
            matched[hook.name] = tensor

    with ExitStack() as stack:
        if installed:
            stack.enter_context(circuit.installed(model))
        stack.enter_context(hooked(model, [(name, keep) for name in sorted({*kept, *queries})]))
        model(pairs.tokens, pairs.last)
    patterns = {}
    for layer, used in heads.items():
        block = model.blocks[layer]
        assert isinstance(block, Block)
        q, k = (matched[str(SiteName(layer, site))] for site in _QUERIED)
        patterns[layer] = pattern(block.attn, q, k, used)
    return Inside(values, patterns)


def pattern(attention: Attention, q: Tensor, k: Tensor, heads: list[int]) -> Tensor:
    """[rows, heads, pos, pos] how the chosen heads mix values, from q and k [rows, pos, width].

    With a sink a row sums to less than 1; the rest goes to the sink.
    """
    q, k = (x.unflatten(-1, (attention.heads, attention.d_head)).transpose(1, 2)[:, heads] for x in (q, k))
    return attention_weights(q, k, None if attention.sink_logit is None else attention.sink_logit[heads])


def total_variation(one: Tensor, other: Tensor) -> Tensor:
    """[...] half the absolute difference of rows [..., pos], what goes to the sink counted too."""
    difference = one - other
    return (difference.abs().sum(-1) + difference.sum(-1).abs()) / 2


def heads_of(
    model: SparseGPT, nodes: Iterable[Node], sites: Collection[str] = _HEADED
) -> dict[int, list[int]]:
    """Layer -> heads with a node of one of ``sites`` (q, k or v) among ``nodes``."""
    found: dict[int, set[int]] = {}
    for node in nodes:
        if node.site in sites:
            found.setdefault(node.layer, set()).add(node.index // model.config.d_head)
    return {layer: sorted(found[layer]) for layer in sorted(found)}


def ratio(part: float, whole: float) -> float:
    """``part / whole``; of nothing 0 where ``part`` is 0 too, else infinity."""
    if whole == 0:
        return 0.0 if part == 0 else math.inf
    return part / whole


def kept_by_site(circuit: Circuit) -> dict[str, list[int]]:
    """Site name -> indices of the kept nodes."""
    kept: dict[str, list[int]] = {}
    for node in sorted(circuit.nodes):
        kept.setdefault(str(node.at), []).append(node.index)
    return kept


def _interval(subject: Subject, found: Match, pairs: TokenPairs) -> Interval | None:
    """Of the ratio of two sums over prompts: to first order that of a mean, ``ratio + (part - ratio * whole)
    / mean whole``, so the intervals of means serve. None where the ratio is infinite."""
    if not math.isfinite(found.unexplained) or float(found.spread.sum()) == 0:
        return None
    part, whole = found.apart.sum(0), found.spread.sum(0)
    low, high = subject.interval(found.unexplained + (part - found.unexplained * whole) / whole.mean(), pairs)
    return Interval(max(0.0, low), high)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
