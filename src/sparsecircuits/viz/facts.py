"""What the page says of a circuit's nodes: effects, tokens written and read, activations on prompts.

Everything is measured on prompts of the circuit's task, as plain data for ``schema.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.model import Node, SparseGPT, record
from sparsecircuits.model.sites import READS, WRITES
from sparsecircuits.tasks import TokenPairs, task_loss
from sparsecircuits.tasks.score import calibrated, pair_logits, score

#: Tokens listed at a node that reads or writes the residual stream.
TOKENS_LISTED = 8


@torch.no_grad()
def node_effects(model: SparseGPT, circuit: Circuit, pairs: TokenPairs) -> dict[Node, float]:
    """How much the circuit's scaled loss on ``pairs`` rises, in nats, when one node is removed from it."""

    def loss(some: Circuit) -> float:
        with some.installed(model):
            return score(pair_logits(model, pairs), pairs, circuit.calibration).loss

    whole = loss(circuit)
    return {node: loss(circuit.without([node])) - whole for node in sorted(circuit.nodes)}


def tokens_in(
    model: SparseGPT, tokenizer: Tokenizer, node: Node, pairs: TokenPairs
) -> list[tuple[str, float]]:
    """The prompts' tokens whose embedding has the largest entries in the channel that ``node`` reads."""
    if node.site not in READS or node.index >= model.config.d_model:  # beyond: concatenated positions
        return []
    column = model.get_parameter("transformer.wte.weight")[:, node.index]
    weights = {int(token): float(column[token]) for token in torch.unique(pairs.tokens[_real(pairs)])}
    return _largest(tokenizer, weights)


def logits_out(
    model: SparseGPT, tokenizer: Tokenizer, node: Node, pairs: TokenPairs
) -> list[tuple[str, float]]:
    """Unembedding weights of the channel that ``node`` writes: the candidates', then the largest."""
    if node.site not in WRITES:
        return []
    column = model.lm_head.weight[:, node.index]
    candidates = torch.unique(torch.cat([pairs.target, pairs.other])).tolist()
    first = _largest(tokenizer, {token: float(column[token]) for token in candidates if token >= 0})
    top = column.abs().topk(min(TOKENS_LISTED, len(column))).indices.tolist()
    rest = _largest(tokenizer, {token: float(column[token]) for token in top if token not in candidates})
    return [*first, *rest][:TOKENS_LISTED]


def _largest(tokenizer: Tokenizer, weights: Mapping[int, float]) -> list[tuple[str, float]]:
    ranked = sorted((token for token in weights if weights[token]), key=lambda token: -abs(weights[token]))
    return [(tokenizer.text(token), weights[token]) for token in ranked[:TOKENS_LISTED]]


@torch.no_grad()
def prompt_samples(
    model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, pairs: TokenPairs
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
                    str(node): _rounded(cache[str(node.at)][row, :length, node.index]) for node in nodes
                },
            }
        )
    return found


def _answer(tokenizer: Tokenizer, pairs: TokenPairs, row: int) -> str:
    """The right next token; where any token but one is right, the one that the task's text goes on with."""
    target = int(pairs.target[row])
    if target >= 0:
        return tokenizer.text(target)
    text = pairs.texts[row % len(pairs)]
    return tokenizer.text(tokenizer.encode(text.right + text.right_answer)[int(pairs.last[row])])


def _by_pair(count: int) -> list[int]:
    return [row for pair in range(count) for row in (pair, pair + count)]


def _real(pairs: TokenPairs) -> Tensor:
    """[rows, pos] where there is a prompt, and not padding behind it."""
    return torch.arange(pairs.tokens.shape[1]) <= pairs.last[:, None]


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
