"""An absent edge carries its source's frozen value: cutting is checked against freezing and by hand."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from sparsecircuits.circuit import Circuit, Ends, Wires, freeze
from sparsecircuits.circuit.edges import READERS
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import GPTConfig, Node, SparseGPT, intervene, layers, record
from sparsecircuits.model.cache import KVCache
from sparsecircuits.model.gpt import Block
from sparsecircuits.model.layers import SparseLinear
from sparsecircuits.ops.attention import attention_weights
from tests.circuit import toy

SHAPES: list[dict[str, object]] = [{}, {"topk_fraction": None, "sink": False}, {"positions": "concat"}]


def whole(config: GPTConfig = toy.CONFIG) -> Circuit:
    """Every node of the toy model."""
    return Circuit("toy", toy.every_node(config), toy.values(config))


def model_of(config: GPTConfig) -> SparseGPT:
    """With sinks and biases that are not 0."""
    model = SparseGPT(config, seed=2)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "sink_logit")):
                parameter.normal_(0, 0.5, generator=generator)
    return model


def node(text: str) -> Node:
    return Node.parse(text)


def out_of(circuit: Circuit, model: SparseGPT, source: Node) -> list[Ends]:
    return [edge.ends for edge in circuit.edges(model) if edge.source == source]


def into(circuit: Circuit, model: SparseGPT, target: Node) -> list[Ends]:
    return [edge.ends for edge in circuit.edges(model) if edge.target == target]


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("name", ["0.attn.act_in.1", "1.attn.v.5", "0.mlp.act_in.2", "1.mlp.post_act.7"])
def test_without_its_edges_out_a_node_is_frozen(name: str, sealed: bool, changes: dict[str, object]):
    config = toy.CONFIG.replace(**changes)
    model, circuit = model_of(config), whole(config)
    cut = circuit.cutting(out_of(circuit, model, node(name)))
    # Every weight of the toy is nonzero: 3 x 8 readers, 8 writes, 12 neurons, 8 writes.
    counts = {"attn.act_in": 24, "attn.v": 8, "mlp.act_in": 12, "mlp.post_act": 8}
    assert len(cut.cut) == counts[node(name).site]
    plain = model(toy.TOKENS)
    with circuit.without([node(name)]).installed(model):
        expected = model(toy.TOKENS)
    with cut.installed(model, sealed=sealed):
        assert_close(model(toy.TOKENS), expected, atol=2e-6, rtol=0)
    assert (expected - plain).abs().max() > 1e-3
    assert torch.equal(model(toy.TOKENS), plain)  # and nothing is left behind


@pytest.mark.parametrize(
    "name", ["0.attn.q.1", "0.attn.k.2", "1.attn.v.5", "0.mlp.post_act.7", "0.mlp.resid_delta.3"]
)
def test_without_its_edges_in_a_node_is_a_constant(name: str):
    """That is the bias and what its sources' frozen values add up to, through the activation."""
    config = toy.CONFIG.replace(topk_fraction=None)
    model, circuit, target = model_of(config), whole(config), node(name)
    block = model.blocks[target.layer]
    assert isinstance(block, Block)
    linear, source, row = {
        "attn.q": (block.attn.c_attn, "attn.act_in", target.index),
        "attn.k": (block.attn.c_attn, "attn.act_in", 8 + target.index),
        "attn.v": (block.attn.c_attn, "attn.act_in", 16 + target.index),
        "mlp.post_act": (block.mlp.c_fc, "mlp.act_in", target.index),
        "mlp.resid_delta": (block.mlp.c_proj, "mlp.post_act", target.index),
    }[target.site]
    value = linear.bias[row] + linear.weight[row] @ circuit.frozen[f"{target.layer}.{source}"]
    if target.site == "mlp.post_act":
        value = torch.nn.functional.gelu(value)
    with circuit.with_frozen(target, value.item()).installed(model):
        expected = model(toy.TOKENS)
    with circuit.cutting(into(circuit, model, target)).installed(model):
        assert_close(model(toy.TOKENS), expected, atol=2e-6, rtol=0)


