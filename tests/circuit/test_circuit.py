"""A circuit runs as what it keeps; nothing missing is ever taken for zero."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from sparsecircuits.circuit import Circuit, count_edges, edges_between, freeze
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.model import GPTConfig, Node, SparseGPT, intervene, record
from tests.circuit import toy

SOME = ("0.attn.v.3", "0.mlp.post_act.7", "1.attn.resid_delta.0", "1.mlp.act_in.2", "1.mlp.post_act.11")


@pytest.mark.parametrize(
    "changes",
    [{}, {"topk_fraction": None, "sink": False}, {"positions": "concat"}, {"positions": "learned"}],
)
def test_keeping_every_node_changes_nothing_bit_for_bit(changes: dict[str, object]):
    config = toy.CONFIG.replace(**changes)
    model = SparseGPT(config)
    identity = Circuit("toy", toy.every_node(config), toy.values(config))
    plain = model(toy.TOKENS)
    with identity.installed(model):
        assert torch.equal(model(toy.TOKENS), plain)
    with identity.without(identity.nodes).removed(model):
        assert torch.equal(model(toy.TOKENS), plain)
    assert len(identity) == config.node_count


def test_an_empty_circuit_is_the_sum_of_its_frozen_writes():
    model, frozen = toy.model(), toy.values()
    with torch.no_grad(), toy.circuit().installed(model):
        logits = model(toy.TOKENS)
    x = model.transformer["wte"](toy.TOKENS)
    for name in ("0.attn.resid_delta", "0.mlp.resid_delta", "1.attn.resid_delta", "1.mlp.resid_delta"):
        x = x + frozen[name]
    assert model.bigram_table is not None
    assert_close(logits, model.lm_head(model.transformer["ln_f"](x)) + model.bigram_table[toy.TOKENS])


def test_deleted_nodes_are_held_at_their_values_and_kept_ones_live():
    model, circuit = toy.model(), toy.circuit("0.attn.v.3", "0.attn.act_in.1", "0.attn.act_in.6")
    with record(model, ["0.attn.act_in"]) as before:
        model(toy.TOKENS)
    with circuit.installed(model), record(model, ["0.attn.act_in", "0.attn.v"]) as after:
        model(toy.TOKENS)
    kept, deleted = [1, 6], [0, 2, 3, 4, 5, 7]
    values = circuit.frozen["0.attn.act_in"]
    assert torch.equal(after["0.attn.act_in"][..., kept], before["0.attn.act_in"][..., kept])
    assert torch.equal(after["0.attn.act_in"][..., deleted], values[deleted].expand(2, 8, 6))
    assert torch.equal(after["0.attn.v"][..., 0], circuit.frozen["0.attn.v"][0].expand(2, 8))


def test_removed_is_the_complement():
    model, circuit = toy.model(), toy.circuit(*SOME)
    with circuit.removed(model):
        removed = model(toy.TOKENS)
    with circuit.keeping(toy.every_node() - circuit.nodes).installed(model):
        assert torch.equal(model(toy.TOKENS), removed)
    assert not torch.equal(model(toy.TOKENS), removed)


def test_logits_are_scaled():
    model, circuit = toy.model(), toy.circuit(*SOME, scale=2.5)
    at = torch.tensor([3, 7])
    with torch.no_grad(), circuit.installed(model):
        raw = model(toy.TOKENS)
    assert torch.equal(circuit.logits(model, toy.TOKENS), 2.5 * raw)
    assert_close(circuit.logits(model, toy.TOKENS, at), 2.5 * raw[[0, 1], at])


@pytest.mark.parametrize("way", ["installed", "removed"])
def test_the_model_is_whole_again_afterwards(way: str):
    model, circuit = toy.model(), toy.circuit(*SOME)
    plain = model(toy.TOKENS)
    with getattr(circuit, way)(model):
        pass
    assert torch.equal(model(toy.TOKENS), plain)
    with pytest.raises(RuntimeError, match="inside"), getattr(circuit, way)(model):
        raise RuntimeError("inside")
    assert torch.equal(model(toy.TOKENS), plain)


@pytest.mark.parametrize("way", ["installed", "removed"])
def test_a_missing_mean_is_an_error_and_never_zero(way: str):
    frozen = toy.values()
    del frozen["1.mlp.post_act"]
    circuit = Circuit("toy", toy.nodes("0.attn.v.3"), frozen)
    with (
        pytest.raises(CheckpointError, match=r"no .* for site 1\.mlp\.post_act"),
        getattr(circuit, way)(toy.model()),
    ):
        pass


@pytest.mark.parametrize("shape", [(1,), (7,), (9,), (1, 8), ()])
def test_values_of_another_width_are_an_error(shape: tuple[int, ...]):
    frozen = {**toy.values(), "1.attn.q": torch.ones(shape)}
    with (
        pytest.raises(CheckpointError, match=r"1\.attn\.q.*\(8,\)"),
        Circuit("toy", frozenset(), frozen).installed(toy.model()),
    ):
        pass


def test_a_circuit_of_a_deeper_model_does_not_fit():
    deeper: GPTConfig = toy.CONFIG.replace(n_layer=3)
    circuit = Circuit("toy", toy.nodes("2.attn.v.0"), toy.values(deeper))
    with pytest.raises(CheckpointError, match=r"no site 2\.attn\.act_in"), circuit.installed(toy.model()):
        pass


def test_freeze_needs_a_mask_for_every_site():
    keep = toy.circuit().keep_masks()
    del keep["0.attn.k"]
    with (
        pytest.raises(CheckpointError, match=r"no mask for site 0\.attn\.k"),
        freeze(toy.model(), keep, toy.values()),
    ):
        pass


@pytest.mark.parametrize("name", ["0.mlp.post_act.12", "2.attn.v.0", "final_resid.0"])
def test_a_node_that_does_not_exist_is_refused(name: str):
    with pytest.raises(CheckpointError, match=name.rsplit(".", 1)[0]):
        toy.circuit(name)


def test_a_negative_index_does_not_count_from_the_end():
    node = Node(Node.parse("0.attn.v.0").at, -1)
    with pytest.raises(CheckpointError, match="does not exist"):
        Circuit("toy", frozenset([node]), toy.values())
    with pytest.raises(CheckpointError, match="does not exist"):
        toy.circuit().with_frozen(node, 0.0)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_is_a_positive_number(scale: float):
    with pytest.raises(ConfigError, match="positive"):
        toy.circuit(scale=scale)


def test_edits_return_copies():
    circuit = toy.circuit(*SOME, scale=2.0)
    node = Node.parse("1.mlp.post_act.11")
    assert circuit.without([node]).nodes == toy.nodes(*SOME[:4])
    assert circuit.keeping([node]).nodes == frozenset([node])
    frozen = circuit.with_frozen(node, 7.5)
    assert frozen.nodes == toy.nodes(*SOME[:4])
    assert float(frozen.frozen["1.mlp.post_act"][11]) == 7.5
    assert torch.equal(frozen.frozen["1.mlp.post_act"][:11], circuit.frozen["1.mlp.post_act"][:11])
    assert frozen.scale == 2.0
    assert frozen.info == {"seed": 3}
    # The original is as it was.
    assert circuit.nodes == toy.nodes(*SOME)
    assert torch.equal(circuit.frozen["1.mlp.post_act"], toy.values()["1.mlp.post_act"])


def test_masks_by_site():
    masks = toy.circuit("0.attn.v.3", "0.attn.v.5").keep_masks()
    assert set(masks) == set(toy.values())
    assert masks["0.attn.v"].tolist() == [False, False, False, True, False, True, False, False]
    assert not any(mask.any() for name, mask in masks.items() if name != "0.attn.v")


def test_description():
    assert toy.circuit("1.attn.v.3", "0.mlp.post_act.7", "1.attn.v.0", scale=2.0).describe() == (
        "circuit for toy: 3 nodes, scale 2\n  0.mlp.post_act: 1\n  1.attn.v: 2"
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.6, 1.0])
def test_sealed_gives_the_same_and_is_taken_off(share: float):
    """Masks on both sides of a half, below which matrices multiply their live nodes alone."""
    model, frozen = toy.model(), toy.values()
    plain, generator = model(toy.TOKENS), torch.Generator().manual_seed(0)
    keep = {name: torch.rand(values.shape, generator=generator) < share for name, values in frozen.items()}
    with freeze(model, keep, frozen):
        expected = model(toy.TOKENS)
    with freeze(model, keep, frozen, sealed=True):
        assert_close(model(toy.TOKENS), expected, atol=1e-5, rtol=0)
    with pytest.raises(RuntimeError, match="inside"), freeze(model, keep, frozen, sealed=True):
        raise RuntimeError("inside")
    assert torch.equal(model(toy.TOKENS), plain)


def test_sealed_reads_the_live_nodes_alone():
    """A change behind the freezing of a deleted node reaches nothing: that is what sealed means."""
    model, circuit = toy.model(), toy.circuit("0.mlp.post_act.7")
    nan = {"0.mlp.post_act": lambda x: x.index_fill(-1, torch.tensor([2]), math.nan)}
    for sealed in (True, False):
        with freeze(model, circuit.keep_masks(), circuit.frozen, sealed=sealed), intervene(model, nan):
            assert model(toy.TOKENS).isnan().any() != sealed
        with circuit.installed(model, sealed=sealed), intervene(model, nan):
            assert model(toy.TOKENS).isnan().any() != sealed


CUT = (Node.parse("0.attn.v.3"), Node.parse("0.attn.resid_delta.1"))
OTHER_CUT = (Node.parse("0.mlp.post_act.7"), Node.parse("0.mlp.resid_delta.2"))


def edited() -> Circuit:
    """Two cuts and two gains."""
    circuit = toy.circuit(*SOME, "0.attn.resid_delta.1", "0.mlp.resid_delta.2").cutting([CUT, OTHER_CUT])
    return circuit.rescaled(CUT[0], 2.0).rescaled(OTHER_CUT[0], -0.5)


@pytest.mark.parametrize(
    "edit",
    [
        lambda circuit: circuit.without([CUT[0]]),
        lambda circuit: circuit.keeping(circuit.nodes - {CUT[0]}),
        lambda circuit: circuit.with_frozen(CUT[0], 1.0),
    ],
)
def test_what_goes_takes_its_cuts_and_its_gain_along(edit: Callable[[Circuit], Circuit]):
    less = edit(edited())
    assert less.cut == frozenset([OTHER_CUT])
    assert less.gain == {OTHER_CUT[0]: -0.5}
    # As a target too.
    assert edited().without([CUT[1]]).cut == frozenset([OTHER_CUT])
    assert edited().without([CUT[1]]).gain == edited().gain
    # And the original is as it was.
    assert edited().cut == frozenset([CUT, OTHER_CUT])


def test_edges_are_those_that_are_not_cut():
    model, circuit = toy.model(), edited()
    ends = {edge.ends for edge in circuit.edges(model)}
    uncut = {edge.ends for edge in edges_between(model, circuit.nodes)}
    assert uncut - ends == {CUT, OTHER_CUT}
    assert circuit.edge_count(model) == count_edges(model, circuit.nodes) - 2 == len(ends)
    assert count_edges(model, circuit.nodes, cut=circuit.cut) == len(ends)


@pytest.mark.parametrize(
    ("cut", "gain", "why"),
    [
        ([CUT], {}, r"0\.attn\.resid_delta\.1, which it lacks"),
        (
            [(Node.parse("0.attn.v.4"), Node.parse("0.attn.resid_delta.0"))],
            {},
            r"0\.attn\.v\.4, which it lacks",
        ),
        ([], {Node.parse("0.attn.v.4"): 2.0}, r"0\.attn\.v\.4, which it lacks"),
    ],
)
def test_cuts_and_gains_are_of_kept_nodes(cut: list[tuple[Node, Node]], gain: dict[Node, float], why: str):
    with pytest.raises(CheckpointError, match=why):
        Circuit("toy", toy.nodes(*SOME), toy.values(), cut=frozenset(cut), gain=gain)
    for node, value in gain.items():
        with pytest.raises(CheckpointError, match=why):
            toy.circuit(*SOME).rescaled(node, value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_gain_and_bias_are_finite(value: float):
    with pytest.raises(ConfigError, match="gain is a finite number"):
        toy.circuit(*SOME).rescaled(CUT[0], value)
    with pytest.raises(ConfigError, match="bias is a finite number"):
        Circuit("toy", frozenset(), toy.values(), bias=value)


def test_a_gain_of_1_is_none():
    assert edited().rescaled(CUT[0], 1.0).gain == {OTHER_CUT[0]: -0.5}
    assert Circuit("toy", toy.nodes(*SOME), toy.values(), gain={CUT[0]: 1.0}).gain == {}


def test_without_a_circuit_its_cuts_and_gains_play_no_part():
    model, circuit = toy.model(), edited()
    plain = Circuit("toy", circuit.nodes, circuit.frozen)
    with plain.removed(model):
        expected = model(toy.TOKENS)
    with circuit.removed(model):
        assert torch.equal(model(toy.TOKENS), expected)


def test_equal_circuits():
    assert edited().equals(edited())
    assert not edited().equals(edited().rescaled(CUT[0], 3.0))
    assert not edited().equals(edited().without([CUT[0]]))
    moved = edited().with_frozen(Node.parse("0.attn.q.0"), 3.0)
    assert moved.nodes == edited().nodes
    assert not edited().equals(moved)
    for change in ({"bias": 0.1}, {"scale": 2.0}, {"cut": frozenset()}, {"info": {}}):
        assert not edited().equals(dataclasses.replace(edited(), **change))


def test_the_description_says_what_was_changed():
    assert dataclasses.replace(edited(), bias=-0.25).describe().splitlines() == [
        "circuit for toy: 7 nodes, scale 1, bias -0.25, 2 edges cut",
        "  0.attn.v: 1",
        "  0.attn.resid_delta: 1",
        "  0.mlp.post_act: 1",
        "  0.mlp.resid_delta: 1",
        "  1.attn.resid_delta: 1",
        "  1.mlp.act_in: 1",
        "  1.mlp.post_act: 1",
        "  0.attn.v.3 rescaled by 2",
        "  0.mlp.post_act.7 rescaled by -0.5",
    ]
