"""Sufficiency, output match and stochastic ablation, on a planted model whose circuit is known."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune import fit_scale, pair_logits, pretraining_means
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate import (
    Interval,
    OutputMatch,
    StochasticAblation,
    clustered_interval,
    output_match,
    stochastic_ablation,
    sufficiency,
)
from tests.prune import planted

TOKENIZER = planted.byte_tokenizer()


@pytest.fixture(scope="module")
def model() -> SparseGPT:
    return planted.attention_model(TOKENIZER)


@pytest.fixture(scope="module")
def heldout() -> TokenPairs:
    return planted.STRING_CLOSING.pairs(TOKENIZER, "heldout", 48)


@pytest.fixture(scope="module")
def truth(model: SparseGPT) -> Circuit:
    means = pretraining_means(model, planted.corpus(TOKENIZER), count=512)
    return Circuit("string_closing", planted.ATTENTION_CIRCUIT, means)


# --- Intervals ---


def test_one_template_has_no_spread_and_two_have_theirs():
    values = torch.tensor([0.0, 2.0, 0.0, 2.0])
    assert clustered_interval(values, ["a"] * 4) == Interval(1.0, 1.0)
    assert clustered_interval(values, ["a", "b", "a", "b"]) == Interval(0.0, 2.0)


def test_whole_templates_are_drawn():
    # 40 rows of two templates are two draws, not forty: the interval reaches from one mean to the other.
    values = torch.cat([torch.zeros(20), torch.ones(20)])
    assert clustered_interval(values, ["a"] * 20 + ["b"] * 20) == Interval(0.0, 1.0)
    narrow = clustered_interval(values, [str(i) for i in range(40)])
    assert 0.3 < narrow.low < 0.4
    assert 0.6 < narrow.high < 0.7


def test_every_value_has_a_cluster():
    with pytest.raises(ValueError, match="2 values and 1 clusters"):
        clustered_interval(torch.zeros(2), ["a"])


# --- The tests ---


def test_the_truth_passes_and_nothing_does_not(model: SparseGPT, truth: Circuit, heldout: TokenPairs):
    scale = fit_scale(pair_logits(model, heldout), heldout)
    true = dataclasses.replace(truth, scale=scale)
    nothing = true.keeping([])
    assert sufficiency(model, true, heldout).passed
    assert sufficiency(model, true, heldout).accuracy == 1.0
    assert sufficiency(model, nothing, heldout).accuracy == 0.5
    assert not sufficiency(model, nothing, heldout).passed
    assert output_match(model, true, heldout, full_scale=scale).passed
    assert output_match(model, nothing, heldout, full_scale=scale).agreement == 0.5
    assert stochastic_ablation(model, true, heldout, full_scale=scale).passed
    assert not stochastic_ablation(model, nothing, heldout, full_scale=scale).passed


def test_the_target_is_allowed_its_slack(model: SparseGPT, truth: Circuit, heldout: TokenPairs):
    loss = sufficiency(model, truth, heldout).loss
    assert sufficiency(model, truth, heldout, target=loss - 0.019).passed
    assert not sufficiency(model, truth, heldout, target=loss - 0.021).passed


def test_the_full_model_matches_itself(model: SparseGPT, truth: Circuit, heldout: TokenPairs):
    everything = truth.keeping(
        [Node(at, i) for at in model.config.site_names() for i in range(model.config.width(at.site))]
    )
    found = output_match(model, everything, heldout)
    assert found.divergence == pytest.approx(0, abs=1e-6)
    assert found.agreement == 1.0
    restored = stochastic_ablation(model, everything, heldout, draws=4)
    assert restored.error == pytest.approx(0, abs=1e-6)
    assert restored.mean == pytest.approx(sufficiency(model, everything, heldout).loss, rel=1e-4)


@pytest.mark.parametrize(
    ("mean", "worst", "passed"),
    [(0.30, 0.69, True), (0.31, 0.69, False), (0.30, math.log(2) + 0.01, False)],
)
def test_stochastic_thresholds(mean: float, worst: float, passed: bool):
    assert StochasticAblation(mean, 0.0, worst, target=0.15).passed is passed


@pytest.mark.parametrize(
    ("divergence", "worst", "agreement", "passed"),
    [(0.1, 1.0, 0.95, True), (0.11, 1.0, 0.95, False), (0.1, 1.1, 1.0, False), (0.0, 0.0, 0.94, False)],
)
def test_output_thresholds(divergence: float, worst: float, agreement: float, passed: bool):
    assert OutputMatch(divergence, Interval(0, 1), worst, agreement).passed is passed


def test_the_bias_of_the_circuit_counts(model: SparseGPT, truth: Circuit, heldout: TokenPairs):
    """Of a circuit of no nodes, whose logits are much the same for all prompts."""
    nothing = dataclasses.replace(truth.keeping([]), bias=2.0)
    with torch.no_grad(), nothing.installed(model):
        logits = pair_logits(model, heldout)
    single, double = heldout.target[0], heldout.other[0]
    ahead = float((logits[:, single] - logits[:, double]).mean())
    found = sufficiency(model, nothing, heldout)

    def both_sides(z: float) -> float:  # the left prompts' -log P, and the right ones'
        return (math.log1p(math.exp(-z)) + math.log1p(math.exp(z))) / 2

    assert found.loss == pytest.approx(both_sides(ahead + 2.0), abs=1e-3)
    assert found.raw_loss == pytest.approx(both_sides(ahead), abs=1e-3)
    # The full model is sure of the right answer, so the divergence from it is the loss.
    assert output_match(model, nothing, heldout).divergence == pytest.approx(found.loss, abs=1e-3)
    plain = dataclasses.replace(nothing, bias=0.0)
    assert output_match(model, plain, heldout).divergence == pytest.approx(found.raw_loss, abs=1e-3)
    assert abs(found.loss - found.raw_loss) > 0.01
