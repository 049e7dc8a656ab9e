"""The forward: names, initial weights, and each part's effect worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sparsecircuits.circuit import model_hash
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model import config as config_module
from sparsecircuits.model import gpt as gpt_module
from sparsecircuits.model.gpt import Block
from sparsecircuits.model.layers import SparseLinear
from sparsecircuits.ops import Pattern, native
from tests.circuit import toy
from tests.model.conftest import TINY

BLOCK = [
    "ln_1.weight",
    "attn.sink_logit",
    "attn.c_attn.weight",
    "attn.c_attn.bias",
    "attn.c_proj.weight",
    "attn.c_proj.bias",
    "ln_2.weight",
    "mlp.c_fc.weight",
    "mlp.c_fc.bias",
    "mlp.c_proj.weight",
    "mlp.c_proj.bias",
]


def shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in SparseGPT(config).state_dict().items()}


def zeroed(config: GPTConfig) -> SparseGPT:
    """A model in which every matrix is 0 and every norm 1: its logits are 0."""
    model = SparseGPT(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ln_" not in name:
                parameter.zero_()
    return model


def test_parameters_are_named_as_in_the_public_release():
    # There the sink is attn.attn_imp.sink_logit; all else is the same.
    blocks = {f"transformer.h.{layer}.{name}" for layer in (0, 1) for name in BLOCK}
    top = {"bigram_table", "transformer.wte.weight", "transformer.ln_f.weight", "lm_head.weight"}
    assert set(shapes(TINY)) == blocks | top


def test_matrices_are_output_by_input_with_q_k_v_stacked():
    got = shapes(TINY.replace(n_head=3, d_mlp=20))
    assert got["transformer.wte.weight"] == (11, 8)
    assert got["lm_head.weight"] == (11, 8)
    assert got["bigram_table"] == (11, 11)
    assert got["transformer.h.0.attn.c_attn.weight"] == (3 * 3 * 4, 8)
    assert got["transformer.h.0.attn.c_proj.weight"] == (8, 12)
    assert got["transformer.h.0.attn.sink_logit"] == (3,)
    assert got["transformer.h.0.mlp.c_fc.weight"] == (20, 8)
    assert got["transformer.h.0.mlp.c_proj.weight"] == (8, 20)


def test_options_add_and_take_away_their_parameters():
    base = set(shapes(TINY))
    assert base - set(shapes(TINY.replace(bigram=False))) == {"bigram_table"}
    assert base - set(shapes(TINY.replace(sink=False))) == {
        f"transformer.h.{i}.attn.sink_logit" for i in (0, 1)
    }
    assert base - set(shapes(TINY.replace(bias=False))) == {name for name in base if name.endswith(".bias")}
    learned = shapes(TINY.replace(positions="learned"))
    assert set(learned) - base == {"transformer.wpe.weight"}
    assert learned["transformer.wpe.weight"] == (6, 8)
    concat = shapes(TINY.replace(positions="concat", d_pos=3))
    norms = {f"transformer.h.{i}.ln_p{n}.weight" for i in (0, 1) for n in (1, 2)}
    assert set(concat) - base == {"transformer.wpe.weight"} | norms
    assert concat["transformer.wpe.weight"] == (6, 3)
    assert concat["transformer.h.0.ln_p1.weight"] == (3,)
    assert concat["transformer.h.0.attn.c_attn.weight"] == (24, 8 + 3)
    assert concat["transformer.h.0.mlp.c_fc.weight"] == (32, 8 + 3)
    assert concat["transformer.h.0.mlp.c_proj.weight"] == (8, 32)


def test_initial_weights():
    config = GPTConfig(vocab_size=300, n_ctx=64, n_layer=8, d_model=128, positions="learned")
    model = SparseGPT(config)
    # Normal 0.02; what writes to the residual stream scaled by 1/sqrt(2·8) = 1/4: 0.005.
    for name, parameter in model.named_parameters():
        if name == "bigram_table":
            assert parameter.min() >= 0
            assert 0.0199 < parameter.max() <= 0.02  # uniform in [0, 0.02], the last row too
            assert parameter[-1].count_nonzero() >= 299
        elif parameter.ndim == 2:
            expected = 0.005 if "c_proj" in name else 0.02
            # The deviation of n values has a relative error of about 1/sqrt(2n): here below 1%.
            assert parameter.std().item() == pytest.approx(expected, rel=0.04), name
            assert abs(parameter.mean().item()) < 5 * expected / math.sqrt(parameter.numel()), name
        else:
            assert parameter.tolist() == [1.0 if "ln_" in name else 0.0] * parameter.numel(), name


def test_the_seed_decides_the_initial_weights_and_nothing_else_does():
    first, again, other = SparseGPT(TINY, seed=3), SparseGPT(TINY, seed=3), SparseGPT(TINY, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_logits_of_embedding_norm_and_unembedding_by_hand():
    model = zeroed(TINY.replace(bigram=False, norm_eps=0.0))
    with torch.no_grad():
        model.transformer.get_parameter("wte.weight")[4, :2] = torch.tensor([3.0, 4.0])
        model.lm_head.weight[7, 1] = 2.0
    # The RMS of (3, 4, 0, 0, 0, 0, 0, 0) is sqrt(25/8); 4 over it, times 2.
    logits = model(torch.tensor([[4]]))
    assert logits[0, 0, 7].item() == pytest.approx(2 * 4 / math.sqrt(25 / 8))
    assert logits.count_nonzero() == 1


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_one_neuron_by_hand(activation: str):
    config = GPTConfig.from_dict(
        {
            **TINY.replace(n_layer=1, bigram=False, norm_eps=0.0, topk_fraction=None).to_dict(),
            "activation": activation,
        }
    )
    model = zeroed(config)
    with torch.no_grad():
        model.transformer.get_parameter("wte.weight")[4, 0] = 1.0  # normed: sqrt(8)
        model.get_parameter("transformer.h.0.mlp.c_fc.weight")[5, 0] = -1.0
        model.get_parameter("transformer.h.0.mlp.c_fc.bias")[5] = 2.0
        model.get_parameter("transformer.h.0.mlp.c_proj.weight")[3, 5] = 10.0
    _, cache = model.run_with_cache(torch.tensor([[4]]))
    before = 2 - math.sqrt(8)  # -0.83
    after = max(0.0, before) if activation == "relu" else before * 0.5 * (1 + math.erf(before / math.sqrt(2)))
    assert cache["0.mlp.post_act"][0, 0, 5].item() == pytest.approx(after)
    assert cache["0.mlp.resid_delta"][0, 0, 3].item() == pytest.approx(10 * after)
    assert cache["final_resid"][0, 0].tolist() == pytest.approx([1, 0, 0, 10 * after, 0, 0, 0, 0])


def test_the_bigram_row_of_the_current_token_is_added(model: SparseGPT, tokens: torch.Tensor):
    assert model.bigram_table is not None
    with torch.no_grad():
        model.bigram_table.zero_()
        before = model(tokens)
        row = torch.arange(11.0)
        model.bigram_table[5] = row
        after = model(tokens)
    is_five = tokens == 5
    assert torch.equal(after[is_five], before[is_five] + row)
    assert torch.equal(after[~is_five], before[~is_five])


def test_a_large_bigram_table_says_its_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(config_module, "BIGRAM_LIMIT", 10)
    assert SparseGPT(TINY).bigram_table is None
    with pytest.warns(UserWarning, match=r"11 x 11 entries takes 484 bytes"):
        model = SparseGPT(TINY.replace(bigram=True))
    assert model.bigram_table is not None
    assert model.bigram_table.shape == (11, 11)


def test_the_bytes_are_those_of_float32():
    # 4 · 16385²; nothing is allocated here
    with pytest.warns(UserWarning, match="takes 1,073,872,900 bytes"):
        GPTConfig(vocab_size=16_385, bigram=True).warn_of_large_bigram()


def test_more_tokens_than_the_context_are_an_error(model: SparseGPT):
    assert model(torch.zeros(1, 6, dtype=torch.long)).shape == (1, 6, 11)
    with pytest.raises(ConfigError, match="7 tokens, but the model's n_ctx is 6"):
        model(torch.zeros(1, 7, dtype=torch.long))


def test_at_gives_the_logits_of_one_position_a_row(model: SparseGPT, tokens: torch.Tensor):
    whole = model(tokens)
    at = torch.tensor([1, 4])
    some = model(tokens, at)
    assert some.shape == (2, 11)
    torch.testing.assert_close(some, whole[[0, 1], at], atol=1e-6, rtol=0)


@pytest.mark.parametrize("positions", ["none", "learned", "concat"])
def test_no_token_sees_a_later_one(positions: str, tokens: torch.Tensor):
    model = SparseGPT(GPTConfig.from_dict({**TINY.to_dict(), "positions": positions}))
    changed = tokens.clone()
    changed[:, 3:] = 8
    assert torch.equal(model(tokens)[:, :3], model(changed)[:, :3])
    # Close, not equal: BLAS may choose another kernel for another number of tokens.
    torch.testing.assert_close(model(tokens[:, :3]), model(tokens)[:, :3], atol=1e-6, rtol=0)


def test_without_positions_equal_tokens_are_alike_and_with_them_not():
    same = torch.full((1, 4), 5)
    model = SparseGPT(TINY.replace(sink=False))
    # Attention over equal keys is their common value at every place.
    torch.testing.assert_close(model(same)[0], model(same)[0, :1].expand(4, -1))
    learned = zeroed(TINY.replace(positions="learned", bigram=False))
    with torch.no_grad():
        learned.transformer.get_parameter("wpe.weight")[2, 0] = 1.0
        learned.lm_head.weight[7, 0] = 1.0
    # Position 2 alone has a residual stream: one channel of eight, normed to sqrt(8).
    assert learned(same)[0, :, 7].tolist() == pytest.approx([0, 0, math.sqrt(8), 0], rel=1e-5)


def test_concatenated_positions_are_read_beside_the_residual_stream():
    model = zeroed(TINY.replace(positions="concat", d_pos=2, topk_fraction=None))
    wpe = model.transformer.get_parameter("wpe.weight")
    with torch.no_grad():
        wpe[:, 0] = torch.tensor([3.0, 0.0, 1.0, 0.0, 0.0, 0.0])
        wpe[:, 1] = torch.tensor([4.0, 2.0, 0.0, 1.0, 1.0, 1.0])
        model.get_parameter("transformer.h.1.ln_p2.weight")[1] = 10.0
    _, cache = model.run_with_cache(torch.full((1, 3), 5))
    # Its own norm: (3, 4) by sqrt(25/2), (0, 2) and (1, 0) by their RMS.
    rms = math.sqrt(12.5)
    r2 = math.sqrt(2)
    expected = torch.tensor([[3 / rms, 4 / rms], [0, r2], [r2, 0]])
    for name in ("0.attn.act_in", "0.mlp.act_in", "1.attn.act_in"):
        assert cache[name].shape == (1, 3, 10)
        assert cache[name][0, :, :8].count_nonzero() == 0
        torch.testing.assert_close(cache[name][0, :, 8:], expected)
    torch.testing.assert_close(cache["1.mlp.act_in"][0, :, 8:], expected * torch.tensor([1.0, 10.0]))
    assert cache["final_resid"].count_nonzero() == 0  # positions are never added


def test_abs_topk_acts_at_every_site(model: SparseGPT, tokens: torch.Tensor, config: GPTConfig):
    _, cache = model.run_with_cache(tokens)
    for name in config.site_names():
        # A quarter of 8 channels, or of the MLP's 32 neurons.
        expected = 8 if name.site == "mlp.post_act" else 2
        assert (cache[str(name)].count_nonzero(dim=-1) == expected).all(), str(name)
    assert (cache["0.attn.y"].count_nonzero(dim=-1) > 2).any()  # the mix itself is left as it is


@pytest.mark.parametrize("bigram", [True, False])
def test_the_loss_is_the_cross_entropy_of_the_logits(bigram: bool, tokens: torch.Tensor):
    model = SparseGPT(TINY.replace(bigram=bigram, init_std=0.3))
    target = torch.tensor([[1, 2, 3, 4, 10], [5, 5, 0, 9, 10]])
    loss, logits = model.loss(tokens, target), model(tokens)
    expected = F.cross_entropy(logits.flatten(0, 1), target.flatten())
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)
    gradients, right = (torch.autograd.grad(one, list(model.parameters())) for one in (loss, expected))
    for got, one in zip(gradients, right, strict=True):
        torch.testing.assert_close(got, one, atol=1e-5, rtol=0)


@pytest.mark.skipif(native.available() == [native.OFF], reason="the kernels were not compiled")
def test_a_compiled_loss_is_the_same_in_value_and_gradient(model: SparseGPT, tokens: torch.Tensor):
    def loss(tokens: torch.Tensor) -> torch.Tensor:
        return model.loss(tokens[:, :-1], tokens[:, 1:])

    torch.compiler.reset()
    compiled, expected = torch.compile(loss, backend="aot_eager", fullgraph=True)(tokens), loss(tokens)
    torch.testing.assert_close(compiled, expected, atol=1e-6, rtol=0)
    gradients, right = (torch.autograd.grad(one, list(model.parameters())) for one in (compiled, expected))
    for got, one in zip(gradients, right, strict=True):
        torch.testing.assert_close(got, one, atol=1e-6, rtol=0)


@pytest.fixture
def half_sparse(monkeypatch: pytest.MonkeyPatch) -> SparseGPT:
    """The toy of the circuits' tests, its first layer a tenth nonzero; small matrices count as sparse."""

    def pays(pattern: Pattern, tokens: int) -> bool:
        return pattern.density < 0.5

    monkeypatch.setattr(gpt_module, "sparse_pays", pays)
    model, generator = toy.model(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".h.0." in name and parameter.ndim == 2:
                parameter.masked_fill_(torch.rand(parameter.shape, generator=generator) > 0.1, 0)
    return model


def test_a_sparse_copy_is_the_same_model(half_sparse: SparseGPT):
    before = {name: tensor.clone() for name, tensor in half_sparse.state_dict().items()}
    sparse = half_sparse.to_sparse()
    small = {name for name, module in sparse.named_modules() if isinstance(module, SparseLinear)}
    assert small == {f"transformer.h.0.{n}" for n in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}
    torch.testing.assert_close(sparse(toy.TOKENS), half_sparse(toy.TOKENS), atol=1e-5, rtol=0)
    assert model_hash(sparse) == model_hash(half_sparse)
    assert not any(parameter.requires_grad for parameter in sparse.parameters())
    # The state is the same, name by name, and the original is as it was.
    for state in (sparse.state_dict(), half_sparse.state_dict()):
        assert state.keys() == before.keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in before.items())
    assert all(parameter.requires_grad for parameter in half_sparse.parameters())
    assert not any(isinstance(module, SparseLinear) for module in half_sparse.modules())


