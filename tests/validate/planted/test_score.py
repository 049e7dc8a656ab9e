"""The score's arithmetic, by hand, and that a perfect pruner gets 1."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import PruneError
from sparsecircuits.model import Node
from sparsecircuits.validate.planted import (
    Agreement,
    Part,
    PlantedModel,
    Truth,
    means_of,
    plant,
    score_circuit,
    score_pruner,
)
from sparsecircuits.validate.planted.score import score_part

A, B, C, D, E, F = (Node.parse(f"0.mlp.post_act.{index}") for index in range(6))


def part(*nodes: Node, edges: tuple[tuple[Node, Node], ...] = ()) -> Part:
    return Part(frozenset(nodes), frozenset(edges))


def test_agreement_by_hand() -> None:
    one = Agreement.of({"a", "b", "c", "d"}, {"a", "b", "e"})  # 2 of 4 found, 2 of 3 true
    assert (one.precision, one.recall) == (0.5, 2 / 3)
    assert one.f1 == pytest.approx(4 / 7)  # 2 * 2 / (4 + 3)
    assert Agreement.of(set(), {"a"}).f1 == 0
    assert Agreement.of({"b"}, {"a"}).f1 == 0


def test_a_circuit_is_held_against_the_nearest_minimal_set_and_the_union() -> None:
    # Either A-B or A-C does it; D and E cancel.
    truth = Truth((part(A, B, edges=((A, B),)), part(A, C, edges=((A, C),))), ((D, E),))
    score = score_part(truth, part(A, C, D, edges=((A, C), (C, D))))
    assert score.nodes == Agreement(2 / 3, 1)  # A and C of A, C, D
    assert score.edges == Agreement(1 / 2, 1)
    assert score.completeness == pytest.approx(2 / 3)  # A and C of A, B, C
    assert score.cancelling_errors == 1  # D without E
    assert score_part(truth, part(A, B, C, D, E)).cancelling_errors == 0
    assert score_part(truth, part(A, B, C)).completeness == 1
    assert score_part(truth, part(A, B, C)).nodes == Agreement(2 / 3, 1)
    assert score_part(truth, part(F)).nodes.f1 == 0


def exactly(planted: PlantedModel) -> Circuit:
    """The pruner that knows the answer."""
    config = planted.model.config
    zeros = {str(site): torch.zeros(config.width(site.site)) for site in config.site_names()}
    return Circuit(planted.task.name, planted.truth.minimal[-1].nodes, zeros)


def refuse(planted: PlantedModel) -> Circuit:
    raise PruneError("too hard")


def test_the_truth_scores_one() -> None:
    planted = plant("variable", 0, 2)
    score = score_circuit(planted.truth, exactly(planted), planted.model)
    assert (score.nodes, score.edges) == (Agreement(1, 1), Agreement(1, 1))
    assert score.completeness == 16 / 19  # the other copy's q, k and v are missing
    assert score.cancelling_errors == 0


def test_pruners_and_means() -> None:
    done: list[int] = []
    models = [plant("bigram", 0, 1), plant("depth", 0, 1), plant("depth", 0, 2)]
    results = score_pruner(exactly, models, done.append)
    assert done == [1, 2, 3]
    assert [(r.program, r.level, r.nodes, r.edges) for r in results] == [
        ("bigram", 1, 4, 4),
        ("depth", 1, 7, 4),
        ("depth", 2, 7, 4),
    ]
    failed = score_pruner(refuse, models[:1])
    assert (failed[0].error, failed[0].nodes, failed[0].score.nodes.f1) == ("too hard", 0, 0)
    means = means_of([*results, dataclasses.replace(failed[0], level=2)])
    rows = {(mean.program, mean.level): mean for mean in means}
    assert list(rows) == [
        *(("bigram", 1), ("bigram", 2), ("depth", 1), ("depth", 2)),
        *((None, 1), (None, 2), (None, None)),
    ]
    assert rows["bigram", 1].node_f1 == 1
    assert (rows["bigram", 2].node_f1, rows["bigram", 2].failed) == (0, 1)
    assert (rows[None, 2].models, rows[None, 2].node_f1) == (2, 0.5)
    assert (rows[None, None].models, rows[None, None].edge_f1) == (4, 0.75)
    assert rows[None, None].nodes == (4 + 7 + 7 + 0) / 4
