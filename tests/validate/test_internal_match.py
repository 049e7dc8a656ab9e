"""A true circuit does inside what its model does; one that lacks a part, or a random one, does not."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from sparsecircuits.model import GPTConfig, Node, SparseGPT, record
from sparsecircuits.model.gpt import Block
from sparsecircuits.validate.internal_match import (
    compare,
    heads_of,
    inside,
    internal_match,
    pattern,
    ratio,
    total_variation,
)
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.thresholds import THRESHOLDS
from tests.validate.subjects import PROGRAMS, planted, subject, truth


@pytest.mark.parametrize("sink", [True, False])
def test_the_pattern_times_the_values_is_what_the_head_mixes(sink: bool):
    config = GPTConfig(vocab_size=50, n_layer=1, d_model=24, d_head=4, n_ctx=16, sink=sink, bigram=False)
    model = SparseGPT(config, seed=1)
    block = model.blocks[0]
    assert isinstance(block, Block)
    with torch.no_grad():
        block.attn.c_attn.weight.mul_(40)  # so that patterns are far from even
        if block.attn.sink_logit is not None:
            block.attn.sink_logit.copy_(torch.linspace(-2, 2, 6))
        with record(model) as cache:
            model(torch.randint(50, (3, 9), generator=torch.Generator().manual_seed(0)))
        heads = [4, 1]
        mixed = pattern(block.attn, cache["0.attn.q"], cache["0.attn.k"], heads)
    v = cache["0.attn.v"].unflatten(-1, (6, 4)).transpose(1, 2)[:, heads]
    y = cache["0.attn.y"].unflatten(-1, (6, 4)).transpose(1, 2)[:, heads]
    torch.testing.assert_close(mixed @ v, y)
    assert mixed.std() > 0.1


def test_total_variation_counts_the_sink():
    even, half = torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.0])  # half attends to the sink by one half
    assert total_variation(even, half) == 0.5
    assert total_variation(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])) == 1
    assert total_variation(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 1.0])) == 1
    assert total_variation(half, half) == 0


def test_a_ratio_of_nothing():
    assert (ratio(1, 4), ratio(0, 0), ratio(1, 0)) == (0.25, 0, math.inf)


def test_heads_are_those_with_a_kept_query_key_or_value():
    model = planted().model  # heads of 4 channels
    names = ("0.attn.q.3", "0.attn.v.4", "1.attn.k.23", "0.mlp.post_act.9", "1.attn.act_in.0")
    assert heads_of(model, map(Node.parse, names)) == {0: [0, 1], 1: [5]}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("level", [1, 3])
def test_a_true_circuit_passes(name: str, level: int):
    found = internal_match(subject(name, 0, level), draws=2)
    assert found.passed
    assert found.estimate is not None
    assert found.estimate < 1e-9
    assert found.control is not None
    assert found.control > 0.4
    assert found.interval is not None
    assert 0 <= found.interval.low <= found.estimate <= found.interval.high
    if name == "bigram":  # a program of neurons
        assert found.figures["attention_distance"] is None
        assert "no head" in found.note
    else:
        assert found.figures["attention_distance"] < 1e-5
    assert Outcome.from_dict(found.to_dict()) == found


@torch.no_grad()
def test_a_gain_counts_as_what_is_seen_of_the_node():
    about = subject()
    node = Node.parse("0.attn.act_in.5")  # reads embeddings alone: the same in circuit and model
    circuit = about.circuit.keeping([node]).rescaled(node, 1.5)
    pairs = about.some
    with record(about.model, ["0.attn.act_in"]) as cache:
        about.model(pairs.tokens)
    real = torch.arange(pairs.tokens.shape[1]) <= pairs.last[:, None]
    x = cache["0.attn.act_in"][real][:, 5].double()
    mean = circuit.frozen["0.attn.act_in"][5].double()
    # mu + 1.5 (x - mu) is 0.5 (x - mu) off
    expected = (0.25 * (x - mean).square()).sum() / (x - x.mean()).square().sum()
    found = compare(about.model, circuit, pairs)
    assert found.unexplained == pytest.approx(float(expected), rel=1e-5)
    assert found.by_node == {node: pytest.approx(found.unexplained)}
    assert found.mean_of_nodes == pytest.approx(found.unexplained)


@pytest.mark.parametrize("level", [1, 2])
def test_what_lacks_a_node_does_other_things_behind_it(level: int):
    first = min(planted("quote", 0, level).truth.minimal[0].nodes)
    broken = truth("quote", 0, level, union=False).without([first])
    found = internal_match(subject("quote", 0, level, circuit=broken), draws=1)
    assert found.passed is False
    assert found.estimate is not None
    assert found.estimate > THRESHOLDS.unexplained


def test_nodes_of_large_values_hide_others_in_the_whole_but_not_in_their_layer():
    # Nodes that read embeddings are right whatever is missing, and large beside those of the second layer.
    whole = truth("variable")
    found = internal_match(subject("variable", circuit=whole.without([min(whole.nodes)])), draws=1)
    assert found.estimate is not None
    assert found.estimate < 0.05
    assert found.figures["by_layer"]["0"] < 0.05
    assert found.figures["by_layer"]["1"] > THRESHOLDS.unexplained
    assert found.figures["mean_of_nodes"] > THRESHOLDS.unexplained
    assert found.figures["worst_node_unexplained"] >= 1


def test_a_head_that_attends_elsewhere_fails_though_its_nodes_are_right():
    # Without its keys the head of the last step attends by means. Only nodes before it are compared.
    whole = truth()
    keys = [node for node in whole.nodes if node.layer == 1 and node.site == "attn.k"]
    behind = [node for node in whole.nodes if node.layer == 1 and node.site == "attn.resid_delta"]
    assert keys
    assert behind
    found = internal_match(subject(circuit=whole.without([*keys, *behind])), draws=1)
    assert found.estimate is not None
    assert found.estimate < 1e-9
    assert found.figures["attention_distance"] > THRESHOLDS.attention_distance
    assert found.passed is False


def test_the_last_token_is_looked_at_by_itself():
    about = subject(circuit=truth().without([node for node in truth().nodes if node.site == "attn.k"]))
    pairs = about.some
    alone, full = (inside(about.model, about.circuit, pairs, installed=which) for which in (True, False))
    (layer,) = full.patterns
    distance = total_variation(alone.patterns[layer], full.patterns[layer])  # [rows, one head, pos]
    by_hand = distance[torch.arange(len(pairs.last)), 0, pairs.last].mean()
    found = compare(about.model, about.circuit, pairs)
    assert found.attention_last == pytest.approx(float(by_hand))
    assert found.attention_last != pytest.approx(found.attention, rel=0.05)


def test_heads_of_which_values_alone_are_kept_are_told_apart():
    # A head of which neither queries nor keys are kept attends by means: the circuit claims no pattern.
    whole = truth("induction")
    heads = heads_of(planted("induction").model, whole.nodes, ("attn.q", "attn.k"))
    assert {layer: len(found) for layer, found in heads.items()} == {0: 1, 1: 1}
    blind = [node for node in whole.nodes if node.layer == 1 and node.site in ("attn.q", "attn.k")]
    found = internal_match(subject("induction", circuit=whole.without(blind)), draws=1).figures
    assert (found["heads"], found["heads_with_q_or_k"]) == (2, 1)
    assert found["attention_distance_with_q_or_k"] < 1e-5
    # One of two heads is right: the mean over both is half of what the other is off.
    assert found["attention_distance"] > 0.01
    everything = internal_match(subject("induction"), draws=1).figures
    assert everything["heads_with_q_or_k"] == everything["heads"] == 2
    assert everything["attention_distance_with_q_or_k"] == everything["attention_distance"]
    values = [node for node in whole.nodes if node.site in ("attn.q", "attn.k")]
    none = internal_match(subject("induction", circuit=whole.without(values)), draws=1).figures
    assert (none["heads_with_q_or_k"], none["attention_distance_with_q_or_k"]) == (0, None)


def test_a_random_circuit_fails():
    about = subject("induction")
    found = internal_match(about.about(next(about.random_circuits(1))), draws=1)
    assert found.passed is False


def test_padding_does_not_count():
    about = subject()
    pairs = about.some
    other = pairs.tokens.clone()
    padding = torch.arange(other.shape[1]) > pairs.last[:, None]
    assert padding.any()
    other[padding] = 17
    first = compare(about.model, next(about.random_circuits(1)), pairs)
    again = compare(about.model, next(about.random_circuits(1)), dataclasses.replace(pairs, tokens=other))
    assert first.unexplained == again.unexplained
    assert (first.attention, first.attention_last) == (again.attention, again.attention_last)


def test_an_empty_circuit_has_no_inside_and_the_model_stays_whole():
    about = subject()
    before = about.model(about.some.tokens)
    internal_match(about, draws=1)
    assert torch.equal(about.model(about.some.tokens), before)
    assert internal_match(about.about(about.circuit.keeping([]))).passed is None
