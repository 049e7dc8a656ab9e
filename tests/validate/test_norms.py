"""Planted circuits do not live off their norms; one that blows its stream up does."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.model.layers import RMSNorm
from sparsecircuits.validate.norms import (
    frozen_norms,
    norm_scales,
    norm_sensitivity,
    root_mean_square,
    stream_norms,
)
from sparsecircuits.validate.thresholds import THRESHOLDS
from tests.validate.subjects import PROGRAMS, planted, subject, truth


def test_a_norm_divides_by_the_root_mean_square():
    x = torch.tensor([[3.0, 4.0]])
    assert float(root_mean_square(x, 0.0)) == pytest.approx(12.5**0.5)
    assert float(root_mean_square(x, 0.5)) == pytest.approx(13**0.5)
    norm = RMSNorm(7, eps=None)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(7.0))
        x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)) * 1e-3
        torch.testing.assert_close(norm(x), x / root_mean_square(x, None) * norm.weight)


@pytest.mark.parametrize("positions", ["none", "learned", "concat"])
@torch.no_grad()
def test_with_its_own_scales_nothing_changes(positions: str):
    config = GPTConfig(vocab_size=260, n_layer=2, d_model=32, n_ctx=64, positions=positions)  # type: ignore[arg-type]
    model, pairs = SparseGPT(config), subject().some
    for norm in stream_norms(model).values():
        norm.weight.uniform_(0.5, 2)
    own = norm_scales(model, pairs)
    before = model(pairs.tokens, pairs.last)
    with frozen_norms(model, own):
        torch.testing.assert_close(model(pairs.tokens, pairs.last), before)
    with frozen_norms(model, {name: 2 * scale for name, scale in own.items()}):
        assert not torch.allclose(model(pairs.tokens, pairs.last), before, rtol=0.01)
    assert torch.equal(model(pairs.tokens, pairs.last), before)
    # Positions are normed by themselves, and stay out of it.
    assert list(own) == ["h.0.ln_1", "h.0.ln_2", "h.1.ln_1", "h.1.ln_2", "ln_f"]


@torch.no_grad()
def test_a_circuit_keeps_its_loss_with_its_own_scales():
    about = subject("induction", 0, 3)
    other = next(about.random_circuits(1))
    with other.installed(about.model):
        own = norm_scales(about.model, about.some)
        before = about.model(about.some.tokens, about.some.last)
        with frozen_norms(about.model, own):
            torch.testing.assert_close(about.model(about.some.tokens, about.some.last), before)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("level", [1, 3])
def test_a_true_circuit_passes(name: str, level: int):
    found = norm_sensitivity(subject(name, 0, level), draws=1)
    assert found.passed
    assert found.estimate is not None
    assert found.estimate < 1e-6
    assert found.figures["loss"] == pytest.approx(found.figures["loss_frozen"], rel=1e-3)


def test_a_circuit_that_shrinks_everything_by_its_norms_fails():
    # A deleted node that nothing kept reads is held at a huge value: norms divide the rest to nothing, and
    # the loss is that of a coin. With the model's norms it is the model's loss.
    circuit, places = truth(), planted()
    unread = next(c for c in range(40) if c not in places.channels.values())
    huge = circuit.with_frozen(Node.parse(f"0.attn.resid_delta.{unread}"), 1e5)
    about = subject(circuit=huge)
    found = norm_sensitivity(about, draws=2)
    assert found.passed is False
    # The shared ballast, which is all that norms usually divide by, is small beside it.
    assert found.figures["loss"] > 0.5
    assert found.figures["change"] < 0
    assert found.estimate == pytest.approx(-found.figures["change"])
    assert found.estimate is not None
    assert found.estimate > THRESHOLDS.norm
    assert found.interval is not None
    assert found.interval.low <= found.estimate <= found.interval.high


def test_the_model_is_whole_afterwards():
    about = subject()
    before = about.model(about.some.tokens)
    norm_sensitivity(about, draws=1)
    assert torch.equal(about.model(about.some.tokens), before)
    assert not any(module._forward_hooks for module in about.model.modules())
