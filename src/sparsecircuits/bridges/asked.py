"""The prompts that are to change their minds, and what a model answers them.

* ``contrast``: every prompt of every pair; its own answer is its target, the other one its partner's.
* ``one_against_all``: the prompts on which the token is *wrong*, the right ones; the other answer is the
  token, the own one anything else. Steered the other way round, a prompt that has lost its token has changed
  its mind whatever it says now, so that any damage would pass for success.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sparsecircuits.bridges.sides import Side
from sparsecircuits.errors import ConfigError
from sparsecircuits.tasks.pairs import TokenPairs

#: Whose prompts are steered: ``left`` ones, to be answered like right ones, the other way round, or both.
Whose = Literal["left", "right", "both"]


class Asked(NamedTuple):
    """Prompts and their two answers."""

    rows: Tensor
    """[n] which rows of the pairs."""
    partner: Tensor
    """[n] the row of the pair's other prompt."""
    own: Tensor
    """[n] the prompt's right answer; -1: anything but ``other``."""
    other: Tensor
    """[n] its partner's."""


def asked(pairs: TokenPairs) -> Asked:
    """The prompts of ``pairs`` that can be steered."""
    n = len(pairs)
    rows = torch.arange(2 * n, device=pairs.tokens.device)
    if pairs.form == "one_against_all":
        rows = rows[n:]
    return Asked(rows, (rows + n) % (2 * n), pairs.target[rows], pairs.other[rows])


def of_side(pairs: TokenPairs, side: Whose) -> Tensor:
    """[m] which of the prompts of :func:`asked` are of a side, as indices into them.

    Raises:
        ConfigError: a side that has none: of one token against all the left one.
    """
    rows = asked(pairs).rows
    if side == "both":
        return torch.arange(len(rows), device=rows.device)
    found = torch.nonzero((rows < len(pairs)) == (side == "left")).flatten()
    if not len(found):
        raise ConfigError(
            f"{pairs.task}: no {side} prompts to steer: of one token against all, right ones are"
        )
    return found


class Chances(NamedTuple):
    """[n] probabilities of each prompt."""

    other: Tensor
    """Of the other answer, over the whole vocabulary."""
    pair: Tensor
    """Of the other answer, if it were that or the own one."""
    own: Tensor
    """Of the own answer, over the whole vocabulary."""


def chances(logits: Tensor, own: Tensor, other: Tensor) -> Chances:
    """What ``logits`` [n, vocab] say of the answers [n] each."""
    likely = logits.float().log_softmax(-1).gather(1, other[:, None]).squeeze(1).exp()
    leads = lead(logits, own, other)
    its = logits.float().log_softmax(-1).gather(1, own.clamp(min=0)[:, None]).squeeze(1).exp()
    return Chances(likely, torch.sigmoid(-leads), torch.where(own < 0, 1 - likely, its))


def lead(logits: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """[n] by how much the own answer leads: its logit minus the other's, or the log-odds against that."""
    logits = logits.float()
    theirs = logits.gather(1, other[:, None]).squeeze(1)
    rest = logits.scatter(1, other[:, None], float("-inf")).logsumexp(-1)
    its = logits.gather(1, own.clamp(min=0)[:, None]).squeeze(1)
    return torch.where(own < 0, rest, its) - theirs


def answered(model: Side, x: Tensor, tokens: Tensor, last: Tensor) -> Tensor:
    """[n, vocab] logits at the last tokens [n] of the last location's stream ``x`` [n, pos, d_model]."""
    every = torch.arange(len(x), device=x.device)
    return model.leave(x[every, last][:, None], tokens[every, last][:, None])[:, 0]
