"""What a circuit lacks for its inside to be the full model's: nodes added until T13 passes.

T13 asks for values and attention patterns as in the model, at every token; pruning asks for the answer alone.
Where a head's pattern does not matter to the answer its queries and keys go, and T13 fails. How many nodes
would mend that, and are they idle (T16)?

1. What T13 measures is differentiated by a factor on every node, as :mod:`sparsecircuits.prune.estimate` does
   with the loss: the excess over each threshold, in thresholds.
2. The nodes that are estimated to lower it most join, one in twelve of those there at a time, until T13
   passes.
3. Each node that joined leaves again if T13 passes without it, the one that joined last first.

A greedy search gives an upper bound: a smaller set may do.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import Node, SiteName, SparseGPT, hooked, intervene
from sparsecircuits.model.gpt import Block
from sparsecircuits.model.sites import Site
from sparsecircuits.prune.masks import Mix
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate.internal_match import (
    Inside,
    compare,
    heads_of,
    inside,
    kept_by_site,
    pattern,
    total_variation,
)
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

#: At most so many nodes join.
MOST = 600


class Matched(NamedTuple):
    """Where the search ended.

    Attributes:
        circuit: with the nodes that joined.
        added: how many they are.
        passed: whether it passes T13.
    """

    circuit: Circuit
    added: int
    passed: bool


def match_inside(subject: Subject, *, most: int = MOST) -> Matched:
    """Add nodes to a circuit until it passes T13 on the subject's ``some``.

    Args:
        subject: whose circuit it is; edges that it cuts stay cut.
        most: give up when more than so many nodes have joined.
    """
    model, pairs, circuit = subject.model, subject.some, subject.circuit
    joined: list[Node] = []
    while not _passes(model, circuit, pairs):
        found = _worth(model, circuit, pairs)
        best = sorted((node for node in found if found[node] > 0), key=lambda node: -found[node])
        batch = [node for node in best if node not in circuit.nodes][: max(4, len(circuit) // 12)]
        if not batch or len(joined) + len(batch) > most:
            return Matched(circuit, len(joined), passed=False)
        joined += batch
        circuit = circuit.keeping({*circuit.nodes, *batch})
    for node in reversed(joined):
        smaller = circuit.without([node])
        if _passes(model, smaller, pairs):
            circuit = smaller
    return Matched(circuit, len(circuit) - len(subject.circuit), passed=True)


def _passes(model: SparseGPT, circuit: Circuit, pairs: TokenPairs) -> bool:
    found = compare(model, circuit, pairs)
    return found.unexplained <= THRESHOLDS.unexplained and (
        found.attention is None or found.attention <= THRESHOLDS.attention_distance
    )


def _worth(model: SparseGPT, circuit: Circuit, pairs: TokenPairs) -> dict[Node, float]:
    """How much each node is estimated to lower the excess over T13's thresholds by being live."""
    full = inside(model, circuit, pairs, installed=False)
    live = circuit.factors()
    factors = {at: live[str(at)].clone().requires_grad_(True) for at in model.config.site_names()}
    changes = {str(at): Mix(factor, circuit.frozen[str(at)]) for at, factor in factors.items()}
    seen: dict[str, Tensor] = {}

    def keep(tensor: Tensor, *, hook: Site) -> None:
        seen[hook.name] = tensor

    with torch.enable_grad(), intervene(model, changes), hooked(model, [(name, keep) for name in changes]):
        model(pairs.tokens, pairs.last)
        excess = _excess(model, circuit, pairs, seen, full)
        slopes = torch.autograd.grad(excess, list(factors.values()), allow_unused=True)
    return {
        Node(at, index): -slope
        for at, grad in zip(factors, slopes, strict=True)
        if grad is not None
        for index, slope in enumerate(grad.tolist())
    }


def _excess(
    model: SparseGPT, circuit: Circuit, pairs: TokenPairs, seen: dict[str, Tensor], full: Inside
) -> Tensor:
    """How far the values and patterns ``seen`` are beyond the thresholds, in thresholds."""
    real = torch.arange(pairs.tokens.shape[1]) <= pairs.last[:, None]
    apart, spread = torch.zeros(()), torch.zeros(())
    for name, indices in kept_by_site(circuit).items():
        theirs = full.values[name][real]
        apart = apart + (seen[name][:, :, indices][real] - theirs).square().sum()
        spread = spread + (theirs - theirs.mean(0)).square().sum()
    distances = [torch.zeros(0)]
    for layer, heads in heads_of(model, circuit.nodes).items():
        block = model.blocks[layer]
        assert isinstance(block, Block)
        q, k = (seen[str(SiteName(layer, site))] for site in ("attn.q", "attn.k"))
        mixed = pattern(block.attn, q, k, heads)
        distances.append(total_variation(mixed, full.patterns[layer]).transpose(0, 1)[:, real].flatten())
    rows = torch.cat(distances)
    attention = rows.mean() if len(rows) else torch.zeros(())
    parts = (
        apart / spread.clamp_min(1e-12) / THRESHOLDS.unexplained,
        attention / THRESHOLDS.attention_distance,
    )
    return torch.stack([torch.relu(part - 1) for part in parts]).sum()
