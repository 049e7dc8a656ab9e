"""Each contribution is what an intervention shows, and all together add up to the target."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, Node, SiteName, SparseGPT, intervene
from sparsecircuits.model.sites import FINAL_SITE, WRITES
from sparsecircuits.viz.drawing.spots import Spot
from sparsecircuits.viz.drawing.trace import Trace
from tests.circuit import toy

TOKENS = torch.tensor([3, 1, 4, 1, 5, 9, 2])
CONFIGS = {
    "all on": toy.CONFIG,
    "learned positions": toy.CONFIG.replace(positions="learned"),
    "positions beside": toy.CONFIG.replace(positions="concat", d_pos=4),
    "no sink, no AbsTopK": toy.CONFIG.replace(sink=False, topk_fraction=None),
}


def model_of(config: GPTConfig) -> SparseGPT:
    model = SparseGPT(config, seed=2).eval()
    generator = torch.Generator().manual_seed(8)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:  # norms, biases and sinks that matter
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
        if name == "bigram_table":
            parameter.data.normal_(generator=generator)
    return model


def circuit_of(config: GPTConfig, *, keep: float = 0.7, cut: bool = False) -> Circuit:
    """A good part of all nodes; every head has a live key."""
    rng = random.Random(6)
    nodes = [node for node in sorted(toy.every_node(config)) if rng.random() < keep or node.site == "attn.k"]
    circuit = Circuit("toy", frozenset(nodes), toy.values(config), 1.7)
    if not cut:
        return circuit
    edges = circuit.edges(model_of(config))
    return circuit.cutting(edge.ends for edge in rng.sample(edges, len(edges) // 5))


def site_inputs(model: SparseGPT, circuit: Circuit, tokens: Tensor) -> dict[str, Tensor]:
    """Site -> [pos, width] what comes in, before AbsTopK and nonlinearities."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[object, tuple[Tensor, ...]], None]:
        return lambda _, inputs: found.__setitem__(name, inputs[0][0].detach())

    handles = [site.register_forward_pre_hook(keep(name)) for name, site in model.sites().items()]
    with circuit.installed(model), torch.no_grad():
        model(tokens[None])
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_cutting_an_edge_takes_its_contribution_off(name: str) -> None:
    """A cut holds the source at its frozen value for this target alone."""
    config = CONFIGS[name]
    model, circuit = model_of(config), circuit_of(config, cut=True)
    trace, before = Trace(model, circuit, TOKENS), site_inputs(model, circuit, TOKENS)
    edges = random.Random(1).sample(circuit.edges(model), 30)
    assert {edge.source.site for edge in edges} == {"attn.act_in", "attn.v", "mlp.act_in", "mlp.post_act"}
    for edge in edges:
        after = site_inputs(model, circuit.cutting([edge.ends]), TOKENS)
        at, index = str(edge.target.at), edge.target.index
        for position in range(len(TOKENS)):
            hops = trace.incoming(Spot(str(edge.target), position))
            told = sum(hop.contribution for hop in hops if hop.source.what == str(edge.source))
            lost = float(before[at][position, index] - after[at][position, index])
            assert lost == pytest.approx(told, abs=2e-5)


