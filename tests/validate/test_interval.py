"""The bootstrap of statistics that are no mean: its weights, and that they are those of the means' one."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.validate.interval import DRAWS, clustered_interval, drawn_weights, middle


def test_a_template_counts_in_a_draw_as_often_as_it_is_drawn():
    weights = drawn_weights(["a", "a", "b"], seed=3)
    assert weights.shape == (DRAWS, 3)
    assert torch.equal(weights[:, 0], weights[:, 1])
    # drawn are a twice (four rows), a and b (three rows), or b twice (two rows)
    found = {tuple(round(one, 6) for one in row) for row in weights.tolist()}
    assert found == {(0.5, 0.5, 0.0), (0.333333, 0.333333, 0.333333), (0.0, 0.0, 1.0)}


def test_a_mean_under_the_weights_has_the_interval_of_a_mean():
    values = torch.rand(30, generator=torch.Generator().manual_seed(0)).double()
    clusters = [f"template {row % 7}" for row in range(30)]
    found = middle(drawn_weights(clusters, seed=5) @ values)
    assert found == pytest.approx(clustered_interval(values, clusters, seed=5))


def test_the_middle_leaves_out_a_fortieth_on_each_side():
    assert middle(torch.arange(1001).double()) == (25.0, 975.0)
