"""Weights set to zero: it is the circuit's that a planted model misses, and not others of their size."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.edges import Edge
from sparsecircuits.model import Node, SiteName, SparseGPT
from sparsecircuits.tasks.score import pair_logits
from sparsecircuits.validate.interval import ratio_rows
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.weights import (
    ENOUGH,
    LEAST,
    PAIRS,
    Partners,
    Weights,
    other_weights,
    partners,
    weight_ablation,
    zeroed,
)
from tests.validate.subjects import PROGRAMS, planted, subject, truth


def noise(of: Subject) -> Circuit:
    """What every neuron of layer 1 reads, works out and writes: no program of heads goes through there."""
    config = of.model.config
    widths = {
        "mlp.act_in": config.d_model,
        "mlp.post_act": config.mlp_width,
        "mlp.resid_delta": config.d_model,
    }
    nodes = [Node.parse(f"1.{site}.{index}") for site, width in widths.items() for index in range(width)]
    return dataclasses.replace(of.circuit, nodes=frozenset(nodes))


def with_weights_zero(model: SparseGPT, edges: list[Edge]) -> SparseGPT:
    """A copy in which they are."""
    changed = copy.deepcopy(model)
    matrices = {
        "attn.act_in": "attn.c_attn",
        "attn.v": "attn.c_proj",
        "mlp.act_in": "mlp.c_fc",
        "mlp.post_act": "mlp.c_proj",
    }
    thirds = {"attn.q": 0, "attn.k": 1, "attn.v": 2}
    for edge in edges:
        block = changed.blocks[edge.source.layer]
        matrix = block.get_submodule(matrices[edge.source.site])
        row = thirds.get(edge.target.site, 0) * model.config.width("attn.q") + edge.target.index
        weight = matrix.get_parameter("weight").detach()
        assert float(weight[row, edge.source.index]) == pytest.approx(edge.weight)
        weight[row, edge.source.index] = 0
    return changed


@pytest.mark.parametrize("level", [1, 3])
def test_zeroed_is_the_weight_set_to_zero(level: int) -> None:
    """An edge of each kind: into q, k and v, from a value, into a neuron and out of it."""
    of = subject("quote", level=level)
    pairs = of.some.first(8)
    edges = of.circuit.edges(of.model)
    assert {edge.target.site for edge in edges} == {
        "attn.k",
        "attn.v",
        "attn.resid_delta",
        "mlp.post_act",
        "mlp.resid_delta",
    }
    before = pair_logits(of.model, pairs)
    for edge in edges:
        with zeroed(of.model, [edge.ends]):
            found = pair_logits(of.model, pairs)
        wanted = pair_logits(with_weights_zero(of.model, [edge]), pairs)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(found, before, atol=1e-2)
    assert torch.equal(pair_logits(of.model, pairs), before)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_true_circuit_passes(name: str) -> None:
    """With a cancelling pair and copies."""
    found = weight_ablation(subject(name, level=3, pairs=16), shares=4, draws=10)
    assert found.passed
    assert found.estimate is not None
    assert found.interval is not None
    assert found.interval.low - 1e-9 <= found.estimate <= found.interval.high + 1e-9


def test_what_is_measured_at_the_end_of_the_curve() -> None:
    """All weights zero: there is one way to draw that, and one mark is then as good as the other."""
    of = subject("quote")
    found = weight_ablation(of, shares=3, draws=2)
    pairs = of.some.first(PAIRS)
    changed = with_weights_zero(of.model, of.circuit.edges(of.model))
    rise = of.losses(pair_logits(changed, pairs), pairs) - of.full_losses(pairs)
    assert found.figures["shares"] == [0, 0.5, 1]
    assert found.figures["circuit_curve"][0] == found.figures["others_curve"][0] == 0
    assert found.figures["circuit_curve"][2] == pytest.approx(float(rise.mean()), abs=1e-5)
    assert found.figures["circuit_curve"][2] == pytest.approx(0.693, abs=0.02)
    assert max(map(abs, found.figures["others_curve"])) < 1e-4
    assert found.estimate == pytest.approx(found.figures["circuit"] / LEAST, rel=1e-3)


def test_weights_that_do_not_matter_fail() -> None:
    of = subject("quote")
    found = weight_ablation(of.about(noise(of)), shares=3, draws=2)
    assert found.passed is False
    assert found.estimate is not None
    assert found.estimate < 0.1


def test_what_a_circuit_lacks_counts_against_it() -> None:
    """The true weights that a part of the truth lacks are among the others."""
    of = subject("depth")
    edges = of.circuit.edges(of.model)
    part = of.circuit.keeping(edges[0].ends)
    more = sum(len(some.weights) for some in other_weights(of.model, part).values())
    less = sum(len(some.weights) for some in other_weights(of.model, of.circuit).values())
    assert more - less == len(edges) - 1 == 3


def test_without_edges_there_is_nothing_to_ablate() -> None:
    of = subject("quote")
    only = of.circuit.keeping(sorted(of.circuit.nodes)[:1])
    found = weight_ablation(of.about(only))
    assert (found.estimate, found.passed) == (None, None)
    assert "no edges" in found.note
    with pytest.raises(ValueError, match="two points and one draw"):
        weight_ablation(of, shares=1)


def test_partners_are_others_of_like_size() -> None:
    of = subject("variable")
    edges, others = of.circuit.edges(of.model), other_weights(of.model, of.circuit)
    found = partners(others, edges, torch.Generator().manual_seed(0))
    again = partners(others, edges, torch.Generator().manual_seed(0))
    assert found == again
    assert len(found.edges) == len({edge.ends for edge in found.edges}) == len(edges)
    assert not {edge.ends for edge in found.edges} & {edge.ends for edge in edges}
    assert found.same_matrix + found.same_model + found.nearest == len(edges)
    with_weights_zero(of.model, list(found.edges))  # they are weights of the model


def made(at: tuple[str, str], sizes: list[float]) -> Weights:
    """A matrix of one row, of alternating signs."""
    values = torch.tensor([size * (-1) ** index for index, size in enumerate(sizes)])
    return Weights(
        SiteName(0, at[0]),
        SiteName(0, at[1]),
        torch.zeros(len(sizes), dtype=torch.long),
        torch.arange(len(sizes)),
        values,
    )


def test_partners_by_hand() -> None:
    """Weights of 1 and 3 have a mean of 2 and a deviation of 1: partners weigh from 1 to 3."""
    into, out = ("mlp.act_in", "mlp.post_act"), ("mlp.post_act", "mlp.resid_delta")
    edges = [
        Edge(Node(SiteName(0, into[0]), 100 + i), Node(SiteName(0, into[1]), 9), w)
        for i, w in enumerate((1, -3))
    ]

    def draw(near: int, far: int, elsewhere: int) -> Partners:
        matrices = [made(into, [2.0] * near + [4.0] * far), made(out, [2.5] * elsewhere + [5.0] * 50)]
        others = {(matrix.source, matrix.target): matrix for matrix in matrices}
        return partners(others, edges, torch.Generator().manual_seed(0))

    same = draw(2 * ENOUGH, 50, 99)
    assert (same.same_matrix, same.same_model, same.nearest) == (2, 0, 0)
    assert {abs(edge.weight) for edge in same.edges} == {2}
    model = draw(2 * ENOUGH - 1, 50, 99)  # one too few
    assert (model.same_matrix, model.same_model, model.nearest) == (0, 2, 0)
    assert {abs(edge.weight) for edge in model.edges} <= {2, 2.5}
    nearest = draw(0, 50, 2 * ENOUGH - 10)  # 30 of 2.5, and the 10 nearest besides: of 4
    assert (nearest.same_matrix, nearest.same_model, nearest.nearest) == (0, 0, 2)
    assert {abs(edge.weight) for edge in nearest.edges} <= {2.5, 4}
    assert all(len({edge.ends for edge in found.edges}) == 2 for found in (same, model, nearest))
    few = {(edges[0].source.at, edges[0].target.at): made(into, [2.0])}
    assert partners(few, edges, torch.Generator()).edges == ()


def test_an_edge_that_is_cut_is_one_of_the_others() -> None:
    of = subject("quote")
    edge = of.circuit.edges(of.model)[0]
    others = other_weights(of.model, of.circuit.cutting([edge.ends]))
    some = others[edge.source.at, edge.target.at]
    assert edge in [some.edge(index) for index in range(len(some.weights))]
    assert edge not in [some.without([edge]).edge(index) for index in range(len(some.weights) - 1)]


def test_a_ratio_row_by_row() -> None:
    above, below = torch.tensor([1.0, 5.0, 3.0]), torch.tensor([1.0, 2.0, 3.0])
    assert float(ratio_rows(above, below).mean()) == pytest.approx(9 / 6)
    torch.testing.assert_close(ratio_rows(2 * below, below), torch.full((3,), 2.0))  # no spread


def test_all_circuits_of_a_task_are_meant() -> None:
    """Losing one of two copies costs next to nothing; losing both does."""
    one, both = truth("bigram", level=2, union=False), truth("bigram", level=2)
    alone = weight_ablation(subject("bigram", level=2, circuit=one), shares=2, draws=2)
    assert planted("bigram", level=2).truth.minimal[0].nodes == one.nodes
    together = weight_ablation(
        dataclasses.replace(subject("bigram", level=2, circuit=one), complete=both), shares=2, draws=2
    )
    assert together.figures["edges"] == 2 * alone.figures["edges"]
    assert together.figures["circuit"] > 2 * alone.figures["circuit"]
    assert together.settings["circuit"] == "all circuits that do the task"
