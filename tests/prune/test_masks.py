"""The masks: an exact step forward, a sigmoid's derivative backward."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import GPTConfig, Node, Prompts, SparseGPT
from sparsecircuits.prune.masks import Heaviside, NodeMasks, Start, all_nodes

#: All options on, so that nothing of the forward is left out.
CONFIG = GPTConfig(vocab_size=20, n_ctx=8, n_layer=2, d_model=8, d_head=4, d_mlp=12, init_std=0.3)


def masks(bias: float = 0.1, scale: float = 0.0, temperature: float = 1.0) -> NodeMasks:
    return NodeMasks(CONFIG, [start(bias, scale, temperature)])


def start(bias: float = 0.1, scale: float = 0.0, temperature: float = 1.0, seed: int = 0) -> Start:
    return Start(bias, scale, temperature, torch.Generator().manual_seed(seed))


def means() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {str(at): torch.randn(CONFIG.width(at.site), generator=generator) for at in CONFIG.site_names()}


TOKENS = torch.arange(16).view(2, 8)


def test_forward_is_exactly_0_or_1_and_0_counts_as_kept():
    tau = torch.tensor([-1.0, -1e-8, -0.0, 0.0, 1e-8, 1.0])
    assert Heaviside.apply(tau, 1.0).tolist() == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("tau", "temperature", "slope"),
    [
        (0.0, 1.0, 1 / 4),  # sigmoid(0) = 1/2: 1/2 · 1/2
        (0.0, 2.0, 1 / 8),
        (math.log(3), 1.0, 3 / 16),  # sigmoid = 3/4: 3/4 · 1/4
        (-math.log(3), 1.0, 3 / 16),
        (-0.5 * math.log(3), 0.5, 3 / 8),
    ],
)
def test_backward_is_the_slope_of_a_sigmoid(tau: float, temperature: float, slope: float):
    x = torch.tensor([tau], requires_grad=True)
    (5 * Heaviside.apply(x, temperature)).sum().backward()
    assert x.grad is not None
    assert_close(x.grad, torch.tensor([5 * slope]))


def test_one_mask_for_every_node_in_forward_order():
    found = masks()
    # A layer: attn.act_in, q, k, v, attn.resid_delta, mlp.act_in: 8 each; 12 neurons; mlp.resid_delta: 8.
    assert found.tau.shape == (1, 2 * (7 * 8 + 12)) == (1, CONFIG.node_count)
    nodes = found.nodes()
    assert nodes == sorted(nodes) == all_nodes(found.sites, found.widths)
    assert nodes[68] == Node.parse("1.attn.act_in.0")
    parts = found.by_site(torch.arange(136))
    assert parts["0.mlp.post_act"].tolist() == list(range(48, 60))


def test_start_is_bias_plus_scaled_noise():
    assert masks(bias=0.1, scale=0.0).tau[0].tolist() == pytest.approx([0.1] * 136)
    noise = torch.randn(136, generator=torch.Generator().manual_seed(0))
    assert_close(masks(bias=-0.2, scale=0.01).tau.detach()[0], -0.2 + 0.01 * noise)


def test_clamp():
    found = masks()
    with torch.no_grad():
        found.tau[0, :4] = torch.tensor([-3.0, 3.0, -1.0, 0.5])
    found.clamp_()
    assert found.tau[0, :4].tolist() == [-1.0, 1.0, -1.0, 0.5]


def test_all_on_leaves_the_logits_equal_bit_for_bit():
    model = SparseGPT(CONFIG)
    with masks(bias=0.1).installed(model, means()) as count:
        masked = model(TOKENS)
    assert torch.equal(masked, model(TOKENS))
    assert float(count.detach()) == 136


def test_all_off_is_mean_ablation_of_everything():
    model, frozen = SparseGPT(CONFIG), means()
    with torch.no_grad(), masks(bias=-0.1).installed(model, frozen) as count:
        masked = model(TOKENS)
    assert float(count) == 0
    x = model.transformer["wte"](TOKENS) + sum(frozen[name] for name in frozen if "resid_delta" in name)
    table = model.bigram_table
    assert table is not None
    assert_close(masked, model.lm_head(model.transformer["ln_f"](x)) + table[TOKENS])


def test_a_mixed_mask_equals_its_circuit_bit_for_bit():
    model, frozen, found = SparseGPT(CONFIG), means(), masks(bias=0.0, scale=1.0)
    kept = [node for node, tau in zip(found.nodes(), found.tau[0].tolist(), strict=True) if tau >= 0]
    assert 40 < len(kept) < 96
    with torch.no_grad(), found.installed(model, frozen):
        masked = model(TOKENS)
    with torch.no_grad(), Circuit("any", frozenset(kept), frozen).installed(model):
        assert torch.equal(masked, model(TOKENS))


def test_gradient_reaches_every_mask_and_the_count():
    model, found = SparseGPT(CONFIG), masks(bias=0.0)
    with found.installed(model, means()) as count:
        model(TOKENS)
    count.backward()
    assert found.tau.grad is not None
    assert found.tau.grad[0].tolist() == [0.25] * 136


@pytest.mark.parametrize("damage", [None, torch.zeros(1), torch.zeros(9)])
def test_a_missing_or_misshapen_mean_is_an_error(damage: torch.Tensor | None):
    model, frozen = SparseGPT(CONFIG), means()
    if damage is None:
        del frozen["1.attn.v"]
    else:
        frozen["1.attn.v"] = damage
    with pytest.raises(CheckpointError, match=r"1\.attn\.v"), masks().installed(model, frozen):
        pass


def tied_masks() -> NodeMasks:
    return NodeMasks(CONFIG, [start(0.1, 0.01)], tied=True)


def test_a_tied_q_and_k_channel_have_one_parameter_and_count_once():
    tied, untied = tied_masks(), masks()
    channels = CONFIG.width("attn.q")
    assert tied.tau.numel() == untied.tau.numel() - 2 * channels
    by_site = tied.by_site(tied.by_node()[0])
    for layer in (0, 1):
        assert torch.equal(by_site[f"{layer}.attn.q"], by_site[f"{layer}.attn.k"])
    assert not torch.equal(by_site["0.attn.q"], by_site["1.attn.q"])
    with tied.installed(SparseGPT(CONFIG), means()) as count:
        assert float(count.detach()) == tied.tau.numel()


def test_a_tied_parameter_gets_the_gradients_of_both():
    tied = tied_masks()
    q, k = (tied.by_site(torch.arange(len(tied.group)))[f"0.attn.{site}"][3] for site in "qk")
    (tied.hard()[0, q] + 2 * tied.hard()[0, k]).backward()
    gate = float(torch.sigmoid(tied.tau.detach()[0, q]))
    assert tied.tau.grad is not None
    assert float(tied.tau.grad[0, tied.group[k]]) == pytest.approx(3 * gate * (1 - gate))


def test_a_restored_node_is_live_and_a_kept_one_stays_so():
    model, some = SparseGPT(CONFIG), masks()
    with torch.no_grad():
        some.tau.fill_(-1)  # nothing is kept
        everything = torch.ones(1, len(some.group))
        with some.installed(model, means(), everything):
            assert_close(model(TOKENS), _plain(model))
        with some.installed(model, means(), 0 * everything):
            frozen = model(TOKENS)
        with some.installed(model, means()):
            assert_close(model(TOKENS), frozen)
        some.tau.fill_(1)
        with some.installed(model, means(), 0 * everything):
            assert_close(model(TOKENS), _plain(model))


def _plain(model: SparseGPT) -> torch.Tensor:
    return model(TOKENS)


def ended(rows: list[int]) -> Prompts:
    """Prompts of eight tokens: rows of the numbers from 0 to 63, modulo 20."""
    return Prompts.of((torch.arange(64).view(8, 8) % 20)[rows], torch.full((len(rows),), 7))


def test_each_set_has_its_own_masks():
    model, frozen = SparseGPT(CONFIG), means()
    starts = [start(0.0, 1.0, seed=0), start(0.0, 1.0, seed=1)]
    both = NodeMasks(CONFIG, starts)
    parts = [ended([0, 1, 4, 5]), ended([2, 3, 6, 7])]
    with torch.no_grad(), both.installed(model, frozen) as count:
        together = model.answers(Prompts.stacked(parts)).view(2, 4, -1)
    for which, part in enumerate(parts):
        alone = NodeMasks(CONFIG, [start(0.0, 1.0, seed=which)])
        with torch.no_grad(), alone.installed(model, frozen) as own:
            assert_close(together[which], model.answers(part))
        assert float(own) == float(count[which])
    assert not torch.equal(both.tau[0], both.tau[1])


def test_each_set_may_have_its_own_means():
    model, prompts = SparseGPT(CONFIG), ended([0, 1])
    first, second = means(), {name: -2 * mean for name, mean in means().items()}
    both = {name: torch.stack([first[name], second[name]]) for name in first}
    nothing = NodeMasks(CONFIG, [start(-0.1), start(-0.1)])
    with torch.no_grad(), nothing.installed(model, both):
        together = model.answers(Prompts.stacked([prompts, prompts])).view(2, 2, -1)
    for got, own in zip(together, (first, second), strict=True):
        with torch.no_grad(), masks(bias=-0.1).installed(model, own):
            assert_close(got, model.answers(prompts))
    assert not torch.allclose(together[0], together[1])


def test_what_is_not_allowed_is_frozen_counts_for_nothing_and_does_not_come_back():
    model, frozen = SparseGPT(CONFIG), means()
    allowed = torch.ones(1, CONFIG.node_count)
    allowed[0, :100] = 0
    some = NodeMasks(CONFIG, [start(0.1)], allowed=allowed)
    circuit = Circuit("any", frozenset(some.nodes()[100:]), frozen)
    with torch.no_grad(), circuit.installed(model):
        wanted = model(TOKENS)
    for restored in (None, torch.ones(1, CONFIG.node_count)):
        with torch.no_grad(), some.installed(model, frozen, restored) as count:
            assert_close(model(TOKENS), wanted)
        assert float(count) == CONFIG.node_count - 100
    assert some.by_node()[0, :100].tolist() == [-1.0] * 100
