"""The hand clean-up on a model that is small enough to work out by hand, and back again."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from sparsecircuits.circuit import Circuit, load_circuit, save_circuit
from sparsecircuits.errors import CheckpointError, ConfigError, PruneError
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune.edits import EDITS, Step, edits, undo, undo_all
from sparsecircuits.prune.simplify import (
    PairLoss,
    Simplified,
    SimplifyConfig,
    absorbed,
    alike_pairs,
    node_values,
    simplify,
)
from sparsecircuits.tasks.pairs import TokenPairs
from tests.prune import planted

QUOTE, IS_QUOTE, WRITTEN, BALLAST = 0, 1, 3, 7


def node(text: str) -> Node:
    return Node.parse(text)


Q, K, V, TWIN = map(node, ("0.attn.q.0", "0.attn.k.0", "0.attn.v.1", "0.attn.v.2"))
READ_QUOTE, READ_IS, READ_BALLAST = (
    node(f"0.attn.act_in.{channel}") for channel in (QUOTE, IS_QUOTE, BALLAST)
)
WRITE = node(f"0.attn.resid_delta.{WRITTEN}")
NODES = frozenset([Q, K, V, TWIN, READ_QUOTE, READ_IS, READ_BALLAST, WRITE])


@pytest.fixture(scope="module")
def model() -> SparseGPT:
    """One head that looks for the quote, asks always the same, and says everything twice.

    Embeddings: 8 in BALLAST for every token; at a quote 1 in IS_QUOTE and +1 or -1 in QUOTE. The norm divides
    by the root mean square over 8 channels: sqrt(64 / 8) = 2.8284 at most tokens, sqrt(66 / 8) = 2.8723 at
    quotes. All in one head, without a sink:

    q.0 = BALLAST = 8 / 2.8284 = 2.8284 at most tokens; 8 / 2.8723 = 2.7853 at quotes
    k.0 = 4 IS_QUOTE = 4 / 2.8723 = 1.3926 at quotes, else 0
    v.1 = 8 QUOTE = +-2.7853 at quotes, else 0; v.2 = 4 QUOTE, half of it
    WRITTEN = v.1 + v.2, mixed
    """
    model = SparseGPT(planted.CONFIG)
    single, double = (planted.byte_tokenizer().encode(quote)[0] for quote in ("'", '"'))
    attention = planted.block(model).attn
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ln_" not in name:
                parameter.zero_()
        embedding = model.get_parameter("transformer.wte.weight")
        embedding[:, BALLAST] = 8
        embedding[[single, double], IS_QUOTE] = 1
        embedding[single, QUOTE], embedding[double, QUOTE] = 1, -1
        rows = {"q": 0, "k": 8, "v": 16}  # of c_attn
        attention.c_attn.weight[rows["q"], BALLAST] = 1
        attention.c_attn.weight[rows["k"], IS_QUOTE] = 4
        attention.c_attn.weight[rows["v"] + 1, QUOTE] = 8
        attention.c_attn.weight[rows["v"] + 2, QUOTE] = 4
        attention.c_proj.weight[WRITTEN, [1, 2]] = 1
        model.lm_head.weight[single, WRITTEN], model.lm_head.weight[double, WRITTEN] = 1, -1
    return model.eval()


@pytest.fixture(scope="module")
def pairs() -> TokenPairs:
    """Prompts of seven tokens, the quote the fourth."""
    found = planted.STRING_CLOSING.pairs(planted.byte_tokenizer(), "train", 16)
    assert set(found.last.tolist()) == {6}
    return found


@pytest.fixture
def circuit() -> Circuit:
    """Frozen values as of some other text, which the task's prompts do not have."""
    frozen = {str(site): torch.zeros(planted.CONFIG.width(site.site)) for site in planted.CONFIG.site_names()}
    frozen["0.attn.v"][[1, 2]] = torch.tensor([0.5, 0.1])
    return Circuit("string_closing", NODES, frozen, info={"target": 0.2, "seed": 3})


def done(model: SparseGPT, circuit: Circuit, pairs: TokenPairs) -> Simplified:
    return simplify(model, circuit, pairs)


def test_the_model_does_what_its_comment_says(model: SparseGPT, circuit: Circuit, pairs: TokenPairs):
    # The last token's score of the quote is 2.8284 * 1.3926 / sqrt(4) = 1.9694, of others 0.
    share = math.exp(1.9694) / (math.exp(1.9694) + 6)
    assert share == pytest.approx(0.5443, abs=1e-4)
    written = share * 1.5 * 2.7853
    # The last norm; then the logits of the two quotes are + and - what is written.
    logit = written / math.sqrt((64 + written**2) / 8)
    loss = math.log(1 + math.exp(-2 * logit))
    assert loss == pytest.approx(0.1935, abs=1e-3)
    assert PairLoss(model, (pairs,), scale=1.0, target=9.0)(circuit) == pytest.approx(loss, abs=1e-4)


