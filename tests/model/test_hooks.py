"""Record and intervene: one forward, untouched by what only looks on, and clean afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SITES, GPTConfig, Site, SparseGPT, hooked, intervene, record
from tests.model.conftest import TINY

HOOK_POINTS = [
    *(f"{layer}.{name}" for layer in (0, 1) for name in ("resid_in", "attn.y", "resid_mid", *SITES)),
    "final_resid",
]


def hooks_of(model: SparseGPT) -> int:
    return sum(len(site._forward_hooks) for site in model.sites().values())


@pytest.mark.parametrize("positions", ["none", "learned", "concat"])
def test_an_identity_intervention_changes_nothing(positions: str, tokens: Tensor):
    model = SparseGPT(GPTConfig.from_dict({**TINY.to_dict(), "positions": positions}), seed=5)
    plain = model(tokens)
    with intervene(model, {name: lambda x: x for name in model.sites()}):
        assert torch.equal(model(tokens), plain)
    with intervene(model, {name: lambda x: x.clone() for name in model.sites()}):
        assert torch.equal(model(tokens), plain)
    with record(model):
        assert torch.equal(model(tokens), plain)
    assert torch.equal(model(tokens), plain)


def test_the_hook_points_in_forward_order(model: SparseGPT, tokens: Tensor):
    assert sorted(model.sites()) == sorted(HOOK_POINTS)
    _, cache = model.run_with_cache(tokens)
    layer = ["resid_in", "attn.act_in", "attn.q", "attn.k", "attn.v", "attn.y", "attn.resid_delta"]
    layer += ["resid_mid", "mlp.act_in", "mlp.post_act", "mlp.resid_delta"]
    assert list(cache) == [f"{i}.{name}" for i in (0, 1) for name in layer] + ["final_resid"]


def test_the_cache_has_every_activation_in_its_shape(tokens: Tensor):
    config = TINY.replace(n_head=3, d_mlp=20, positions="concat", d_pos=3)
    model = SparseGPT(config)
    logits, cache = model.run_with_cache(tokens)
    assert logits.shape == (2, 5, 11)
    for name in config.site_names():
        assert cache[str(name)].shape == (2, 5, config.width(name.site)), str(name)
    assert cache["0.attn.y"].shape == (2, 5, 12)
    assert cache["1.resid_mid"].shape == cache["final_resid"].shape == (2, 5, 8)


def test_what_is_written_adds_up_in_the_residual_stream(model: SparseGPT, tokens: Tensor):
    _, cache = model.run_with_cache(tokens)
    for layer, after in ((0, "1.resid_in"), (1, "final_resid")):
        middle = cache[f"{layer}.resid_in"] + cache[f"{layer}.attn.resid_delta"]
        assert torch.equal(cache[f"{layer}.resid_mid"], middle)
        assert torch.equal(cache[after], middle + cache[f"{layer}.mlp.resid_delta"])


def test_only_what_is_named_is_cached(model: SparseGPT, tokens: Tensor):
    logits, cache = model.run_with_cache(tokens, ["1.attn.q"], at=torch.tensor([4, 4]))
    assert list(cache) == ["1.attn.q"]
    assert logits.shape == (2, 11)


def test_an_intervention_takes_effect_and_ends(model: SparseGPT, tokens: Tensor):
    plain = model(tokens)
    with intervene(model, {"final_resid": lambda x: torch.zeros_like(x)}):
        changed = model(tokens)
    # Nothing but the bigram table is left.
    assert model.bigram_table is not None
    assert torch.equal(changed, model.bigram_table[tokens])
    assert torch.equal(model(tokens), plain)
    assert hooks_of(model) == 0


def test_an_intervention_is_seen_downstream_and_not_upstream(model: SparseGPT, tokens: Tensor):
    _, before = model.run_with_cache(tokens)
    with record(model) as after, intervene(model, {"1.attn.v": lambda x: x + 1}):
        model(tokens)
    names = list(before)
    for name in names[: names.index("1.attn.v")]:
        assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["1.attn.y"], after["1.attn.y"])


def test_hooks_of_one_site_run_in_the_order_given(model: SparseGPT, tokens: Tensor):
    seen = []

    def double(tensor: Tensor, *, hook: Site) -> Tensor:
        seen.append((hook.name, tensor))
        return tensor * 2

    model.run_with_hooks(tokens, [("0.mlp.post_act", double), ("0.mlp.post_act", double)])
    assert [name for name, _ in seen] == ["0.mlp.post_act"] * 2
    assert torch.equal(seen[1][1], seen[0][1] * 2)


def test_contexts_nest(model: SparseGPT, tokens: Tensor):
    with intervene(model, {"final_resid": lambda x: x * 0 + 1}):
        with intervene(model, {"final_resid": lambda x: x * 3}), record(model, ["final_resid"]) as cache:
            model(tokens)
        assert (cache["final_resid"] == 3).all()
        assert hooks_of(model) == 1


def test_hooks_are_gone_after_an_exception(model: SparseGPT, tokens: Tensor):
    def fail(tensor: Tensor, *, hook: Site) -> None:
        raise RuntimeError(f"at {hook.name}")

    plain = model(tokens)
    with pytest.raises(RuntimeError, match=r"at 1\.attn\.q"):
        model.run_with_hooks(tokens, [("0.attn.q", lambda tensor, *, hook: tensor), ("1.attn.q", fail)])
    assert hooks_of(model) == 0
    with pytest.raises(KeyboardInterrupt), record(model):
        raise KeyboardInterrupt
    assert hooks_of(model) == 0
    assert torch.equal(model(tokens), plain)


def test_an_unknown_hook_point_is_told_its_near_miss_and_leaves_none_behind(model: SparseGPT, tokens: Tensor):
    hooks = [("0.attn.q", lambda tensor, *, hook: None), ("1.mlp.postact", lambda tensor, *, hook: None)]
    with (
        pytest.raises(ConfigError, match=r"no hook point '1\.mlp\.postact'; did you mean '1\.mlp\.post_act'"),
        hooked(model, hooks),
    ):
        pass
    assert hooks_of(model) == 0
    with pytest.raises(ConfigError, match=r"no hook point '7\.attn\.q'"):
        model.run_with_cache(tokens, ["7.attn.q"])


def test_recorded_activations_carry_gradients(model: SparseGPT, tokens: Tensor):
    logits, cache = model.run_with_cache(tokens, ["1.mlp.resid_delta", "final_resid"])
    gradients = torch.autograd.grad(logits.sum(), [cache["1.mlp.resid_delta"], cache["final_resid"]])
    # The last write goes straight into the last residual stream.
    assert torch.equal(gradients[0], gradients[1])
    assert gradients[0].count_nonzero() > 0
