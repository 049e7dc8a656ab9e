"""Prompts whose shared beginnings are worked out once: what is kept, and logits as of one full forward."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, Prompts, SparseGPT, intervene, prompts, record
from sparsecircuits.model.gpt import Attention
from sparsecircuits.ops import native

CONFIG = GPTConfig(vocab_size=9, n_ctx=12, n_layer=2, d_model=8, d_head=4, init_std=0.4)
VARIANTS = {
    "no positions": {"positions": "none"},
    "learned": {"positions": "learned"},
    "concat": {"positions": "concat", "d_pos": 4},
    "no sink, no bigram": {"sink": False, "bigram": False},
    "one layer": {"n_layer": 1},
    "three layers, topk": {"n_layer": 3, "topk_fraction": 0.25},
}
#: Two prompts that agree in two tokens, one that is the beginning of another, and one twice; 8 is padding.
TOKENS = torch.tensor([[8, 1, 2, 3, 8], [8, 1, 4, 3, 8], [8, 1, 2, 8, 8], [8, 1, 4, 3, 8]])
LAST = torch.tensor([3, 3, 2, 3])


def randomised(config: GPTConfig) -> SparseGPT:
    model, generator = SparseGPT(config), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def beginnings(tokens: Tensor, last: Tensor) -> set[tuple[int, ...]]:
    rows = zip(tokens.tolist(), last.tolist(), strict=True)
    return {tuple(row[: at + 1]) for row, end in rows for at in range(end + 1)}


def test_each_beginning_is_kept_once():
    packed = Prompts.of(TOKENS, LAST)
    # 8 | 1 | 2, 4 | 3 after 2, 3 after 4
    assert packed.tokens.shape == (1, 6)
    assert sorted(packed.tokens[0].tolist()) == [1, 2, 3, 3, 4, 8]
    assert packed.where.shape == (4, 4)
    assert packed.where[0, 1] == packed.where[1, 1] == packed.where[2, 1]
    assert packed.where[0, 3] != packed.where[1, 3] == packed.where[3, 3]
    assert packed.where[2, 3] == packed.where[2, 2] == packed.where[0, 2], "behind the end stands the end"
    assert packed.last[0].tolist() == [packed.where[row, end] for row, end in enumerate(LAST.tolist())]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_what_stands_where_is_what_was_there(data: st.DataObject):
    rows, length = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    tokens = torch.randint(0, 3, (rows, length), generator=generator)
    last = torch.randint(0, length, (rows,), generator=generator)
    packed = Prompts.of(tokens, last)
    assert packed.tokens.numel() == len(beginnings(tokens, last))
    at = torch.minimum(torch.arange(packed.where.shape[1]), last[:, None])
    assert torch.equal(packed.tokens.flatten()[packed.where], tokens.gather(1, at))
    assert torch.equal(packed.position.flatten()[packed.where], at)
    assert torch.equal(packed.where.flatten()[packed.place], torch.arange(packed.tokens.numel()))
    assert (packed.place % packed.where.shape[1] == packed.position.flatten()).all()


def test_beginnings_with_one_sum_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    """Sums that say nothing: every place is kept, and logits are right all the same."""
    monkeypatch.setattr(prompts, "_factors", lambda length: torch.zeros(length, dtype=torch.long))
    packed, model = Prompts.of(TOKENS, LAST), randomised(CONFIG)
    assert packed.tokens.numel() == 16
    with torch.no_grad():
        assert_close(model.answers(packed), model(TOKENS, LAST), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernels", native.available())
@pytest.mark.parametrize("variant", VARIANTS)
def test_answers_are_the_logits_at_the_last_tokens(variant: str, kernels: str):
    model = randomised(dataclasses.replace(CONFIG, **VARIANTS[variant]))
    with torch.no_grad(), native.using(kernels):
        expected, got = model(TOKENS, LAST), model.answers(Prompts.of(TOKENS, LAST))
        other = model(TOKENS.roll(1, 0), LAST)
    assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(other, expected, atol=1e-2)


def test_gradients_are_those_of_the_full_forward():
    model = randomised(CONFIG)
    wanted = torch.autograd.grad(model(TOKENS, LAST).square().sum(), list(model.parameters()))
    got = torch.autograd.grad(
        model.answers(Prompts.of(TOKENS, LAST)).square().sum(), list(model.parameters())
    )
    for one, other in zip(got, wanted, strict=True):
        assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_sets_are_each_their_own():
    model = randomised(CONFIG)
    first = Prompts.of(TOKENS, LAST)
    second = Prompts.of(
        torch.tensor([[8, 5, 5, 5, 5, 2], [8, 6, 0, 0, 0, 8]] * 2), torch.tensor([5, 1, 3, 4])
    )
    both = Prompts.stacked([first, second])
    factors = torch.tensor([1.5, -0.5]).view(2, 1, 1)
    changes = ("0.attn.act_in", "0.attn.k", "1.attn.q", "1.attn.v", "1.mlp.post_act", "final_resid")
    with torch.no_grad():
        with intervene(model, {name: lambda x: x * factors for name in changes if name != "final_resid"}):
            together = model.answers(both).view(2, 4, -1)
        for index, one in enumerate((first, second)):
            with intervene(
                model,
                {name: lambda x, by=factors[index]: x * by for name in changes if name != "final_resid"},
            ):
                assert_close(together[index], model.answers(one), atol=1e-5, rtol=1e-5)


def test_hooks_see_each_beginning_once_and_in_the_last_block_the_last_tokens():
    model = randomised(CONFIG)
    with torch.no_grad(), record(model) as seen:
        model.answers(Prompts.of(TOKENS, LAST))
    assert seen["0.mlp.post_act"].shape == (1, 6, CONFIG.mlp_width)
    assert seen["1.attn.k"].shape == (1, 6, 8)
    assert seen["1.attn.q"].shape == seen["1.mlp.resid_delta"].shape == seen["final_resid"].shape == (1, 4, 8)


def test_values_that_are_held_write_the_same():
    """``holding`` works out a head's row sums of its own: at kept tokens, and at the last ones."""
    model = randomised(dataclasses.replace(CONFIG, sink=True))
    write = torch.randn(1, 8, generator=torch.Generator().manual_seed(5))
    heads = torch.tensor([1])
    first, second = (block.attn for block in model.blocks)
    assert isinstance(first, Attention)
    assert isinstance(second, Attention)
    with torch.no_grad(), first.holding(heads, write), second.holding(heads, 2 * write):
        expected, got = model(TOKENS, LAST), model.answers(Prompts.of(TOKENS, LAST))
    assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(got, model.answers(Prompts.of(TOKENS, LAST)), atol=1e-2)


def test_a_prompt_longer_than_the_context_is_refused():
    long = torch.zeros(2, CONFIG.n_ctx + 1, dtype=torch.long)
    with pytest.raises(ConfigError, match="13 tokens, but the model's n_ctx is 12"):
        SparseGPT(CONFIG).answers(Prompts.of(long, torch.tensor([CONFIG.n_ctx, 3])))