def test_a_constant_query_and_a_redundant_writer_go(model: SparseGPT, circuit: Circuit, pairs: TokenPairs):
    found = done(model, circuit, pairs)
    assert [(step.kind, step.nodes) for step in found.steps] == [
        ("constant", (Q,)),
        ("drop", (READ_BALLAST,)),  # which fed the query alone
        ("absorb", (TWIN,)),
    ]
    assert found.circuit.nodes == {K, V, READ_QUOTE, READ_IS, WRITE}
    # Of seven tokens one is a quote.
    mean = (6 * 8 / math.sqrt(8) + 8 / math.sqrt(66 / 8)) / 7
    assert float(found.circuit.frozen["0.attn.q"][0]) == pytest.approx(mean, abs=1e-5)
    # v.2 = v.1 / 2 and their weights are the same: 1 + 1/2; and where v.1 is at 0.5, v.2 is at 0.25.
    assert found.circuit.gain == {V: pytest.approx(1.5)}
    assert float(found.circuit.frozen["0.attn.v"][2]) == pytest.approx(0.25)
    assert float(found.circuit.frozen["0.attn.v"][1]) == 0.5
    # The query at the last token is 2.8284, a bit more than the mean, 2.8223; the rest is exact.
    constant, dropped, absorbed = found.steps
    assert 1e-4 < constant.price < 2e-3
    assert dropped.price == pytest.approx(0, abs=1e-6)
    assert absorbed.price == pytest.approx(0, abs=1e-6)
    assert found.after == pytest.approx(found.before + sum(step.price for step in found.steps), abs=1e-9)
    loss = PairLoss(model, (pairs,), scale=1.0, target=9.0)
    assert loss(found.circuit) == found.after == constant.after + dropped.price + absorbed.price
    assert (constant.before, absorbed.after) == (found.before, found.after)
    assert constant.after == dropped.before
    assert found.circuit.edge_count(model) == 3  # into k and v, and out of v


def test_without_the_gain_the_target_is_missed(model: SparseGPT, circuit: Circuit, pairs: TokenPairs):
    """What is written falls to 2/3, so nodes are not simply dropped."""
    found = done(model, circuit, pairs)
    plain = found.circuit.rescaled(V, 1.0)
    loss = PairLoss(model, (pairs,), scale=1.0, target=9.0)
    assert loss(plain) > 0.25 > 0.2 >= found.after
    with pytest.raises(PruneError, match=r"own loss here is 0\.\d+, above the target 0\.2"):
        done(model, circuit.without([TWIN]), pairs)


def test_a_writer_that_absorbed_another_does_so_exactly(
    model: SparseGPT, circuit: Circuit, pairs: TokenPairs
):
    """From any stored values, either way round; of a node that has a gain already, too."""
    with torch.no_grad(), circuit.installed(model):
        expected = model(pairs.tokens)
    values = node_values(model, circuit, [pairs])
    for kept, gone, gain in ((V, TWIN, 1.5), (TWIN, V, 3.0)):
        less = absorbed(model, circuit, kept, gone, values)
        assert less.gain == {kept: pytest.approx(gain)}
        with torch.no_grad(), less.installed(model):
            torch.testing.assert_close(model(pairs.tokens), expected, atol=1e-5, rtol=0)
    doubled = circuit.rescaled(V, 2.0)
    with torch.no_grad(), doubled.installed(model):
        expected = model(pairs.tokens)
    less = absorbed(model, doubled, V, TWIN, node_values(model, doubled, [pairs]))
    # v.2 is a quarter of what v.1 now is: 2 * (1 + 1/4).
    assert less.gain == {V: pytest.approx(2.5)}
    with torch.no_grad(), less.installed(model):
        torch.testing.assert_close(model(pairs.tokens), expected, atol=1e-5, rtol=0)


