"""How well a model does a task: the two forms of the task loss, row by row (Gao et al. 2025, §2.2, Table 1).

* ``contrast``: cross entropy over just the two candidates;
* ``one_against_all``, for tasks without a second token: -log P(token) where it is right and
  -log(1 - P(token)) where it is wrong, over the whole vocabulary.

The authors' code sums both sides of a pair; here the mean over rows is *the* task loss, so the target of
0.15 is in the paper's units.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sparsecircuits.tasks.pairs import TokenPairs


def task_loss(logits: Tensor, pairs: TokenPairs) -> Tensor:
    """Loss of every prompt in nats; its mean is the task loss.

    Args:
        logits: ``[rows, vocab]``, read at ``pairs.last``.
        pairs: the prompts, ``2 * len(pairs)`` rows.

    Returns:
        ``[rows]``, differentiable.
    """
    if pairs.form == "contrast":
        return softplus(-_advantage(logits, pairs))
    n = len(pairs)
    token = torch.cat([pairs.target[:n], pairs.other[n:]])
    everything = logits.logsumexp(-1)
    left = everything[:n] - _pick(logits[:n], token[:n])
    rest = logits[n:].scatter(1, token[n:, None], float("-inf"))
    return torch.cat([left, everything[n:] - rest.logsumexp(-1)])


def correct(logits: Tensor, pairs: TokenPairs) -> Tensor:
    """Whether each prompt is answered rightly, ``[rows]`` of bool.

    ``contrast``: the right candidate has the larger logit. ``one_against_all``: the token has more than
    half of the probability exactly where it is right.
    """
    if pairs.form == "contrast":
        return _advantage(logits, pairs) > 0
    n = len(pairs)
    token = torch.cat([pairs.target[:n], pairs.other[n:]])
    likely = _pick(logits.log_softmax(-1), token).exp() > 0.5
    return torch.cat([likely[:n], ~likely[n:]])


def answer_log_probabilities(logits: Tensor, pairs: TokenPairs) -> Tensor:
    """Log-probabilities of what a prompt is asked: two numbers a row, ``[rows, 2]``, differentiable.

    ``contrast``: the right candidate against the wrong one. ``one_against_all``: the token against the rest.
    """
    if pairs.form == "contrast":
        return torch.stack([_pick(logits, pairs.target), _pick(logits, pairs.other)], -1).log_softmax(-1)
    n = len(pairs)
    token = torch.cat([pairs.target[:n], pairs.other[n:]])
    rest = logits.scatter(1, token[:, None], float("-inf")).logsumexp(-1)
    return torch.stack([_pick(logits, token), rest], -1).log_softmax(-1)


def answer_advantage(logits: Tensor, pairs: TokenPairs) -> Tensor:
    """By how much the right answer leads: its log-odds, ``[rows]``, differentiable.

    ``contrast``: the logit of the right candidate minus that of the wrong one. ``one_against_all``: the
    log-odds of the token on the left, minus that on the right.
    """
    first, second = answer_log_probabilities(logits, pairs).unbind(-1)
    if pairs.form == "contrast":
        return first - second
    sign = torch.ones_like(first)
    sign[len(pairs) :] = -1
    return sign * (first - second)


def _advantage(logits: Tensor, pairs: TokenPairs) -> Tensor:
    """Logit of the right candidate minus that of the wrong one, ``[rows]``."""
    return _pick(logits, pairs.target) - _pick(logits, pairs.other)


def _pick(logits: Tensor, index: Tensor) -> Tensor:
    return logits.gather(1, index[:, None]).squeeze(1)