def test_without_its_edges_in_an_attention_write_follows_the_pattern():
    """With a sink it is no constant: what is attended to differs from token to token."""
    config = toy.CONFIG.replace(topk_fraction=None)
    model, circuit, target = model_of(config), whole(config), node("1.attn.resid_delta.4")
    block = model.blocks[1]
    assert isinstance(block, Block)
    with record(model, ["1.attn.q", "1.attn.k"]) as cache:
        model(toy.TOKENS)
    q, k = (cache[f"1.attn.{which}"].view(2, 8, 2, 4).transpose(1, 2) for which in "qk")
    sums = attention_weights(q, k, block.attn.sink_logit).sum(-1)  # [batch, head, pos]
    assert sums.std() > 0.05
    assert sums.max() < 1
    weight, mu = block.attn.c_proj.weight[4].view(2, 4), circuit.frozen["1.attn.v"].view(2, 4)
    expected = block.attn.c_proj.bias[4] + torch.einsum("bht,h->bt", sums, (weight * mu).sum(1))
    with (
        circuit.cutting(into(circuit, model, target)).installed(model),
        record(model, ["1.attn.resid_delta"]) as after,
    ):
        model(toy.TOKENS)
    assert_close(after["1.attn.resid_delta"][..., 4], expected, atol=1e-6, rtol=0)


def test_one_edge_alone():
    """0.mlp.act_in.2 -> 0.mlp.post_act.7: that neuron reads the frozen value, all others the live one."""
    config = toy.CONFIG.replace(topk_fraction=None)
    model, circuit = model_of(config), whole(config)
    block = model.blocks[0]
    assert isinstance(block, Block)
    with record(model, ["0.mlp.act_in", "0.mlp.post_act"]) as before:
        model(toy.TOKENS)
    read, fc = before["0.mlp.act_in"].clone(), block.mlp.c_fc
    read[..., 2] = circuit.frozen["0.mlp.act_in"][2]
    neuron = torch.nn.functional.gelu(read @ fc.weight[7] + fc.bias[7])
    cut = circuit.cutting([(node("0.mlp.act_in.2"), node("0.mlp.post_act.7"))])
    with cut.installed(model), record(model, ["0.mlp.post_act"]) as after:
        model(toy.TOKENS)
    assert_close(after["0.mlp.post_act"][..., 7], neuron, atol=1e-6, rtol=0)
    others = [i for i in range(12) if i != 7]
    assert_close(
        after["0.mlp.post_act"][..., others], before["0.mlp.post_act"][..., others], atol=1e-6, rtol=0
    )


def some_cuts(circuit: Circuit, model: SparseGPT, every: int) -> frozenset[Ends]:
    return frozenset(edge.ends for edge in circuit.edges(model)[::every])


def thinned(share: float = 0.3) -> SparseGPT:
    """A toy most of whose weights are 0."""
    model, generator = model_of(toy.CONFIG), torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "transformer.h" in name:
                parameter.mul_(torch.rand(parameter.shape, generator=generator) < share)
    return model


def test_a_sparse_form_cuts_as_the_dense_one_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(layers, "sparse_pays", lambda *_, **__: True)
    monkeypatch.setattr("sparsecircuits.model.gpt.sparse_pays", lambda *_, **__: True)
    model = thinned()
    sparse, circuit = model.to_sparse(), whole()
    assert isinstance(sparse.get_submodule("transformer.h.0.attn.c_attn"), SparseLinear)
    assert circuit.edge_count(sparse) == circuit.edge_count(model)
    cut = circuit.cutting(some_cuts(circuit, model, 3))
    with cut.installed(model):
        expected = model(toy.TOKENS)
    plain = sparse(toy.TOKENS)
    for sealed in (False, True):
        with cut.installed(sparse, sealed=sealed):
            assert_close(sparse(toy.TOKENS), expected, atol=2e-6, rtol=0)
    assert torch.equal(sparse(toy.TOKENS), plain)
    live = torch.full((len(cut.cut),), 0.5, requires_grad=True)
    slopes = []
    for form in (model, sparse):
        with Wires.of(form, sorted(cut.cut)).carrying(form, live, cut.frozen):
            (slope,) = torch.autograd.grad(form(toy.TOKENS).square().mean(), [live])
        slopes.append(slope)
    assert_close(slopes[1], slopes[0], atol=1e-5, rtol=1e-4)


