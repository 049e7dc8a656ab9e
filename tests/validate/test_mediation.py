"""What a planted circuit reads acts through what it writes; through what others write nothing passes."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from torch import Tensor

from sparsecircuits.circuit.edges import Edge, edge_blocks
from sparsecircuits.model import Node, record
from sparsecircuits.validate.mediation import edge_patched, mediation
from sparsecircuits.validate.subject import Subject
from tests.validate.subjects import PROGRAMS, planted, subject, truth


def writes(of: Subject, site: str) -> list[Node]:
    return [node for node in of.circuit.nodes if str(node.at) == site]


@pytest.mark.parametrize(("name", "level"), [*((name, 3) for name in PROGRAMS), ("quote", 1)])
def test_a_true_circuit_passes(name: str, level: int) -> None:
    found = mediation(subject(name, level=level, pairs=16), edges=4, draws=1)
    assert found.passed
    assert found.estimate == pytest.approx(1, abs=1e-3)
    assert found.control == pytest.approx(0, abs=1e-2)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(1, abs=1e-3)


def test_what_single_edges_carry() -> None:
    """Level 1 has no other weights that matter to quotes."""
    paths = mediation(subject("quote", pairs=16)).figures["paths"]
    assert paths["circuit"] > 1
    assert paths["others"] < 1e-5
    assert len(paths["edges"]) == len(paths["other_edges"]) == 10
    effects = [one["effect"] for one in paths["edges"]]
    assert sum(effects) / 10 == pytest.approx(paths["circuit"])


def test_the_last_edge_turns_the_answer_round() -> None:
    """All that differs goes through it: each prompt then leads as its partner does, the other way."""
    of = subject("quote", pairs=16)
    lead = of.leads(of.model(of.some.tokens, of.some.last), of.some).detach()
    turned = pytest.approx(float((lead + lead.roll(16)).abs().mean()), rel=1e-3)
    figures = mediation(of).figures
    (effect,) = [one["effect"] for one in figures["paths"]["edges"] if "-> 1.attn.resid_delta" in one["edge"]]
    assert effect == turned
    assert figures["sublayers"]["1.attn"]["effect"] == turned


def test_writes_that_carry_nothing_fail() -> None:
    """The circuit with another write instead of the one of layer 1's head, and all the rest true."""
    of = subject("quote", pairs=16)
    (true,) = writes(of, "1.attn.resid_delta")
    other = next(int(i) for i in of.active["1.attn.resid_delta"] if int(i) != true.index)
    found = mediation(of.about(of.circuit.keeping((of.circuit.nodes - {true}) | {Node(true.at, other)})))
    assert found.passed is False
    assert found.figures["sublayers"]["0.mlp"]["undone"] == pytest.approx(1, abs=1e-3)
    assert found.figures["sublayers"]["1.attn"]["undone"] == pytest.approx(0, abs=1e-2)
    assert found.interval is not None
    assert found.interval.low < found.interval.high < 0.7


def test_half_of_the_writes_undo_part() -> None:
    """``induction`` copies two bits; with one of them put back, the other still answers."""
    of = subject("induction", pairs=16)
    gone = sorted(writes(of, "1.attn.resid_delta"))[0]
    found = mediation(of.about(of.circuit.without([gone])), edges=1, draws=1)
    assert 0.1 < found.figures["sublayers"]["1.attn"]["undone"] < 0.9


def test_nodes_that_do_not_matter_fail() -> None:
    of = subject("quote", pairs=16)
    names = ("0.mlp.act_in", "0.mlp.post_act", "0.mlp.resid_delta")
    own = {str(node) for node in of.circuit.nodes}
    drawn = [Node.parse(f"{name}.{int(i)}") for name in names for i in of.active[name]]
    noise = [node for node in drawn if str(node) not in own and node.site == "mlp.post_act"]
    written = [node for node in drawn if str(node) not in own and node.site == "mlp.resid_delta"]
    found = mediation(of.about(of.circuit.keeping([*noise, *written])), edges=2, draws=1)
    assert found.passed is False
    assert found.estimate == 0
    assert found.figures["sublayers"]["0.mlp"]["judged"] is False
    assert "moves the answer" in found.note


