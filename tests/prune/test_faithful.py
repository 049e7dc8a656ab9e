"""The objective ``faithful`` finds planted circuits where the paper's, or gradients alone, go astray."""

from __future__ import annotations

import pytest

from sparsecircuits.validate.planted import plant
from sparsecircuits.validate.planted.pruners import SETTINGS, by_masks
from sparsecircuits.validate.planted.score import score_circuit

FAITHFUL = SETTINGS.replace(objective="faithful")


@pytest.mark.parametrize("seed", [0, 1])
def test_the_shortcut_through_half_of_a_cancelling_pair_is_not_taken(seed: int):
    planted = plant("quote", seed=seed, level=2)
    half = {node for pair in planted.truth.cancelling for node in pair}
    found = by_masks(planted, FAITHFUL)
    assert not found.nodes & half
    assert score_circuit(planted.truth, found, planted.model).nodes.f1 == 1.0


@pytest.mark.parametrize("level", [2, 3])
def test_where_copies_saturate_all_nodes_are_whittled_down(level: int):
    planted = plant("depth", seed=0, level=level)
    found = by_masks(planted, FAITHFUL)
    assert len(found) <= 10
    assert score_circuit(planted.truth, found, planted.model).nodes.recall == 1.0


def test_the_same_seed_gives_the_same_circuit():
    planted = plant("bigram", seed=1, level=2)
    assert by_masks(planted, FAITHFUL).nodes == by_masks(planted, FAITHFUL).nodes