def test_a_value_at_one_token_reaches_later_tokens_by_the_pattern() -> None:
    model, circuit = model_of(toy.CONFIG), circuit_of(toy.CONFIG)
    trace, before = Trace(model, circuit, TOKENS), site_inputs(model, circuit, TOKENS)
    edge = next(edge for edge in circuit.edges(model) if edge.source.site == "attn.v")
    mean = trace.mean(edge.source)

    def frozen_at_2(x: Tensor) -> Tensor:
        x = x.clone()
        x[0, 2, edge.source.index] = mean
        return x

    found: dict[str, Tensor] = {}
    site = model.sites()[str(edge.target.at)]
    handle = site.register_forward_pre_hook(lambda _, inputs: found.update(y=inputs[0][0].detach()))
    with circuit.installed(model), intervene(model, {str(edge.source.at): frozen_at_2}), torch.no_grad():
        model(TOKENS[None])
    handle.remove()
    for position in range(len(TOKENS)):
        hops = trace.incoming(Spot(str(edge.target), position))
        told = [hop for hop in hops if hop.source == Spot(str(edge.source), 2)]
        assert len(told) == (position >= 2)
        lost = before[str(edge.target.at)][position] - found["y"][position]
        assert float(lost[edge.target.index]) == pytest.approx(sum(h.contribution for h in told), abs=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_read_is_what_its_channel_was_given(name: str) -> None:
    """Beside the hops there are the frozen values of all writes so far, times the norm's factor."""
    config = CONFIGS[name]
    model, circuit = model_of(config), circuit_of(config)
    trace, inputs = Trace(model, circuit, TOKENS), site_inputs(model, circuit, TOKENS)
    reads = [node for node in sorted(circuit.nodes) if node.site in ("attn.act_in", "mlp.act_in")]
    assert len(reads) > 15
    for node, position in itertools.product(reads, (0, 6)):
        hops = trace.incoming(Spot(str(node), position))
        constant = 0.0
        if node.index < config.d_model:
            norm = trace._read_factor(node)[position]
            constant = norm * frozen_writes(circuit, config, node.index, node.at)
        whole = float(inputs[str(node.at)][position, node.index])
        assert sum(hop.contribution for hop in hops) + constant == pytest.approx(whole, abs=2e-5)


def frozen_writes(circuit: Circuit, config: GPTConfig, channel: int, before: SiteName | None = None) -> float:
    sites = [at for at in config.site_names() if at.site in WRITES and (before is None or at < before)]
    return sum(float(circuit.frozen[str(at)][channel]) for at in sites)


def test_what_attention_writes_adds_up() -> None:
    """Values, what live heads let through of frozen values, and the bias are all there is."""
    model, circuit = model_of(toy.CONFIG), circuit_of(toy.CONFIG)
    trace, inputs = Trace(model, circuit, TOKENS), site_inputs(model, circuit, TOKENS)
    writes = [node for node in sorted(circuit.nodes) if node.site == "attn.resid_delta"]
    for node, position in itertools.product(writes, range(len(TOKENS))):
        hops = trace.incoming(Spot(str(node), position))
        assert {hop.source.what.partition(" ")[0] for hop in hops} >= {"head"}
        bias = float(trace._block(node.layer).attn.c_proj.bias.detach()[node.index])
        whole = float(inputs[str(node.at)][position, node.index])
        assert sum(hop.contribution for hop in hops) + bias == pytest.approx(whole, abs=2e-5)


@pytest.mark.parametrize("answers", [(3, 7), (3,)])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_answer_adds_up(name: str, answers: tuple[int, ...]) -> None:
    config = CONFIGS[name]
    model, circuit = model_of(config), circuit_of(config)
    trace = Trace(model, circuit, TOKENS)
    direction = trace.direction(answers)
    assert float(direction.sum()) == pytest.approx(0, abs=1e-6)
    hops = trace.answer_hops(direction)
    x = trace.cache[FINAL_SITE][-1]
    row = (direction @ model.lm_head.weight).detach() * trace._norm(x, model.transformer["ln_f"])
    channels = range(config.d_model)
    frozen = torch.tensor([frozen_writes(circuit, config, channel) for channel in channels])
    constant = circuit.scale * float(row @ frozen)
    lead = float(trace.logits @ direction)
    assert trace.answer_constant(direction) == pytest.approx(constant, abs=1e-5)
    assert sum(hop.contribution for hop in hops) + constant == pytest.approx(lead, abs=1e-4)
    logits = circuit.logits(model, TOKENS[None])[0, -1]
    assert torch.allclose(trace.logits, logits)
    if len(answers) == 2:
        assert lead == pytest.approx(float(logits[3] - logits[7]), abs=1e-5)


def test_a_score_is_lost_by_what_a_frozen_key_or_query_gave() -> None:
    model, circuit = model_of(toy.CONFIG), circuit_of(toy.CONFIG)
    trace = Trace(model, circuit, TOKENS)
    parts = trace.score_parts(1, 0, at=5, to=2)
    assert {(spot.what.split(".")[2], spot.position) for spot, _ in parts} == {("q", 5), ("k", 2)}
    for spot, part in parts:
        assert spot.node is not None
        after = Trace(model, circuit.without([spot.node]), TOKENS)
        lost = trace.score(1, 0, at=5, to=2) - after.score(1, 0, at=5, to=2)
        assert lost == pytest.approx(part, abs=1e-5)
    row = trace.pattern(1)[0, 5]
    assert row[6] == 0
    assert 0 < float(row.sum()) < 1  # the sink has the rest


def test_values_are_those_after_gains() -> None:
    model = model_of(toy.CONFIG)
    circuit = circuit_of(toy.CONFIG)
    node = next(node for node in sorted(circuit.nodes) if node.site == "mlp.post_act" and node.layer == 0)
    plain, twice = (Trace(model, c, TOKENS) for c in (circuit, circuit.rescaled(node, 2.0)))
    spot = Spot(str(node), 4)
    assert twice.deviation(spot) == pytest.approx(2 * plain.deviation(spot), abs=1e-5)


def test_a_bias_is_a_source_of_its_own() -> None:
    trace = Trace(model_of(toy.CONFIG), circuit_of(toy.CONFIG), TOKENS)
    direction = trace.direction((3, 7))
    without, with_bias = trace.answer_hops(direction), trace.answer_hops(direction, bias=-0.4)
    assert with_bias[:-1] == without
    assert (with_bias[-1].source, with_bias[-1].contribution) == (Spot("bias", 6), -0.4)


def test_what_it_refuses() -> None:
    model, circuit = model_of(toy.CONFIG), circuit_of(toy.CONFIG)
    with pytest.raises(ConfigError, match=r"of one prompt, \[pos\] ids; got shape \(2, 8\)"):
        Trace(model, circuit, toy.TOKENS)
    with pytest.raises(ConfigError, match="9 tokens, but the model's n_ctx is 8"):
        Trace(model, circuit, torch.zeros(9, dtype=torch.long))
    gone = next(node for node in sorted(toy.every_node()) if node not in circuit.nodes)
    trace = Trace(model, circuit, TOKENS)
    for spot in (Spot(str(gone), 0), Spot("token", 0), Spot(str(min(circuit.nodes)), 7)):
        with pytest.raises(ConfigError, match="is no node of the circuit for toy at a token"):
            trace.incoming(spot)


def test_a_spot_knows_what_it_is() -> None:
    assert Spot("0.attn.v.3", 2).node == Node.parse("0.attn.v.3")
    assert (Spot("head 1.3", 0).head, Spot("head 1.3", 0).node) == ((1, 3), None)
    assert Spot("token", 0).node is Spot("token", 0).head is None
    assert str(Spot("0.attn.v.3", 2)) == "0.attn.v.3 @ 2"