def test_cuts_among_few_live_nodes_read_the_same_sealed():
    model = model_of(toy.CONFIG.replace(topk_fraction=None))
    few = ("0.attn.act_in.1", "0.attn.q.0", "0.attn.v.3", "0.attn.resid_delta.2", "0.mlp.act_in.2")
    circuit = toy.circuit(*few, "0.mlp.act_in.5", "0.mlp.post_act.7", "0.mlp.resid_delta.1")
    cut = circuit.cutting(some_cuts(circuit, model, 2)).rescaled(node("0.mlp.act_in.5"), -1.5)
    assert 0 < len(cut.cut) < circuit.edge_count(model)
    with circuit.installed(model):
        uncut = model(toy.TOKENS)
    with cut.installed(model):
        expected = model(toy.TOKENS)
    with cut.installed(model, sealed=True):
        assert_close(model(toy.TOKENS), expected, atol=2e-6, rtol=0)
    assert (uncut - expected).abs().max() > 1e-3


def test_fully_live_wires_change_nothing_and_half_live_ones_mix():
    """One edge into a write is linear: half live is half way."""
    config = toy.CONFIG.replace(topk_fraction=None)
    model, frozen = model_of(config), toy.values(config)
    for ends in (
        ("0.mlp.post_act.7", "0.mlp.resid_delta.3"),
        ("0.attn.v.5", "0.attn.resid_delta.3"),
        ("0.attn.act_in.2", "0.attn.v.1"),
    ):
        source, target = map(node, ends)
        wires = Wires.of(model, [(source, target)])
        values = []
        for live in (0.0, 0.5, 1.0):
            with (
                wires.carrying(model, torch.tensor([live]), frozen),
                record(model, [str(target.at)]) as cache,
            ):
                model(toy.TOKENS)
            values.append(cache[str(target.at)][..., target.index])
        assert_close(values[1], (values[0] + values[2]) / 2, atol=1e-6, rtol=0)
        assert (values[0] - values[2]).abs().max() > 1e-3
        with record(model, [str(target.at)]) as cache:
            model(toy.TOKENS)
        assert_close(values[2], cache[str(target.at)][..., target.index], atol=1e-6, rtol=0)


def test_each_edge_goes_by_its_own_share():
    model, circuit = model_of(toy.CONFIG), whole()
    edges = sorted(some_cuts(circuit, model, 17))
    live = (torch.arange(len(edges)) % 3 == 0).float()
    off = [ends for ends, share in zip(edges, live.tolist(), strict=True) if not share]
    with circuit.cutting(off).installed(model):
        expected = model(toy.TOKENS)
    with Wires.of(model, edges).carrying(model, live, circuit.frozen):
        assert_close(model(toy.TOKENS), expected, atol=2e-6, rtol=0)


def test_slopes_are_those_of_differences():
    config = toy.CONFIG.replace(topk_fraction=None)
    model, circuit = model_of(config).double(), whole(config)
    frozen = {name: values.double() for name, values in circuit.frozen.items()}
    edges = [edge.ends for edge in circuit.edges(model)[::37]]
    assert {source.site for source, _ in edges} == set(READERS)
    wires = Wires.of(model, edges)

    def loss(live: Tensor) -> Tensor:
        with wires.carrying(model, live, frozen):
            return model(toy.TOKENS).square().mean()

    live = torch.full((len(edges),), 0.7, dtype=torch.double, requires_grad=True)
    (slopes,) = torch.autograd.grad(loss(live), [live])
    for i in range(len(edges)):
        step = torch.zeros_like(live)
        step[i] = 1e-5
        with torch.no_grad():
            difference = (loss(live + step) - loss(live - step)) / 2e-5
        assert float(slopes[i]) == pytest.approx(float(difference), rel=1e-5, abs=1e-9)