def test_a_dense_model_takes_the_state_of_a_sparse_one_and_back(half_sparse: SparseGPT):
    dense, other = SparseGPT(toy.CONFIG, seed=7), half_sparse.to_sparse()
    dense.load_state_dict(half_sparse.to_sparse().state_dict())
    assert model_hash(dense) == model_hash(half_sparse)
    changed = SparseGPT(toy.CONFIG, seed=8)
    other.load_state_dict(changed.state_dict())
    torch.testing.assert_close(other(toy.TOKENS), changed(toy.TOKENS), atol=1e-5, rtol=0)


def test_hooks_and_circuits_work_on_a_sparse_copy(half_sparse: SparseGPT):
    sparse, circuit = half_sparse.to_sparse(), toy.circuit("0.attn.v.3", "0.mlp.post_act.7", "1.attn.q.2")
    expected = circuit.logits(half_sparse, toy.TOKENS)
    torch.testing.assert_close(circuit.logits(sparse, toy.TOKENS), expected, atol=1e-5, rtol=0)
    assert circuit.edge_count(sparse) == circuit.edge_count(half_sparse)
    (_, one), (_, other) = (
        model.run_with_cache(toy.TOKENS, ["0.mlp.post_act"]) for model in (half_sparse, sparse)
    )
    torch.testing.assert_close(other["0.mlp.post_act"], one["0.mlp.post_act"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sink", [False, True])
def test_held_values_write_by_what_their_head_attends(sink: bool):
    """With uniform scores a query at position t sees t + 1 keys; a sink of logit 0 takes one more share."""
    config = GPTConfig(vocab_size=9, n_ctx=6, n_layer=1, d_model=4, d_head=2, topk_fraction=None, sink=sink)
    model, tokens = SparseGPT(config), torch.arange(6).view(1, 6)
    block = model.blocks[0]
    assert isinstance(block, Block)
    with torch.no_grad():
        block.attn.c_attn.weight.zero_()
        _, before = model.run_with_cache(tokens, ["0.attn.resid_delta"])
        write = torch.tensor([[0.0, 1.0, 0.0, -2.0]])
        with block.attn.holding(torch.tensor([1]), write):
            _, after = model.run_with_cache(tokens, ["0.attn.resid_delta"])
        _, again = model.run_with_cache(tokens, ["0.attn.resid_delta"])
    seen = torch.arange(1.0, 7.0)
    share = seen / (seen + 1) if sink else torch.ones(6)
    change = (after["0.attn.resid_delta"] - before["0.attn.resid_delta"])[0]
    torch.testing.assert_close(change, share[:, None] * write)
    assert torch.equal(again["0.attn.resid_delta"], before["0.attn.resid_delta"])