def test_a_circuit_that_only_reads_has_no_writes_to_judge() -> None:
    of = subject("quote", pairs=4)
    reads = [node for node in of.circuit.nodes if node.site != "attn.resid_delta" and "mlp" not in node.site]
    found = mediation(of.about(of.circuit.keeping(reads)))
    assert (found.estimate, found.passed) == (None, None)


def partner(x: Tensor) -> Tensor:
    return x.roll(len(x) // 2, 0)


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("depth", "1.attn.q"),
        ("induction", "1.attn.k"),
        ("quote", "1.attn.v"),
        ("quote", "1.attn.resid_delta"),
        ("quote", "0.mlp.post_act"),
        ("quote", "0.mlp.resid_delta"),
    ],
)
@torch.no_grad()
def test_all_edges_into_a_node_make_it_that_of_the_other_prompt(name: str, site: str) -> None:
    """Each adds ``w * (a' - a)`` before the nonlinearity; together that is the whole difference."""
    of = subject(name, pairs=8)
    node = next(node for node in sorted(of.circuit.nodes) if str(node.at) == site)
    recorded = f"{node.layer}.attn.y" if node.site == "attn.resid_delta" else None
    model, pairs = of.model, of.some
    block = next(block for block in edge_blocks(model) if block.target == node.at)
    source = recorded or str(block.source)
    with record(model) as cache:
        before = model(pairs.tokens, pairs.last)
    mine, values = cache[site][..., node.index], cache[source]
    assert not torch.allclose(mine, partner(mine), atol=0.1)
    edges = [
        Edge(Node(block.source, int(i)), node, float(block.weight[node.index, i]))
        for i in torch.nonzero(block.weight[node.index]).flatten()
    ]
    with contextlib.ExitStack() as stack:
        for edge in edges:
            change = partner(values[..., edge.source.index]) - values[..., edge.source.index]
            stack.enter_context(edge_patched(model, edge, change))
        with record(model, [site]) as patched:
            model(pairs.tokens, pairs.last)
    torch.testing.assert_close(patched[site][..., node.index], partner(mine), atol=1e-3, rtol=1e-4)
    assert torch.equal(model(pairs.tokens, pairs.last), before)


def test_a_lead_has_the_sign_of_being_right() -> None:
    """Two candidates: scale times the difference. One against all: its log odds, turned round where wrong."""
    of = subject("quote", pairs=1)
    pairs = dataclasses.replace(of.some, target=torch.tensor([0, 1]), other=torch.tensor([1, 0]))
    logits = torch.tensor([[3.0, 1.0, 1.0], [3.0, 1.0, 1.0]])
    of = dataclasses.replace(of, scale=2.0)
    assert of.leads(logits, pairs).tolist() == pytest.approx([4.0, -4.0])
    alone = dataclasses.replace(
        pairs, form="one_against_all", target=torch.tensor([0, -1]), other=torch.tensor([-1, 0])
    )
    odds = 6 - float(torch.tensor([2.0, 2.0]).logsumexp(0))
    assert of.leads(logits, alone).tolist() == pytest.approx([odds, -odds], abs=1e-5)


def test_all_circuits_of_a_task_are_meant() -> None:
    one, both = truth("quote", level=2, union=False), truth("quote", level=2)
    of = dataclasses.replace(subject("quote", level=2, circuit=one, pairs=8), complete=both)
    found = mediation(of, edges=40, draws=1)
    assert len(found.figures["paths"]["edges"]) == len(planted("quote", level=2).truth.union.edges)
    assert found.settings["circuit"] == "all circuits that do the task"
    assert mediation(of, edges=40, draws=1) == found


def test_edges_that_are_cut_are_not_the_circuits() -> None:
    of = subject("quote", pairs=4)
    gone = of.circuit.edges(of.model)[0]
    found = mediation(of.about(of.circuit.cutting([gone.ends])), draws=1)
    assert str(gone) not in [one["edge"] for one in found.figures["paths"]["edges"]]
    assert len(found.figures["paths"]["edges"]) == 9