def test_with_a_cache_cuts_give_the_same():
    model, circuit = model_of(toy.CONFIG), whole()
    cut = circuit.cutting(some_cuts(circuit, model, 3))
    with torch.no_grad(), cut.installed(model):
        expected = model(toy.TOKENS)
        cache = KVCache(model.config)
        parts = [model(part, cache=cache) for part in toy.TOKENS.split(3, dim=1)]
    assert_close(torch.cat(parts, 1), expected, atol=2e-6, rtol=0)


def test_the_model_is_whole_again_after_an_error():
    model, circuit = model_of(toy.CONFIG), whole()
    plain = model(toy.TOKENS)
    cut = circuit.cutting(some_cuts(circuit, model, 3))
    with pytest.raises(RuntimeError, match="inside"), cut.installed(model, sealed=True):
        raise RuntimeError("inside")
    assert torch.equal(model(toy.TOKENS), plain)
    with torch.no_grad(), cut.installed(model):  # a copy made meanwhile is that of the circuit
        assert torch.equal(copy.deepcopy(model)(toy.TOKENS), model(toy.TOKENS))
    assert torch.equal(copy.deepcopy(model)(toy.TOKENS), plain)


def test_a_gain_moves_a_node_about_its_frozen_value():
    model, circuit = model_of(toy.CONFIG), whole()
    name, mu = "0.mlp.post_act.7", float(circuit.frozen["0.mlp.post_act"][7])
    with record(model, ["0.mlp.post_act"]) as before:
        model(toy.TOKENS)
    with circuit.rescaled(node(name), 2.5).installed(model), record(model, ["0.mlp.post_act"]) as after:
        model(toy.TOKENS)
    x, y = (cache["0.mlp.post_act"][..., 7] for cache in (before, after))
    assert_close(y, mu + 2.5 * (x - mu), atol=1e-6, rtol=0)
    others = [i for i in range(12) if i != 7]
    assert torch.equal(after["0.mlp.post_act"][..., others], before["0.mlp.post_act"][..., others])


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("0.attn.q.0", "0.attn.resid_delta.0"),  # through the pattern, by no weight
        ("0.attn.act_in.0", "1.attn.q.0"),  # another layer
        ("0.attn.q.0", "0.attn.act_in.0"),  # the other way round
        ("0.attn.resid_delta.0", "0.mlp.act_in.0"),  # the residual stream is no weight
        ("0.mlp.act_in.0", "0.mlp.resid_delta.0"),
    ],
)
def test_a_cut_where_no_weight_joins_is_an_error(source: str, target: str):
    model, ends = model_of(toy.CONFIG), (node(source), node(target))
    with pytest.raises(CheckpointError, match=f"no weight joins {source} to {target}"):
        whole().cutting([ends])
    with (
        pytest.raises(CheckpointError, match="no weight joins"),
        freeze(model, whole().keep_masks(), whole().frozen, cut=[ends]),
    ):
        pass


@pytest.mark.parametrize("name", ["2.attn.v.0", "0.attn.v.8"])
def test_a_cut_of_a_node_that_the_model_lacks_is_an_error(name: str):
    source = node(name)
    target = Node(dataclasses.replace(source.at, site="attn.resid_delta"), 0)
    with pytest.raises(CheckpointError, match=f"no node {name}"):
        Wires.of(toy.model(), [(source, target)])


def test_a_cut_reaches_only_its_own_readers():
    """What a cut node reads is changed by nothing, and a change behind the cut reaches nothing."""
    model, circuit = model_of(toy.CONFIG), whole()
    cut = circuit.cutting(out_of(circuit, model, node("1.mlp.post_act.7")))
    with cut.installed(model):
        expected = model(toy.TOKENS)
        with intervene(model, {"1.mlp.post_act": lambda x: x + 5 * (torch.arange(12) == 7)}):
            assert torch.equal(model(toy.TOKENS), expected)
