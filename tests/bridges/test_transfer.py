"""Transfer through an exact bridge is an interchange within the dense model, and its controls are known."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from sparsecircuits.bridges.patching import spanning
from sparsecircuits.bridges.sides import side_of
from sparsecircuits.bridges.transfer import Transfer, transfer
from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.tasks.loss import answer_advantage
from sparsecircuits.tasks.pairs import TokenPairs
from tests.bridges.exact import GPT2_SHAPE, alone, as_gpt2, bridge_of, drawn_model, drawn_pairs, exact
from tests.bridges.test_steering import patched, plain


def shares(model: SparseGPT, pairs: TokenPairs, nodes: list[Node]) -> tuple[float, float]:
    """Share of the change of mind, and of flips, of an ordinary interchange."""
    clean = answer_advantage(plain(model, pairs), pairs)
    now = answer_advantage(patched(model, pairs, nodes), pairs)
    other = -clean.roll(len(pairs))
    return float((now - clean).mean() / (other - clean).mean()), float((now < 0).float().mean())


@pytest.mark.parametrize("name", ["quote", "depth", "variable"])
def test_through_an_exact_bridge_it_is_an_interchange_of_the_circuit(name: str):
    made = exact(name)
    found = transfer(*made.sides, made.circuit, made.pairs, made.reference, draws=3, rows=10)
    share, flips = shares(made.dense, made.pairs, made.reads)
    assert found.share["circuit"].estimate == pytest.approx(share, abs=1e-3)
    assert found.flips["circuit"].estimate == pytest.approx(flips)
    assert found.nodes == tuple(map(str, made.reads))
    assert found.left_out == len(made.circuit) - len(made.reads) > 0
    assert found.prompts == found.every.prompts == 24
    # Both prompts end alike, so all reads of the other one are its answer.
    for kind in ("all", "own"):
        assert found.share[kind].estimate == pytest.approx(1, abs=1e-3)
        assert found.flips[kind].estimate == 1
    assert found.share["circuit"].estimate > 0.5 > abs(found.share["random"].estimate) + 0.3
    per_draw = found.share["random"].per_draw
    assert len(per_draw or ()) == 3
    assert found.share["random"].estimate == pytest.approx(sum(per_draw or ()) / 3)
    for one in (*found.share.values(), *found.flips.values()):
        assert one.low - 1e-6 <= one.estimate <= one.high + 1e-6


def test_circuits_of_one_model_to_itself_at_any_nodes():
    """Of nodes that are read one after the other, each is set once: what follows does not count twice."""
    model = drawn_model(GPT2_SHAPE, 0)
    side, bridge, pairs = side_of(model), bridge_of(torch.eye(16), locations=5), answered_rightly(model)
    nodes = [Node.parse(f"{site}.{c}") for site in READS for c in (1, 2, 6, 11)]
    circuit = Circuit("made", frozenset([*nodes, Node.parse("0.attn.q.1")]), FROZEN)
    found = transfer(side, side, bridge, circuit, pairs, pairs, draws=2)
    share, flips = shares(model, pairs, nodes)
    assert found.share["circuit"].estimate == pytest.approx(share, rel=1e-3)
    assert found.flips["circuit"].estimate == pytest.approx(flips)
    rest = [Node.parse(f"{site}.{c}") for site in READS for c in range(16) if c not in (1, 2, 6, 11)]
    assert found.share["rest"].estimate == pytest.approx(shares(model, pairs, rest)[0], rel=1e-3)
    assert (found.left_out, found.random_nodes) == (1, 16)


def test_a_gpt2_is_moved_like_the_model_that_it_copies():
    sparse = drawn_model(GPT2_SHAPE, 0)
    dense, pairs = side_of(as_gpt2(sparse)), answered_rightly(sparse)
    bridge = bridge_of(torch.cat([torch.eye(16), -torch.eye(16)]), locations=5)
    nodes = [Node.parse(f"{site}.{c}") for site in READS for c in (1, 2, 6, 11)]
    circuit = Circuit("made", frozenset(nodes), FROZEN)
    found = transfer(dense, side_of(sparse), bridge, circuit, pairs, pairs, draws=1)
    # The copy's gains are the same for x and for -x, so that what is set is the node and nothing else.
    assert found.share["circuit"].estimate == pytest.approx(shares(sparse, pairs, nodes)[0], rel=1e-2)


READS = ("0.attn.act_in", "0.mlp.act_in", "1.attn.act_in", "1.mlp.act_in")
FROZEN = {name: torch.zeros(16) for name in READS} | {"0.attn.q": torch.zeros(32)}


def answered_rightly(model: SparseGPT) -> TokenPairs:
    """Random pairs with the candidates that suit the model: the token that most gains on either side."""
    pairs = drawn_pairs(12)
    logits = plain(model, pairs).log_softmax(-1)
    ahead = logits[:12] - logits[12:]
    left, right = ahead.argmax(-1), ahead.argmin(-1)
    # A candidate's lead must change sides; so pairs where it does not are given to the others.
    pairs = dataclasses.replace(pairs, target=torch.cat([left, right]), other=torch.cat([right, left]))
    fine = answer_advantage(plain(model, pairs), pairs) > 0
    return pairs.rows(torch.nonzero(fine[:12] & fine[12:]).flatten())


def test_only_pairs_that_are_answered_rightly_count():
    made = exact()
    n = len(made.pairs)
    quarter = torch.arange(n) % 4 == 0
    rows = torch.cat([quarter, quarter])
    pairs = dataclasses.replace(
        made.pairs,
        target=torch.where(rows, made.pairs.other, made.pairs.target),
        other=torch.where(rows, made.pairs.target, made.pairs.other),
    )
    found = transfer(*made.sides, made.circuit, pairs, made.reference, draws=1)
    right = transfer(*made.sides, made.circuit, made.pairs.rows(torch.nonzero(~quarter).flatten()),
                     made.reference, draws=1)  # fmt: skip
    assert (found.prompts, found.every.prompts) == (18, 24)
    assert found.share["circuit"].estimate == pytest.approx(right.share["circuit"].estimate, abs=1e-4)
    none = dataclasses.replace(made.pairs, target=made.pairs.other, other=made.pairs.target)
    with pytest.raises(ConfigError, match="there is no pair that the dense model answers rightly"):
        transfer(*made.sides, made.circuit, none, made.reference)


def test_one_token_against_all():
    made = exact("depth")
    pairs = alone(made.pairs)
    found = transfer(*made.sides, made.circuit, pairs, alone(made.reference), draws=1, rows=6)
    assert (found.prompts, found.every.prompts) == (11, 12)  # once the token has less than half
    n = len(pairs)
    # Of the prompts on the right alone: log-odds of anything else than the token.
    clean, now = (
        answer_advantage(logits, pairs)[n:]
        for logits in (plain(made.dense, pairs), patched(made.dense, pairs, made.reads))
    )
    other = -answer_advantage(plain(made.dense, pairs), pairs)[:n]
    share = float((now - clean).mean() / (other - clean).mean())
    assert found.every.share["circuit"].estimate == pytest.approx(share, abs=1e-3)


def test_json_and_batches():
    made = exact()

    def of(rows: int) -> Transfer:
        return transfer(*made.sides, made.circuit, made.pairs, made.reference, draws=2, rows=rows)

    few, many = of(6), of(256)
    data = json.loads(json.dumps(many.to_dict()))
    assert Transfer.from_dict(data) == many
    assert (data["format"], data["version"]) == ("sparsecircuits.transfer", 1)
    assert list(data["share"]) == list(data["flips"]) == ["circuit", "rest", "all", "own", "random"]
    for name in data["share"]:
        for a, b in ((few.share, many.share), (few.flips, many.flips)):
            assert a[name].estimate == pytest.approx(b[name].estimate, abs=1e-3)
            assert a[name].low == pytest.approx(b[name].low, abs=1e-3)


def test_random_nodes_are_others_that_are_active():
    """The circuit has all but two channels of one site, one of which reads 0: there is one other to draw."""
    model = drawn_model(GPT2_SHAPE, 0)
    side, bridge, pairs = side_of(model), bridge_of(torch.eye(16), locations=5), answered_rightly(model)
    with torch.no_grad():
        model.get_parameter("transformer.wte.weight")[:, 15] = 0
    nodes = frozenset(Node.parse(f"0.attn.act_in.{c}") for c in range(14))
    found = transfer(side, side, bridge, Circuit("made", nodes, FROZEN), pairs, pairs, draws=2)
    assert found.random_nodes == 1
    share = shares(model, pairs, [Node.parse("0.attn.act_in.14")])[0]
    assert found.every.share["random"].per_draw == pytest.approx([share, share], abs=1e-3)


def test_spans():
    rows = torch.tensor([[3.0, 0, 0], [0, 0, 0], [6.0, 0, 0], [1.0, 1, 0]])
    basis = spanning(rows)
    assert basis.shape == (2, 3)
    torch.testing.assert_close(basis.T @ basis, torch.diag(torch.tensor([1.0, 1, 0])))
    assert spanning(torch.zeros(2, 3)).shape == spanning(torch.zeros(0, 3)).shape == (0, 3)


def test_a_circuit_without_reads():
    made = exact()
    rest = made.circuit.keeping(node for node in made.circuit.nodes if not node.site.endswith("act_in"))
    with pytest.raises(ConfigError, match="has no node that reads the residual stream"):
        transfer(*made.sides, rest, made.pairs, made.reference)
