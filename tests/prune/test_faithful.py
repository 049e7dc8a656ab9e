"""The objective ``faithful`` does not fall for what the paper's falls for."""

from __future__ import annotations

import pytest

from sparsecircuits.validate.planted import plant
from sparsecircuits.validate.planted.pruners import SETTINGS, by_masks
from sparsecircuits.validate.planted.score import score_circuit

FAITHFUL = SETTINGS.replace(objective="faithful")


def test_the_shortcut_through_half_of_a_cancelling_pair_is_taken_by_task_alone():
    planted = plant("quote", seed=0, level=2)
    half = {node for pair in planted.truth.cancelling for node in pair}
    task, faithful = by_masks(planted), by_masks(planted, FAITHFUL)
    assert len(task) < 6
    assert task.nodes & half
    assert score_circuit(planted.truth, faithful, planted.model).nodes.f1 == 1.0


@pytest.mark.parametrize("level", [2, 3])
def test_where_copies_saturate_all_nodes_are_whittled_down(level: int):
    planted = plant("depth", seed=0, level=level)
    found = by_masks(planted, FAITHFUL)
    assert len(found) <= 10
    assert score_circuit(planted.truth, found, planted.model).nodes.recall == 1.0


def test_the_same_seed_gives_the_same_circuit():
    planted = plant("bigram", seed=1, level=2)
    assert by_masks(planted, FAITHFUL).nodes == by_masks(planted, FAITHFUL).nodes