def test_only_nodes_that_do_the_same_are_alike(model: SparseGPT, circuit: Circuit, pairs: TokenPairs):
    values = node_values(model, circuit, [pairs])
    assert {len(of) for of in values.values()} == {7 * 32}
    assert alike_pairs(model, circuit, values, 0.95) == [(V, TWIN)]
    # One reader no longer shared; and k, which also is nonzero at quotes alone, is read by no weight.
    assert alike_pairs(model, circuit.cutting([(TWIN, WRITE)]), values, 0.95) == []
    # Two writers of one channel are, in whatever layer; of two channels not.
    second, elsewhere = node(f"0.mlp.resid_delta.{WRITTEN}"), node("0.mlp.resid_delta.4")
    more = circuit.keeping(circuit.nodes | {second, elsewhere})
    same = {WRITE: values[V], second: -3 * values[V] + 1, elsewhere: values[V]}
    assert alike_pairs(model, more, same, 0.95) == [(WRITE, second)]
    assert alike_pairs(model, more, {**same, second: torch.ones(224).double()}, 0.0) == [(WRITE, second)]
    assert alike_pairs(model, more, {**same, second: torch.ones(224).double()}, 0.01) == []


def test_writers_of_one_channel_add_up(model: SparseGPT, circuit: Circuit):
    """b = -3 a + 1 with mu = 0: the gain is 1 - 3, b is held at 1."""
    second = node(f"0.mlp.resid_delta.{WRITTEN}")
    more = circuit.keeping(circuit.nodes | {second})
    a = torch.tensor([1.0, 2.0, 4.0, 5.0]).double()
    less = absorbed(model, more, WRITE, second, {WRITE: a, second: -3 * a + 1})
    assert less.gain == {WRITE: pytest.approx(-2.0)}
    assert float(less.frozen["0.mlp.resid_delta"][WRITTEN]) == pytest.approx(1.0)


def test_the_gain_is_that_of_least_squares(model: SparseGPT, circuit: Circuit):
    """Weights 1 and 2 out of a, 3 and 0 out of b, b = a: 1 + (1 * 3 + 2 * 0) / (1 + 4) = 1.6."""
    wide = SparseGPT(planted.CONFIG)
    wide.load_state_dict(model.state_dict())
    second = node("0.attn.resid_delta.4")
    with torch.no_grad():
        weight = planted.block(wide).attn.c_proj.weight
        weight[WRITTEN, [1, 2]], weight[4, [1, 2]] = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 0.0])
    a = torch.tensor([1.0, 2.0, 4.0]).double()
    more = circuit.keeping(circuit.nodes | {second})
    assert absorbed(wide, more, V, TWIN, {V: a, TWIN: a}).gain == {V: pytest.approx(1.6)}
    # Without the edge V -> 4, its weight is 0: 1 + 3 / 1.
    less = absorbed(wide, more.cutting([(V, second)]), V, TWIN, {V: a, TWIN: a})
    assert less.gain == {V: pytest.approx(4.0)}


def test_every_step_can_be_taken_back(model: SparseGPT, circuit: Circuit, pairs: TokenPairs, tmp_path: Path):
    found = done(model, circuit, pairs)
    save_circuit(found.circuit, tmp_path)
    loaded = load_circuit(tmp_path)
    assert loaded.equals(found.circuit)
    assert edits(loaded) == found.steps
    loss = PairLoss(model, (pairs,), scale=1.0, target=9.0)
    for some in (found.circuit, loaded):
        for step in reversed(found.steps):
            assert loss(some) == step.after
            some = undo(some)
            assert loss(some) == step.before
        assert some.equals(circuit)
        assert EDITS not in some.info
    assert undo_all(loaded).equals(circuit)
    assert undo_all(circuit) is circuit
    assert found.circuit.info["seed"] == 3


def test_steps_that_share_nothing_can_be_taken_back_in_any_order(
    model: SparseGPT, circuit: Circuit, pairs: TokenPairs
):
    found = done(model, circuit, pairs)
    constant, dropped, absorbed = found.steps
    some = undo(found.circuit, constant)
    assert some.nodes == found.circuit.nodes | {Q}
    assert float(some.frozen["0.attn.q"][0]) == 0.0
    assert edits(some) == (dropped, absorbed)
    assert undo(undo(some, dropped), absorbed).equals(circuit)
    with pytest.raises(ConfigError, match="no such edit"):
        undo(some, constant)
    with pytest.raises(ConfigError, match="no such edit"):
        undo(circuit)


