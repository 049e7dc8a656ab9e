"""Bisection finds the smallest prefix; the clean-up leaves nothing that can be spared."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sparsecircuits.model import Node
from sparsecircuits.prune.discretise import bisect_size, clean_up, exchange, grow, ranking, whittle

NODES = [Node.parse(f"0.mlp.post_act.{index}") for index in range(40)]
Reaches = Callable[[frozenset[Node], float], bool]


class Counted:
    """A loss of ``1 / (1 + nodes)``, and how often it was asked for."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, nodes: frozenset[Node], target: float) -> bool:
        self.calls += 1
        return 1 / (1 + len(nodes)) <= target


@pytest.mark.parametrize("size", [1, 2, 10, 39, 40])
def test_bisection_finds_the_smallest_prefix(size: int):
    reaches = Counted()
    found = bisect_size(NODES, reaches, 1 / (1 + size) + 1e-9)
    assert found == frozenset(NODES[:size])
    assert reaches.calls <= 7  # all 40, then halving: 6


def test_an_unreachable_target_is_none():
    assert bisect_size(NODES, Counted(), 1 / 42) is None


def test_what_is_needed_decides_and_not_the_size():
    needed = {NODES[3], NODES[17]}
    found = bisect_size(NODES, lambda nodes, target: needed <= nodes, 0.15)
    assert found == frozenset(NODES[:18])


def test_growing_adds_what_is_worth_most_first():
    needed = {NODES[3], NODES[17], NODES[30]}

    def worth(nodes: frozenset[Node]) -> dict[Node, float]:
        return {node: 1.0 if node in needed else -float(node.index) for node in NODES}

    start = frozenset(NODES[:5])  # has one of the three; the other two are added one by one
    found = grow(start, worth, lambda nodes, target: needed <= nodes, 0.15)
    assert found == start | needed


def test_whittling_leaves_the_needed_and_at_most_a_neighbour_each():
    needed = {NODES[3], NODES[17], NODES[30]}
    calls = []

    def reaches(nodes: frozenset[Node], target: float) -> bool:
        calls.append(len(nodes))
        return needed <= nodes

    found = whittle(frozenset(NODES), flat_worth, reaches, 0.15)
    assert needed <= found
    assert len(found) <= 6  # down to pairs
    assert len(calls) <= 24  # four quarters, eighths, ...


def test_growing_stops_at_a_bound():
    assert grow(frozenset(), flat_worth, lambda nodes, target: len(nodes) >= 20, 0.15, most=8) is None
    found = grow(frozenset(), flat_worth, lambda nodes, target: len(nodes) >= 7, 0.15, most=8)
    assert found is not None
    assert len(found) in (7, 8)


def test_the_truer_of_two_nodes_that_do_the_same_is_taken():
    good = {NODES[1], NODES[2]}

    def worth(nodes: frozenset[Node]) -> dict[Node, float]:
        return {node: 1.0 if node in good else 0.0 for node in NODES}

    def loss(nodes: frozenset[Node], limit: float) -> float:
        return 1.0 - 0.4 * len(nodes & good)

    assert exchange(frozenset({NODES[7], NODES[2]}), worth, loss) == good
    assert exchange(frozenset(good), worth, loss) == good


def test_a_node_of_another_site_takes_no_place_and_a_small_gain_is_none():
    other = Node.parse("1.mlp.post_act.0")
    start = frozenset({NODES[7]})
    elsewhere = exchange(
        start, lambda nodes: {NODES[7]: 0.5, other: 1.0}, lambda nodes, limit: float(other not in nodes)
    )
    assert elsewhere == start
    gain = {NODES[7]: 1.0, NODES[8]: 0.96}
    assert (
        exchange(start, lambda nodes: dict.fromkeys(gain, 1.0), lambda nodes, limit: gain[min(nodes)])
        == start
    )
    gain[NODES[8]] = 0.94
    found = exchange(start, lambda nodes: dict.fromkeys(gain, 1.0), lambda nodes, limit: gain[min(nodes)])
    assert found == {NODES[8]}


def test_growing_ends_where_the_whole_model_is_not_enough():
    assert grow(frozenset(), flat_worth, lambda nodes, target: False, 0.15) is None
    assert grow(frozenset(), flat_worth, lambda nodes, target: len(nodes) == 40, 0.15) == frozenset(NODES)


def flat_worth(nodes: frozenset[Node]) -> dict[Node, float]:
    """Of every node of the model, nothing is known."""
    return dict.fromkeys(NODES, 0.0)


def flat(nodes: frozenset[Node]) -> dict[Node, float]:
    """An estimate that knows nothing."""
    return dict.fromkeys(nodes, 0.0)


def test_clean_up_leaves_just_what_is_needed():
    needed = frozenset({NODES[2], NODES[5], NODES[39]})
    assert clean_up(frozenset(NODES), flat, lambda nodes, target: needed <= nodes, 0.15) == needed


def test_clean_up_keeps_one_of_two_stand_ins():
    one, other = NODES[4], NODES[9]

    def reaches(nodes: frozenset[Node], target: float) -> bool:
        return one in nodes or other in nodes

    for better in (one, other):

        def estimate(nodes: frozenset[Node], better: Node = better) -> dict[Node, float]:
            return {node: float(node == better) for node in nodes}

        assert clean_up(frozenset(NODES), estimate, reaches, 0.1) == {better}


def test_clean_up_hands_the_target_on():
    asked: set[float] = set()

    def reaches(nodes: frozenset[Node], target: float) -> bool:
        asked.add(target)
        return len(nodes) >= 7

    assert len(clean_up(frozenset(NODES), flat, reaches, 0.11)) == 7
    assert asked == {0.11}


@pytest.mark.parametrize("seed", range(8))
def test_no_single_removal_holds_the_target(seed: int):
    # A loss with interactions, in which more nodes may hurt.
    generator = torch.Generator().manual_seed(seed)
    nodes = NODES[:14]
    alone = torch.rand(14, generator=generator)
    together = 0.3 * torch.randn(14, 14, generator=generator)

    def reaches(kept: frozenset[Node], target: float) -> bool:
        x = torch.tensor([float(node in kept) for node in nodes])
        return float(4 - alone @ x - x @ together @ x / 4) <= target

    target = 1.5
    found = clean_up(frozenset(nodes), flat, reaches, target)
    if reaches(frozenset(nodes), target):
        assert reaches(found, target)
    assert not any(reaches(found - {node}, target) for node in found)


def test_ranking_is_by_tau_and_ties_stay_in_node_order():
    tau = torch.tensor([0.1, 0.5, -0.2, 0.5, 0.1, 0.5])
    assert ranking(NODES[:6], tau) == [NODES[index] for index in (1, 3, 5, 0, 4, 2)]
    assert ranking(NODES, torch.ones(40)) == NODES
