"""Facts of single nodes: edges in and out, tokens of the vocabulary, positions, estimates."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.edges import node_degrees
from sparsecircuits.data.tokenizer import train_tokenizer
from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.prune.masks import all_nodes
from sparsecircuits.tasks import TextPair, TokenPairs
from sparsecircuits.viz.facts import (
    ablated_groups,
    degrees,
    effects_are_measured,
    estimated_effects,
    node_effects,
    positions_in,
    vocabulary_in,
)


def config(positions: Literal["none", "learned", "concat"] = "none", n_ctx: int = 8) -> GPTConfig:
    return GPTConfig(
        vocab_size=257, n_ctx=n_ctx, n_layer=2, d_model=16, d_head=4, d_mlp=8, topk_fraction=None,
        bigram=False, positions=positions, d_pos=2,
    )  # fmt: skip


def test_edges_in_and_out_add_up_to_those_of_the_node() -> None:
    model = SparseGPT(config())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter *= torch.rand(parameter.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    sites = model.config.site_names()
    nodes = all_nodes(sites, [model.config.width(site.site) for site in sites])
    total, split = node_degrees(model, nodes), degrees(model, nodes)
    assert {node: sum(split[node]) for node in nodes} == total
    assert max(total.values()) > 5
    read, write = Node.parse("1.attn.act_in.3"), Node.parse("1.mlp.resid_delta.3")
    weight = model.get_parameter("transformer.h.1.attn.c_attn.weight")
    assert split[read] == (0, int((weight[:, 3] != 0).sum()))  # q, k and v of all heads
    assert split[write].out == 0


def test_tokens_of_the_whole_vocabulary() -> None:
    tokenizer, model = train_tokenizer(["ab"], 257), SparseGPT(config())
    table = model.get_parameter("transformer.wte.weight")
    with torch.no_grad():
        table[:, 5] = 0
        for letter, weight in (("a", 0.5), ("b", -2.0), ("c", 1.0)):
            table[tokenizer.encode(letter)[0], 5] = weight
    assert vocabulary_in(model, tokenizer, Node.parse("1.mlp.act_in.5"), 2) == [("b", -2), ("c", 1)]
    # Zeros are not listed, however many are asked for.
    assert len(vocabulary_in(model, tokenizer, Node.parse("0.attn.act_in.5"), 8)) == 3
    assert vocabulary_in(model, tokenizer, Node.parse("0.attn.resid_delta.5"), 8) == []


def test_learned_positions_are_those_of_the_channel() -> None:
    model = SparseGPT(config("learned"))
    with torch.no_grad():
        model.get_parameter("transformer.wpe.weight").zero_()
        model.get_parameter("transformer.wpe.weight")[:, 5] = torch.arange(8.0)
    assert positions_in(model, Node.parse("1.mlp.act_in.5")) == [(i, i) for i in range(8)]
    assert positions_in(model, Node.parse("1.mlp.act_in.4")) == []
    assert positions_in(model, Node.parse("1.mlp.resid_delta.5")) == []
    assert positions_in(SparseGPT(config()), Node.parse("1.mlp.act_in.5")) == []


def test_concatenated_positions_are_normalised() -> None:
    """Of (3, 4) the root mean square is sqrt(12.5)."""
    model = SparseGPT(config("concat", n_ctx=300))
    with torch.no_grad():
        model.get_parameter("transformer.wpe.weight")[:] = torch.tensor([3.0, 4.0])
        model.get_parameter("transformer.h.1.ln_p2.weight")[1] = 10.0
    first = positions_in(model, Node.parse("0.attn.act_in.16"))
    assert [at for at, _ in first] == list(range(0, 300, 3))  # 128 at most
    assert first[0][1] == pytest.approx(3 / math.sqrt(12.5), abs=1e-3)
    assert positions_in(model, Node.parse("1.mlp.act_in.17"))[0][1] == pytest.approx(11.3)
    assert positions_in(model, Node.parse("1.mlp.act_in.15")) == []


def test_groups_are_layers_sublayers_and_sites() -> None:
    names = ["0.attn.q.1", "0.attn.v.1", "0.mlp.post_act.2", "1.mlp.post_act.3", "1.mlp.post_act.4"]
    circuit = Circuit("toy", frozenset(map(Node.parse, names)), frozen_of(config()))
    groups = {name: [str(node) for node in nodes] for name, nodes in ablated_groups(circuit).items()}
    assert groups == {
        "0": names[:3],
        "0.attn": names[:2],
        "0.attn.q": names[:1],
        "0.attn.v": names[1:2],
        "0.mlp": names[2:3],
        "1": names[3:],  # of one site, so nothing below it says more
    }


def frozen_of(shape: GPTConfig) -> dict[str, torch.Tensor]:
    return {str(site): torch.zeros(shape.width(site.site)) for site in shape.site_names()}


def test_estimates_are_the_slope_of_the_measured_effects() -> None:
    """Channel 3 gets a constant from each MLP, small beside channel 0, so the loss is nearly linear in it."""
    shape = config()
    model = SparseGPT(shape)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ln_" not in name:
                parameter.zero_()
        model.get_parameter("transformer.wte.weight")[:, 0] = 100.0
        model.get_parameter("transformer.h.0.mlp.c_proj.bias")[3] = 1.0
        model.get_parameter("transformer.h.1.mlp.c_proj.bias")[3] = 2.0
        model.lm_head.weight[1, 3] = 1.0  # the norm leaves 3 / 25 of the channel: a logit of 0.12
    nodes = [Node.parse(f"{layer}.mlp.resid_delta.3") for layer in (0, 1)]
    circuit = Circuit("toy", frozenset(nodes), frozen_of(shape), scale=2.0)
    pairs = TokenPairs(
        tokens=torch.tensor([[5, 6], [5, 7]]),
        last=torch.tensor([1, 1]),
        target=torch.tensor([1, 1]),
        other=torch.tensor([2, 2]),
        form="contrast",
        texts=(TextPair("", "", "", ""),),
        task="toy",
        split="heldout",
        seed=0,
    )
    estimated, measured = estimated_effects(model, circuit, pairs), node_effects(model, circuit, pairs)
    # d/dz -log sigmoid(z) at z = 2 * 0.12 is -0.4403; the first node's share of z is 0.08.
    assert estimated[nodes[0]] == pytest.approx(0.4403 * 0.08, rel=1e-2)
    for node in nodes:
        assert estimated[node] == pytest.approx(measured[node], rel=0.06)


def test_more_nodes_than_can_be_measured_are_estimated() -> None:
    shape = config()
    every = all_nodes(shape.site_names(), [shape.width(site.site) for site in shape.site_names()])
    assert len(every) > 201
    assert effects_are_measured(Circuit("toy", frozenset(every[:200]), frozen_of(shape)))
    assert not effects_are_measured(Circuit("toy", frozenset(every[:201]), frozen_of(shape)))
