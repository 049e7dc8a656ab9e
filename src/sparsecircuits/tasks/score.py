"""Losses on a task's pairs: raw, scaled, scaled and biased; and the fit of both (§A.5).

The discretised circuit's logits are right in order but not in size, so a positive scale is fitted.
A bias between the two candidates would do a good part of a circuit's work for it; it is fitted only
where it works against the claim, in the test of necessity, and for the preset ``paper``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.model import Prompts, SparseGPT
from sparsecircuits.tasks.loss import correct, task_loss
from sparsecircuits.tasks.pairs import TokenPairs


class Score(NamedTuple):
    """How well logits do a task: nats per prompt (mean of both sides), share of prompts right."""

    loss: float
    accuracy: float


class Calibration(NamedTuple):
    """Positive factor on the logits, and a bias added to the left candidate's logit."""

    scale: float
    bias: float


@torch.no_grad()
def pair_logits(model: SparseGPT, pairs: TokenPairs, rows: int = 512) -> Tensor:
    """Logits [2 pairs, vocab] at the last token of every prompt (:meth:`SparseGPT.answers`).

    Where there are more than ``rows`` prompts, those of about equal length run together.
    """
    if len(pairs.last) <= rows:
        return model.answers(pairs.prompts)
    order = pairs.last.argsort(stable=True)
    logits = [model.answers(Prompts.of(pairs.tokens[some], pairs.last[some])) for some in order.split(rows)]
    return torch.cat(logits)[order.argsort()]


def score(logits: Tensor, pairs: TokenPairs, calibration: Calibration | None = None) -> Score:
    """Mean loss and accuracy of ``logits`` [2 pairs, vocab] after ``calibration`` (None: raw)."""
    if calibration is not None:
        logits = calibrated(logits, pairs, calibration)
    return Score(float(task_loss(logits, pairs).mean()), float(correct(logits, pairs).float().mean()))


def calibrated(logits: Tensor, pairs: TokenPairs, calibration: Calibration) -> Tensor:
    """``scale * logits``, plus the bias on the logit of each pair's left candidate."""
    logits = logits * calibration.scale
    if calibration.bias:
        rows = torch.arange(len(logits))
        logits = logits.clone()
        logits[rows, left_candidate(pairs)] += calibration.bias
    return logits


def left_candidate(pairs: TokenPairs) -> Tensor:
    """[2 pairs] the token that is right on the left side of each row's pair."""
    left = pairs.target[: len(pairs)]
    return torch.cat([left, left])


def fit_scale(logits: Tensor, pairs: TokenPairs) -> float:
    """The positive scale of least loss (16 L-BFGS steps as in §A.5, over its logarithm)."""
    return _fit(logits, pairs, with_bias=False).scale


def fit_scale_and_bias(logits: Tensor, pairs: TokenPairs) -> Calibration:
    """Positive scale and candidate bias of least loss, fitted together."""
    return _fit(logits, pairs, with_bias=True)


#: Weight of (log scale)² in the fit: a model that is always right would drive the scale to infinity,
#: and with it the loss of any circuit that is wrong once. It costs at most 0.005 nats at a factor of 2.
RIDGE = 0.01


def _fit(logits: Tensor, pairs: TokenPairs, *, with_bias: bool) -> Calibration:
    logits = logits.detach().double()
    log_scale = torch.zeros((), dtype=torch.double, requires_grad=True)
    bias = torch.zeros((), dtype=torch.double, requires_grad=with_bias)
    rows, column = torch.arange(len(logits)), left_candidate(pairs)
    optimizer = torch.optim.LBFGS(
        [log_scale, bias] if with_bias else [log_scale],
        max_iter=16,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        shifted = logits * log_scale.exp()
        if with_bias:
            shifted = shifted.index_put((rows, column), bias.expand(len(rows)), accumulate=True)
        loss = task_loss(shifted, pairs).mean() + RIDGE * log_scale.square()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return Calibration(math.exp(float(log_scale.detach())), float(bias.detach()))
