"""What the page says of a circuit's nodes: effects, tokens written and read, activations on prompts.

Everything is measured on prompts of the circuit's task, as plain data for ``schema.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.edges import edge_blocks
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.model import Node, SiteName, SparseGPT, record
from sparsecircuits.model.gpt import Block
from sparsecircuits.model.sites import READS, SITES, WRITES
from sparsecircuits.prune.estimate import node_worth
from sparsecircuits.tasks import TokenPairs, task_loss
from sparsecircuits.tasks.score import calibrated, pair_logits, score
from sparsecircuits.viz.budget import MEASURED_NODES
from sparsecircuits.viz.numbers import brief, briefs
from sparsecircuits.viz.watch import Tally

#: Tokens listed at a node that reads or writes the residual stream, of those in the task's prompts.
TOKENS_LISTED = 8
#: Points of a position vector's curve, at most.
POSITIONS = 128


class Degree(NamedTuple):
    """Edges of a node in the whole model."""

    into: int
    out: int


@torch.no_grad()
def node_effects(
    model: SparseGPT, circuit: Circuit, pairs: TokenPairs, tally: Tally | None = None
) -> dict[Node, float]:
    """How much the circuit's scaled loss on ``pairs`` rises, in nats, when one node is removed from it."""
    whole = _loss(model, circuit, pairs)
    effects = {}
    for node in sorted(circuit.nodes):
        effects[node] = _loss(model, circuit.without([node]), pairs) - whole
        if tally is not None:
            tally.step("effects")
    return effects


def estimated_effects(model: SparseGPT, circuit: Circuit, pairs: TokenPairs) -> dict[Node, float]:
    """:func:`node_effects` to first order, by one backward pass; cuts, gains and bias play no part."""
    worth = node_worth(model, pairs, circuit.nodes, circuit.frozen, circuit.scale)
    return {node: worth[node] for node in sorted(circuit.nodes)}


def effects_are_measured(circuit: Circuit) -> bool:
    """Whether its effects are measured one by one, and not estimated."""
    return len(circuit) <= MEASURED_NODES


def ablated_groups(circuit: Circuit) -> dict[str, list[Node]]:
    """Its nodes by layer (``0``), by sublayer (``0.attn``) and by site (``0.attn.q``), in this order.

    A group that holds the same nodes as a larger one that it lies in is left out: it says nothing new.
    """
    nodes = sorted(circuit.nodes)
    found: dict[str, list[Node]] = {}
    for layer in sorted({node.layer for node in nodes}):
        within = [node for node in nodes if node.layer == layer]
        found[str(layer)] = within
        for part in ("attn", "mlp"):
            half = [node for node in within if node.site.startswith(f"{part}.")]
            if half and half != within:
                found[f"{layer}.{part}"] = half
            for site in (site for site in SITES if site.startswith(f"{part}.")):
                members = [node for node in half if node.site == site]
                if members and members != half:
                    found[f"{layer}.{site}"] = members
    return found


@torch.no_grad()
def group_effects(
    model: SparseGPT, circuit: Circuit, pairs: TokenPairs, tally: Tally | None = None
) -> list[dict[str, Any]]:
    """How much the circuit's scaled loss rises when all its nodes of a layer, sublayer or site go."""
    whole = _loss(model, circuit, pairs)
    rows = []
    for name, nodes in ablated_groups(circuit).items():
        effect = _loss(model, circuit.without(nodes), pairs) - whole
        rows.append({"name": name, "nodes": len(nodes), "effect": effect})
        if tally is not None:
            tally.step("effects of layers and sites")
    return rows


def _loss(model: SparseGPT, circuit: Circuit, pairs: TokenPairs) -> float:
    with circuit.installed(model):
        return score(pair_logits(model, pairs), pairs, circuit.calibration).loss


def degrees(model: SparseGPT, nodes: Iterable[Node]) -> dict[Node, Degree]:
    """How many edges come into each node, and go out of it, in the whole model."""
    into: dict[SiteName, Tensor] = {}
    out: dict[SiteName, Tensor] = {}
    for block in edge_blocks(model):
        present = block.weight != 0
        into[block.target] = present.sum(1)
        out[block.source] = out.get(block.source, 0) + present.sum(
            0
        )  # the read of attention has three readers
    return {
        node: Degree(
            int(into[node.at][node.index]) if node.at in into else 0,
            int(out[node.at][node.index]) if node.at in out else 0,
        )
        for node in nodes
    }


def prompt_tokens(pairs: TokenPairs) -> list[int]:
    """Every token of the prompts, once."""
    return torch.unique(pairs.tokens[_real(pairs)]).tolist()


def tokens_in(
    model: SparseGPT, tokenizer: TextTokenizer, node: Node, among: Sequence[int]
) -> list[tuple[str, float]]:
    """Tokens ``among`` these whose embedding has the largest entries in the channel that ``node`` reads."""
    if not _reads_stream(model, node):
        return []
    column = model.get_parameter("transformer.wte.weight").detach()[:, node.index]
    return _largest(tokenizer, {token: float(column[token]) for token in among})


