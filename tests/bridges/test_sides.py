"""Both kinds of sides run like the models they are made of, from every location."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsecircuits.bridges.sides import GPT2, onward, side_of, sublayers, traced
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT


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
