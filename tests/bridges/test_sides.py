"""Both kinds of sides run like the models they are made of, from every location."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsecircuits.bridges.sides import GPT2, Side, onward, side_of, sublayers, traced, until
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT, intervene, record
from tests.bridges.exact import GPT2_SHAPE, as_gpt2, drawn_model


def tokens(vocab: int) -> torch.Tensor:
    return torch.randint(vocab, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("positions", ["none", "learned", "concat"])
@torch.no_grad()
def test_ours(positions: str):
    shape = {"vocab_size": 50, "n_ctx": 16, "n_layer": 3, "d_model": 32, "d_head": 8, "positions": positions}
    model = SparseGPT(GPTConfig.from_dict({**shape, "d_pos": 8} if positions == "concat" else shape))
    side, ids = side_of(model), tokens(50)
    logits, cache = model.run_with_cache(ids, model.locations)
    trace = traced(side, ids)
    assert torch.equal(trace.logits, logits)
    assert len(trace.stream) == len(model.locations) == sublayers(side) + 1 == 7
    for index, name in enumerate(model.locations):
        assert torch.equal(trace.stream[index], cache[name]), name
        assert torch.equal(onward(side, cache[name], index, ids), logits), name


@torch.no_grad()
def test_gpt2():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=60, n_positions=16, n_embd=24, n_layer=2, n_head=3)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    side, ids = side_of(model), tokens(60)
    seen = model(ids, output_hidden_states=True)
    trace = traced(side, ids)
    torch.testing.assert_close(trace.logits, seen.logits)
    # Its hidden states are the stream before each block, and behind the last norm.
    for layer in (0, 1):
        torch.testing.assert_close(trace.stream[2 * layer], seen.hidden_states[layer])
    torch.testing.assert_close(model.transformer.ln_f(trace.stream[-1]), seen.hidden_states[-1])
    for index, x in enumerate(trace.stream):
        torch.testing.assert_close(onward(side, x, index, ids), seen.logits)
    # Causal: a later token changes nothing before it.
    other = ids.clone()
    other[:, 5:] = 0
    torch.testing.assert_close(traced(side, other).logits[:, :5], seen.logits[:, :5])


def test_what_is_not_like_gpt2():
    with pytest.raises(ConfigError, match=r"Linear is not built like GPT-2: it lacks transformer\.wte"):
        GPT2(nn.Linear(2, 2))


# --- Reads, sizes and turns ---


def mirrored(x: torch.Tensor, centred: bool) -> torch.Tensor:
    """[batch, pos, d] a change after which ``x`` [batch, pos, d] has its size still, to either norm."""
    u = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    u = u - u.mean(-1, keepdim=True) if centred else u
    u = u / u.norm(dim=-1, keepdim=True)
    return -2 * (x * u).sum(-1, keepdim=True) * u + (3.0 if centred else 0.0)  # LayerNorm sees no constant


def assert_reads(side: Side, ids: torch.Tensor, centred: bool) -> None:
    for index, x in enumerate(traced(side, ids).stream[:-1]):
        d = mirrored(x, centred)
        torch.testing.assert_close(side.size(x + d, index), side.size(x, index))
        turned = side.turned(d, index) / side.size(x, index)
        torch.testing.assert_close(side.read(x + d, index), side.read(x, index) + turned)
        written = side.sublayer(x, index, turned) - x
        torch.testing.assert_close(written, side.sublayer(x + d, index) - (x + d), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(written, side.sublayer(x, index) - x, rtol=1e-2)
        assert torch.equal(side.sublayer(x, index, torch.zeros_like(x)), side.sublayer(x, index))


@pytest.mark.parametrize("positions", ["none", "concat"])
@torch.no_grad()
def test_a_changed_stream_is_read_as_changed_by_what_is_turned(positions: str):
    shape = {"vocab_size": 50, "n_ctx": 12, "n_layer": 2, "d_model": 16, "d_head": 8, "norm_eps": 1e-3}
    config = GPTConfig.from_dict({**shape, "topk_fraction": None, "positions": positions, "d_pos": 8})
    assert_reads(side_of(drawn_model(config, 0)), tokens(50), centred=False)


@torch.no_grad()
def test_so_does_gpt2():
    model = as_gpt2(drawn_model(GPT2_SHAPE, 0))
    assert model.config.layer_norm_epsilon == 1e-5
    for parameter in model.parameters():  # nothing of it is symmetric any more
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    assert_reads(side_of(model), tokens(50), centred=True)


@torch.no_grad()
def test_sizes_by_hand():
    ours = side_of(SparseGPT(GPTConfig(vocab_size=9, n_layer=1, d_model=2, d_head=2, norm_eps=0.5)))
    x = torch.tensor([[[1.0, 3.0]]])
    assert float(ours.size(x, 0)) == pytest.approx(5.5**0.5)  # (1 + 9) / 2 + 0.5
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=9, n_positions=4, n_embd=2, n_layer=1, n_head=1, layer_norm_epsilon=0.5
    )
    other = side_of(transformers.GPT2LMHeadModel(config))
    assert float(other.size(x, 1)) == pytest.approx(1.5**0.5)  # deviations of 1 and 1, and 0.5
    assert other.turned(torch.tensor([1.0, 3.0]), 1).tolist() == [-1, 1]


@torch.no_grad()
def test_what_is_added_is_added_behind_abs_topk():
    model = SparseGPT(GPTConfig(vocab_size=50, n_ctx=12, n_layer=1, d_model=16, d_head=8))
    side = side_of(model)
    x = side.enter(tokens(50))
    added = torch.full_like(x, 0.01)
    read, site = side.read(x, 1), "0.mlp.act_in"
    assert int((read[0, 0] != 0).sum()) == 4  # a quarter of 16
    with record(model, ["0.mlp.post_act"]) as cache:
        side.sublayer(x, 1, added)
    with intervene(model, {site: lambda _: read + 0.01}), record(model, ["0.mlp.post_act"]) as right:
        side.sublayer(x, 1)
    assert torch.equal(cache["0.mlp.post_act"], right["0.mlp.post_act"])


@torch.no_grad()
def test_the_stream_up_to_a_location():
    side, ids = side_of(drawn_model(GPT2_SHAPE, 0)), tokens(50)
    for index, x in enumerate(traced(side, ids).stream):
        assert torch.equal(until(side, ids, index), x)
