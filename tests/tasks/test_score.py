"""Losses with and without calibration, and fits whose optimum is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.tasks.pairs import Form, TextPair, TokenPairs
from sparsecircuits.tasks.score import (
    RIDGE,
    Calibration,
    calibrated,
    fit_scale,
    fit_scale_and_bias,
    left_candidate,
    pair_logits,
    score,
)

LOG3 = math.log(3)


def pairs_of(count: int, form: Form = "contrast") -> TokenPairs:
    """Candidates 0 (left) and 1 (right); with ``one_against_all`` just 0."""
    left, right = [0] * count, [1 if form == "contrast" else -1] * count
    return TokenPairs(
        tokens=torch.zeros(2 * count, 2, dtype=torch.long),
        last=torch.ones(2 * count, dtype=torch.long),
        target=torch.tensor(left + right),
        other=torch.tensor(right + left),
        form=form,
        texts=(TextPair("a", "b", "c", "d", "t"),) * count,
        task="toy",
        split="train",
        seed=0,
    )


def logits_of(left: list[float], right: list[float]) -> torch.Tensor:
    """Logits over three tokens, so that the right candidate leads by so much on each prompt."""
    rows = [[lead, 0.0, 5.0] for lead in left] + [[0.0, lead, 5.0] for lead in right]
    return torch.tensor(rows)


def test_raw_scaled_and_biased_by_hand():
    pairs, logits = pairs_of(1), logits_of([LOG3], [LOG3])
    # Lead log 3: probability 3/4 on both sides.
    assert score(logits, pairs) == pytest.approx((math.log(4 / 3), 1.0))
    # Twice the lead: 9/10.
    assert score(logits, pairs, Calibration(2.0, 0.0)) == pytest.approx((math.log(10 / 9), 1.0))
    # A bias of log 3 for the left one: leads log 9 and 0; a tie counts as wrong.
    assert score(logits, pairs, Calibration(1.0, LOG3)) == pytest.approx(
        (math.log(20 / 9) / 2, 0.5), abs=1e-6
    )
    # Both: leads log 9 + log 3 = log 27 and log 9 - log 3 = log 3.
    biased = score(logits, pairs, Calibration(2.0, LOG3))
    assert biased == pytest.approx(((math.log(28 / 27) + math.log(4 / 3)) / 2, 1.0))


def test_one_against_all_by_hand():
    pairs = pairs_of(1, "one_against_all")
    logits = torch.tensor([[LOG3, 0.0, -torch.inf], [0.0, LOG3, -torch.inf]])
    assert score(logits, pairs) == pytest.approx((math.log(4 / 3), 1.0))
    # The bias is the token's, on both sides: 9 to 1 where it is right, 3 to 3 where it is wrong.
    found = score(logits, pairs, Calibration(1.0, LOG3))
    assert found.loss == pytest.approx((math.log(10 / 9) + math.log(2)) / 2)


def test_the_bias_goes_to_the_left_candidate_and_the_input_stays():
    pairs, logits = pairs_of(2), torch.zeros(4, 3)
    assert left_candidate(pairs).tolist() == [0, 0, 0, 0]
    assert calibrated(logits, pairs, Calibration(2.0, 0.5)).tolist() == [[0.5, 0.0, 0.0]] * 4
    assert logits.tolist() == [[0.0] * 3] * 4


def test_rows_of_a_pair_share_its_left_candidate():
    pairs = pairs_of(2)
    swapped = pairs.rows([0, 1])
    swapped.target[[1, 3]] = torch.tensor([2, 0])
    assert left_candidate(swapped).tolist() == [0, 2, 0, 2]


def test_a_known_scale_is_recovered():
    # Three prompts in four lead by log 3, one trails by as much: the best probability is 3/4, at scale 1.
    leads = [LOG3, LOG3, LOG3, -LOG3]
    assert fit_scale(logits_of(leads, leads), pairs_of(4)) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("unit", [0.5, 1.0, 2.0])
def test_another_scale_is_recovered_up_to_the_pull_of_the_ridge(unit: float):
    # The best scale without the ridge is log 3 / unit; with it, the two slopes cancel:
    # unit · (sigmoid(scale · unit) - 3/4) + 2 · RIDGE · log(scale) / scale = 0.
    leads = [unit, unit, unit, -unit]
    scale = fit_scale(logits_of(leads, leads), pairs_of(4))
    assert scale == pytest.approx(LOG3 / unit, rel=0.15)
    slope = unit * (1 / (1 + math.exp(-scale * unit)) - 3 / 4) + 2 * RIDGE * math.log(scale) / scale
    assert slope == pytest.approx(0, abs=1e-4)


def test_perfect_answers_do_not_drive_the_scale_to_infinity():
    for lead in (0.5, 5.0, 50.0):
        scale = fit_scale(logits_of([lead] * 4, [lead] * 4), pairs_of(4))
        assert 1 <= scale < 20


def test_reversed_answers_cannot_be_rescued():
    pairs, logits = pairs_of(4), logits_of([-2.0] * 4, [-2.0] * 4)
    for calibration in (Calibration(fit_scale(logits, pairs), 0.0), fit_scale_and_bias(logits, pairs)):
        assert calibration.scale > 0
        assert score(logits, pairs, calibration).accuracy == 0
        assert score(logits, pairs, calibration).loss > math.log(2)


@pytest.mark.parametrize("bias", [-1.5, 0.5, 3.0])
def test_a_known_bias_is_recovered(bias: float):
    # As above, with the left candidate's logit too small by ``bias`` everywhere.
    leads = [LOG3, LOG3, LOG3, -LOG3]
    logits = logits_of([lead - bias for lead in leads], [lead + bias for lead in leads])
    found = fit_scale_and_bias(logits, pairs_of(4))
    assert found.scale == pytest.approx(1.0, abs=1e-3)
    assert found.bias == pytest.approx(bias, abs=1e-3)
    assert score(logits, pairs_of(4), found).accuracy == 0.75


def test_a_scale_alone_cannot_undo_a_bias():
    logits, pairs = logits_of([-1.0] * 4, [3.0] * 4), pairs_of(4)
    assert score(logits, pairs, Calibration(fit_scale(logits, pairs), 0.0)).accuracy == 0.5
    assert score(logits, pairs, fit_scale_and_bias(logits, pairs)).accuracy == 1.0


def test_fits_work_without_gradients_and_leave_the_logits_alone():
    logits = logits_of([1.0, -1.0], [1.0, 1.0])
    before = logits.clone()
    with torch.no_grad():
        inside = fit_scale_and_bias(logits, pairs_of(2))
    assert inside == fit_scale_and_bias(logits.requires_grad_(), pairs_of(2))
    assert torch.equal(logits, before)
    assert logits.grad is None


def test_one_against_all_is_fitted_too():
    # The token has 1/2 everywhere (two tokens); it is right on the left: the bias cannot help, nor the scale.
    logits = torch.zeros(8, 2)
    found = fit_scale_and_bias(logits, pairs_of(4, "one_against_all"))
    assert found == pytest.approx((1.0, 0.0), abs=1e-6)


def test_logits_at_the_last_token_do_not_depend_on_the_chunk():
    model = SparseGPT(GPTConfig(vocab_size=9, n_ctx=4, n_layer=1, d_model=8, d_head=4, init_std=0.5))
    pairs = pairs_of(5)
    pairs.tokens[:, 1] = torch.arange(10) % 9
    whole = pair_logits(model, pairs)
    assert whole.shape == (10, 9)
    assert not whole.requires_grad
    assert_close(pair_logits(model, pairs, rows=3), whole)
    assert_close(whole, model(pairs.tokens)[:, 1].detach())
