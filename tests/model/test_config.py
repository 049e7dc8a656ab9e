"""The model's config: what is derived, what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SITES, GPTConfig


def test_sizes_are_derived():
    config = GPTConfig(d_model=128, d_head=16)
    assert (config.heads, config.mlp_width, config.read_width) == (8, 512, 128)
    # 128 + 3·128 + 128 channels of attention, 128 + 512 + 128 of the MLP, in each of 8 layers
    assert config.node_count == 8 * (640 + 768)
    assert [config.topk(site) for site in SITES] == [32, 32, 32, 32, 32, 32, 128, 32]


def test_sizes_that_are_given_are_kept():
    config = GPTConfig(n_layer=1, d_model=10, d_head=3, n_head=2, d_mlp=7, positions="concat", d_pos=5)
    widths = [config.width(site) for site in SITES]
    assert widths == [15, 6, 6, 6, 10, 15, 7, 10]
    assert config.node_count == sum(widths)


def test_the_node_count_of_the_public_models():
    # Their num_total_nodes, 136192 and 182784, less d_model for final_resid.
    first = GPTConfig(n_layer=12, d_model=1024, d_head=8)
    second = GPTConfig(n_layer=8, d_model=2048, d_head=16, positions="concat", d_pos=32)
    assert first.node_count == 136192 - 1024
    assert second.node_count == 182784 - 2048


def test_topk_is_at_least_one_and_only_where_asked_for():
    config = GPTConfig(d_model=16, topk_fraction=0.01, topk_sites=("attn.q",))
    assert config.topk("attn.q") == 1
    assert config.topk("mlp.post_act") is None
    assert GPTConfig(topk_fraction=None).topk("attn.q") is None


@pytest.mark.parametrize(
    ("vocab_size", "bigram", "used"),
    [(8192, None, True), (8193, None, False), (8193, True, True), (8192, False, False)],
)
def test_the_bigram_table_is_off_above_8192_entries_by_default(
    vocab_size: int, bigram: bool | None, used: bool
):
    assert GPTConfig(vocab_size=vocab_size, bigram=bigram).uses_bigram is used


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layer": 0}, "GPTConfig.n_layer is 0; it must be at least 1"),
        ({"d_mlp": 0}, "GPTConfig.d_mlp is 0"),
        ({"d_model": 100}, "GPTConfig.d_model = 100 is no multiple of d_head = 16; give n_head"),
        ({"topk_fraction": 0.0}, "GPTConfig.topk_fraction is 0.0; it must be in (0, 1]"),
        ({"topk_sites": ("attn.o",)}, "no site 'attn.o'; did you mean 'attn"),
        ({"positions": "concatenated"}, "allowed: 'none', 'learned', 'concat'"),
        ({"activation": "silu"}, "allowed: 'gelu', 'relu'"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        GPTConfig(**changes)


def test_an_unknown_key_is_told_its_near_miss():
    with pytest.raises(ConfigError, match="unknown key 'n_layers'; did you mean 'n_layer'"):
        GPTConfig.from_dict({"n_layers": 2})


def test_goes_to_plain_data_and_back():
    config = GPTConfig(topk_sites=("attn.q", "mlp.post_act"), positions="learned")
    assert GPTConfig.from_dict(config.to_dict()) == config
