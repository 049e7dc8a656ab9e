"""Agreement of node sets, worked out by hand."""

from __future__ import annotations

import pytest

from sparsecircuits.model import Node
from sparsecircuits.validate.stability import (
    Stability,
    consensus_core,
    jaccard,
    mean_jaccard,
    random_jaccard,
)


def nodes(*indices: int) -> frozenset[Node]:
    return frozenset(Node.parse(f"0.mlp.post_act.{index}") for index in indices)


def test_jaccard_by_hand() -> None:
    assert jaccard(nodes(1, 2), nodes(2, 3, 4)) == 0.25
    assert jaccard(nodes(1), nodes(1)) == 1
    assert jaccard(nodes(1), nodes(2)) == 0
    assert jaccard(nodes(), nodes()) == 1


def test_mean_over_all_pairs() -> None:
    """Pairs: 1/3, 0, 1/2 of {1,2}, {2,3}, {3}."""
    assert mean_jaccard([nodes(1, 2), nodes(2, 3), nodes(3)]) == pytest.approx((1 / 3 + 0 + 1 / 2) / 3)
    with pytest.raises(ValueError, match="1 circuits; two are needed"):
        mean_jaccard([nodes(1)])


def test_random_sets_of_the_same_size() -> None:
    """10 of 1,000: about k / 2n = 0.005; all of all: 1; one of two against one of two: 0 or 1, mean 1/2."""
    assert random_jaccard([10] * 10, 1000) == pytest.approx(0.005, rel=0.15)
    assert random_jaccard([7, 7], 7) == 1
    assert random_jaccard([1, 1], 2, draws=2000) == pytest.approx(0.5, abs=0.05)
    assert random_jaccard([0, 0], 5) == 1
    assert random_jaccard([3, 5], 20) == random_jaccard([3, 5], 20) != random_jaccard([3, 5], 20, seed=1)


@pytest.mark.parametrize("sizes", [(1,), (1, 9)])
def test_sizes_that_cannot_be(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="of 8 nodes; needed are two or more"):
        random_jaccard(sizes, 8)


def test_the_core_needs_four_of_five() -> None:
    circuits = [nodes(1, 2), nodes(1, 2), nodes(1, 2), nodes(1, 3), nodes(4)]
    assert consensus_core(circuits) == nodes(1)
    assert consensus_core(circuits, 0.6) == nodes(1, 2)
    assert consensus_core([*circuits, *circuits]) == nodes(1)  # 8 of 10
    assert consensus_core([nodes(1)] * 7 + [nodes()] * 93, 0.07) == nodes(1)  # 0.07 * 100 > 7 in floats
    assert consensus_core([]) == nodes()


@pytest.mark.parametrize(
    ("index", "core_loss", "passed"), [(0.6, 0.2, True), (0.59, 0.2, False), (0.6, 0.21, False)]
)
def test_passing(index: float, core_loss: float, passed: bool) -> None:
    assert Stability(15, index, 0.01, nodes(1), core_loss, 0.1).passed is passed