def vocabulary_in(
    model: SparseGPT, tokenizer: TextTokenizer, node: Node, count: int
) -> list[tuple[str, float]]:
    """The same over the whole vocabulary."""
    if not _reads_stream(model, node):
        return []
    column = model.get_parameter("transformer.wte.weight").detach()[:, node.index]
    top = column.abs().topk(min(count, len(column))).indices.tolist()
    return _largest(tokenizer, {token: float(column[token]) for token in top})


def logits_out(
    model: SparseGPT, tokenizer: TextTokenizer, node: Node, pairs: TokenPairs
) -> list[tuple[str, float]]:
    """Unembedding weights of the channel that ``node`` writes: the candidates', then the largest."""
    if node.site not in WRITES:
        return []
    column = model.lm_head.weight.detach()[:, node.index]
    candidates = torch.unique(torch.cat([pairs.target, pairs.other])).tolist()
    first = _largest(tokenizer, {token: float(column[token]) for token in candidates if token >= 0})
    top = column.abs().topk(min(TOKENS_LISTED, len(column))).indices.tolist()
    rest = _largest(tokenizer, {token: float(column[token]) for token in top if token not in candidates})
    return [*first, *rest][:TOKENS_LISTED]


@torch.no_grad()
def positions_in(model: SparseGPT, node: Node) -> list[tuple[int, float | int]]:
    """What the model's position vectors write into the channel that ``node`` reads, by position.

    Learned positions are added to the embedding: their entry of that channel. Concatenated ones have channels
    of their own: what the sublayer reads there, normalised, before AbsTopK. Empty for every other node, and
    where all are zero. Every so many positions, if there are many.
    """
    kind, width = model.config.positions, model.config.d_model
    if node.site not in READS or kind == "none" or (kind == "learned") != (node.index < width):
        return []
    table = model.get_parameter("transformer.wpe.weight")
    if kind == "concat":
        block = model.blocks[node.layer]
        assert isinstance(block, Block)
        norm = block.ln_p1 if node.site == "attn.act_in" else block.ln_p2
        assert norm is not None
        column = norm(table)[:, node.index - width]
    else:
        column = table[:, node.index]
    if not bool(column.any()):
        return []
    every = -(-len(column) // POSITIONS)
    return [(at, brief(float(column[at]))) for at in range(0, len(column), every)]


def _reads_stream(model: SparseGPT, node: Node) -> bool:
    return node.site in READS and node.index < model.config.d_model  # beyond: concatenated positions


def _largest(tokenizer: TextTokenizer, weights: Mapping[int, float]) -> list[tuple[str, float]]:
    ranked = sorted((token for token in weights if weights[token]), key=lambda token: -abs(weights[token]))
    return [(tokenizer.text(token), brief(weights[token])) for token in ranked[:TOKENS_LISTED]]


@torch.no_grad()
def prompt_samples(
    model: SparseGPT, tokenizer: TextTokenizer, circuit: Circuit, pairs: TokenPairs
) -> list[dict[str, Any]]:
    """Both prompts of every pair: tokens, probability of the answer, each node's activation at each token.

    The circuit's probability is that of its scaled (and biased) logits, the full model's that of its raw
    ones; both over the two candidates, or over the whole vocabulary where the task has one token against all.
    """
    nodes = sorted(circuit.nodes)
    with circuit.installed(model), record(model, {str(node.at) for node in nodes}) as cache:
        logits = calibrated(model(pairs.tokens, pairs.last), pairs, circuit.calibration)
    # exp(-loss) of a row is the probability of its answer, whichever the form of the task.
    chance = (-task_loss(logits, pairs)).exp()
    full_chance = (-task_loss(model(pairs.tokens, pairs.last), pairs)).exp()
    found = []
    for row in _by_pair(len(pairs)):
        pair, side = row % len(pairs), "left" if row < len(pairs) else "right"
        length = int(pairs.last[row]) + 1
        other = int(pairs.other[row])
        found.append(
            {
                "pair": pair,
                "side": side,
                "tokens": [tokenizer.text(token) for token in pairs.tokens[row, :length].tolist()],
                "differs": torch.nonzero(pairs.marked[pair]).flatten().tolist(),
                "answer": _answer(tokenizer, pairs, row),
                "other": tokenizer.text(other) if other >= 0 else "",
                "probability": float(chance[row]),
                "full_probability": float(full_chance[row]),
                "activations": {
                    str(node): briefs(cache[str(node.at)][row, :length, node.index]) for node in nodes
                },
            }
        )
    return found


def _answer(tokenizer: TextTokenizer, pairs: TokenPairs, row: int) -> str:
    """The right next token; where any token but one is right, the one that the task's text goes on with."""
    target = int(pairs.target[row])
    if target >= 0:
        return tokenizer.text(target)
    text = pairs.texts[row % len(pairs)]
    (ids,) = tokenizer.encode_batch([text.right + text.right_answer])
    return tokenizer.text(ids[int(pairs.last[row])])


def _by_pair(count: int) -> list[int]:
    return [row for pair in range(count) for row in (pair, pair + count)]


def _real(pairs: TokenPairs) -> Tensor:
    """[rows, pos] where there is a prompt, and not padding behind it."""
    return torch.arange(pairs.tokens.shape[1]) <= pairs.last[:, None]
