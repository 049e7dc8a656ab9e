"""Which prompt is drawn, and which answers are explained: from a task or a typed text to an active path."""

from __future__ import annotations

import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.model import SparseGPT
from sparsecircuits.tasks import Task, TokenPairs
from sparsecircuits.viz.drawing.active_path import LEAST, ActivePath, active_path

#: Held-out pairs that tell whether a task always has the same two candidates.
_PAIRS = 32
_MAX_TOKENS = 64


def prompt_path(
    model: SparseGPT,
    tokenizer: Tokenizer,
    circuit: Circuit,
    task: Task,
    text: str | None = None,
    *,
    least: float = LEAST,
) -> ActivePath:
    """The active path of one prompt.

    The answers are the prompt's own two candidates, the right one first. A typed text has the task's
    candidates where these are always the same, else the circuit's two likeliest tokens; the likelier first.
    A task with one token against all has that token.

    Args:
        model: the model that the circuit was cut out of.
        tokenizer: the model's.
        circuit: what is run.
        task: what it does.
        text: the prompt, without ``<|endoftext|>``; None: the first held-out one.
        least: as in :func:`~sparsecircuits.viz.drawing.active_path`.

    Raises:
        TaskError: the task does not fit the tokenizer.
        CheckpointError: the circuit does not fit the model.
        ConfigError: a text that is longer than the model's context.
    """
    config = circuit.info.get("config", {})
    pairs = task.pairs(
        tokenizer,
        "heldout",
        _PAIRS,
        seed=config.get("seed", 0),
        max_tokens=min(config.get("max_tokens", _MAX_TOKENS), model.config.n_ctx),
    )
    if text is None:
        tokens = pairs.tokens[0, : int(pairs.last[0]) + 1]
        answers = [int(token) for token in (pairs.target[0], pairs.other[0]) if token >= 0]
        bias = circuit.bias if len(answers) == 2 else 0.0
        return active_path(model, circuit, tokens, answers, bias=bias, least=least)
    tokens = torch.tensor([tokenizer.eot_id, *tokenizer.encode(text)])
    candidates = _candidates(pairs)
    if len(candidates) == 1:
        return active_path(model, circuit, tokens, candidates, least=least)
    logits = circuit.logits(model, tokens[None], torch.tensor([len(tokens) - 1]))[0]
    if not candidates:
        return active_path(model, circuit, tokens, logits.topk(2).indices.tolist(), least=least)
    left, right = candidates
    lead = float(logits[left] - logits[right]) + circuit.bias
    if lead >= 0:
        return active_path(model, circuit, tokens, [left, right], bias=circuit.bias, least=least)
    return active_path(model, circuit, tokens, [right, left], bias=-circuit.bias, least=least)


def _candidates(pairs: TokenPairs) -> list[int]:
    """The left and the right candidate where all pairs have the same; none where they differ."""
    n = len(pairs)
    both = torch.stack([pairs.target[:n], pairs.other[:n]], 1)
    return [token for token in both[0].tolist() if token >= 0] if bool((both == both[0]).all()) else []