def test_a_step_under_a_later_one_stays(circuit: Circuit):
    """First an edge of a node is cut, then the node removed: the cut goes with it."""
    first = circuit.cutting([(V, WRITE)])
    cut = Step.between("drop", circuit, first, 0.1, 0.2)
    second = first.rescaled(TWIN, 2.0)
    rescaled = Step.between("absorb", first, second, 0.2, 0.2)
    third = second.without([V, TWIN])
    removed = Step.between("drop", second, third, 0.2, 0.3)
    assert (cut.nodes, cut.edges) == ((), ((V, WRITE),))
    assert (removed.nodes, removed.edges, removed.freed) == ((V, TWIN), (), ((V, WRITE),))
    assert [tuple(change) for change in removed.gain] == [(TWIN, 2.0, 1.0)]
    log = [json.loads(json.dumps(step.to_dict())) for step in (cut, rescaled, removed)]
    assert [Step.from_dict(data) for data in log] == [cut, rescaled, removed]
    last = dataclasses.replace(third, info={**circuit.info, EDITS: log})
    for step in (cut, rescaled):
        with pytest.raises(ConfigError, match="undo what came later"):
            undo(last, step)
    back = undo(last)
    assert (back.cut, back.gain) == (second.cut, second.gain)
    assert undo(back, cut).gain == {TWIN: 2.0}
    assert undo_all(last).equals(circuit)


def test_edges_are_dropped_and_come_back(model: SparseGPT, circuit: Circuit, pairs: TokenPairs):
    """A weight of 1e-6 does not matter."""
    wide = SparseGPT(planted.CONFIG)
    wide.load_state_dict(model.state_dict())
    with torch.no_grad():
        planted.block(wide).attn.c_attn.weight[0, QUOTE] = 1e-6
    found = simplify(wide, circuit, pairs, config=SimplifyConfig(kinds=("drop",)))
    assert [(step.nodes, step.edges) for step in found.steps] == [((), ((READ_QUOTE, Q),))]
    assert found.circuit.cut == {(READ_QUOTE, Q)}
    assert str(found.steps[0]).startswith("drop 0.attn.act_in.0 -> 0.attn.q.0: 0.19")
    assert undo(found.circuit).equals(circuit)
    found = simplify(wide, circuit, pairs, config=SimplifyConfig(kinds=("drop",), edges=False))
    assert found.steps == ()
    assert found.circuit.equals(circuit)


def test_limits(model: SparseGPT, circuit: Circuit, pairs: TokenPairs):
    # The constant query costs more than this, whether it is frozen or what it reads.
    dear = simplify(model, circuit, pairs, config=SimplifyConfig(price=1e-4))
    assert [(step.kind, step.nodes) for step in dear.steps] == [("absorb", (TWIN,))]
    moving = simplify(model, circuit, pairs, config=SimplifyConfig(kinds=("constant",), steady=0.0))
    assert moving.steps == ()
    few = simplify(model, circuit, pairs, config=SimplifyConfig(evaluations=3))
    assert few.evaluations == 3
    asked = []

    def loss(some: Circuit) -> float:
        asked.append(some)
        return 0.1 if Q in some.nodes else 9.0

    own = simplify(model, circuit, [pairs, pairs], loss=loss, target=0.5)
    assert len(asked) == own.evaluations
    assert Q in own.circuit.nodes
    assert own.after == 0.1


def test_the_bias_counts(model: SparseGPT, circuit: Circuit, pairs: TokenPairs):
    """A bias of 5 for the left candidate makes half of the prompts wrong."""
    loss = PairLoss(model, (pairs,), scale=1.0, target=9.0)
    assert loss(dataclasses.replace(circuit, bias=5.0)) > 1.5
    with pytest.raises(PruneError, match="above the target"):
        done(model, dataclasses.replace(circuit, bias=5.0), pairs)


def test_no_prompts(model: SparseGPT, circuit: Circuit):
    with pytest.raises(PruneError, match="no prompts"):
        simplify(model, circuit, [])


@pytest.mark.parametrize(
    "damage",
    [{"kind": "polish"}, {"nodes": ["q"]}, {"edges": [["0.attn.q.0"]]}, {"before": "x"}, {"gain": [3]}],
)
def test_a_damaged_log_is_an_error(circuit: Circuit, damage: dict[str, object]):
    good = Step("drop", (Q,), (), 0.1, 0.2).to_dict()
    bad = dataclasses.replace(circuit.without([Q]), info={EDITS: [{**good, **damage}]})
    with pytest.raises(CheckpointError, match="log of edits is damaged"):
        undo(bad)
    del good["freed"]
    with pytest.raises(CheckpointError, match="freed"):
        edits(dataclasses.replace(circuit, info={EDITS: [good]}))


@pytest.mark.parametrize(
    ("change", "why"),
    [({"kinds": ("polish",)}, "polish"), ({"rounds": 0}, "rounds"), ({"alike": 1.5}, "alike")],
)
def test_settings_that_make_no_sense(change: dict[str, object], why: str):
    with pytest.raises(ConfigError, match=why):
        SimplifyConfig(**change)  # type: ignore[arg-type]
