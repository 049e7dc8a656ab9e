"""Orders and positions of small graphs, worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecircuits.viz.labels import on_curve, place_labels
from sparsecircuits.viz.ordering import Vertex, count_crossings, order_rows, place_rows, spread


def row(names: str) -> list[Vertex]:
    return [Vertex(name, width=10.0) for name in names]


def names(rows: list[list[Vertex]]) -> list[str]:
    return ["".join(v.name for v in r) for r in rows]


def test_crossings_of_complete_graphs():
    # Every pair above crosses every pair below once: 3 pairs x 3 pairs.
    assert count_crossings("abc", "xyz", [(s, t) for s in "abc" for t in "xyz"]) == 9
    assert count_crossings("ab", "xy", [("a", "x"), ("b", "y")]) == 0
    assert count_crossings("ab", "x", [("a", "x"), ("b", "x")]) == 0  # a shared end is no crossing


def test_ordering_uncrosses():
    rows = order_rows([row("abc"), row("xyz")], [("a", "z"), ("b", "y"), ("c", "x")])
    assert names(rows) == ["abc", "zyx"]


def test_ordering_keeps_what_has_no_crossing():
    rows = order_rows([row("ab"), row("xy")], [("a", "x"), ("b", "y")])
    assert names(rows) == ["ab", "xy"]


def test_groups_stay_together_and_keep_their_blocks():
    heads = [
        Vertex("q", 10, "0", 0),
        Vertex("r", 10, "1", 0),
        Vertex("v", 10, "0", 2),
        Vertex("k", 10, "0", 1),
    ]
    rows = order_rows([row("ab"), heads], [("a", "r"), ("b", "q"), ("b", "v"), ("b", "k")])
    assert names(rows) == ["ab", "rqkv"]


def test_spread_pools_what_wants_the_same_place():
    assert spread([5.0, 5.0, 5.0], [2.0, 2.0]) == [3.0, 5.0, 7.0]
    assert spread([0.0, 10.0], [2.0]) == [0.0, 10.0]  # far enough apart already
    assert spread([4.0, 0.0], [2.0]) == [1.0, 3.0]  # wishes out of order meet in the middle
    assert spread([4.0, 0.0], [2.0], weights=[3.0, 1.0]) == [2.5, 4.5]  # (3*4 + 1*(0-2)) / 4 = 2.5
    assert spread([], []) == []


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8))
def test_spread_keeps_order_and_distance(wishes):
    x = spread(wishes, [3.0] * (len(wishes) - 1))
    assert all(b - a >= 3.0 - 1e-9 for a, b in zip(x, x[1:], strict=False))


def test_a_chain_stands_in_one_column():
    x = place_rows([row("a"), row("b"), row("c")], [("a", "b"), ("b", "c")], gap=4, group_gap=0)
    assert x == {"a": 5.0, "b": 5.0, "c": 5.0}  # half the width from the left end


def test_a_parent_stands_over_the_middle_of_its_children():
    x = place_rows([row("a"), row("xy")], [("a", "x"), ("a", "y")], gap=4, group_gap=0)
    assert x["x"] == 5.0
    assert x["y"] == 19.0  # width 10 + gap 4
    assert x["a"] == pytest.approx(12.0)


def test_groups_get_more_room():
    heads = [Vertex("q", 10, "0"), Vertex("k", 10, "0"), Vertex("v", 10, "1")]
    x = place_rows([heads], [], gap=4, group_gap=20)
    assert x == {"q": 5.0, "k": 19.0, "v": 53.0}


def test_labels_move_along_the_curve_when_the_middle_is_taken():
    curve = ((0.0, 0.0), (0.0, 100.0))
    assert on_curve(*curve, 0.0) == (0.0, 0.0)
    assert on_curve(*curve, 1.0) == (0.0, 100.0)
    first, second = place_labels([curve, curve], [1, 0])
    assert second == (0.0, 50.0)  # chose first
    # At t = 0.36 and 0.64 it would be less than 13 away; at 0.26 it stands at
    # 100 * (3 * .74**2 * .26 * .5 + 3 * .74 * .26**2 * .5 + .26**3) = 30.62.
    assert first == pytest.approx((0.0, 30.62), abs=0.01)
