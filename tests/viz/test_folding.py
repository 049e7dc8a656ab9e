"""Rows in lines: which column and line each vertex stands in."""

from __future__ import annotations

from sparsecircuits.viz.folding import fold_links, fold_row
from sparsecircuits.viz.layout import lay_out
from sparsecircuits.viz.ordering import Vertex
from tests.viz.fixture import node


def test_a_short_row_stays_as_it_is():
    row = [Vertex(name, 10.0) for name in "abc"]
    fold = fold_row(row, most=3)
    assert (fold.lines, fold.columns) == (1, row)
    assert fold.column_of == {"a": "a", "b": "b", "c": "c"}
    assert set(fold.line_of.values()) == {0}


def test_a_long_row_stands_in_columns_from_left_to_right():
    fold = fold_row([Vertex(name, 10.0) for name in "abcdefg"], most=3)  # 7 in 3 columns: 3 lines
    assert fold.lines == 3
    assert fold.column_of == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "d", "f": "d", "g": "g"}
    assert [fold.line_of[name] for name in "abcdefg"] == [0, 1, 2, 0, 1, 2, 0]


def test_a_column_holds_one_head_only():
    row = [Vertex("q", 10.0, "0"), Vertex("k", 10.0, "1"), Vertex("v", 10.0, "1"), Vertex("w", 10.0, "1")]
    fold = fold_row(row, most=2)
    assert fold.column_of == {"q": "q", "k": "k", "v": "k", "w": "w"}
    assert fold.lines == 2


def test_an_empty_row_has_a_line():
    assert fold_row([]).lines == 1


def test_links_join_columns():
    upper, lower = fold_row([Vertex(n, 10.0) for n in "abcd"], 2), fold_row([Vertex("x", 10.0)], 2)
    assert fold_links([upper, lower], [("b", "x"), ("c", "x")]) == [("a", "x"), ("c", "x")]


def test_rows_make_room_for_their_lines():
    neurons = [node(f"0.mlp.post_act.{i}") for i in range(250)]  # three lines of at most 84
    layout = lay_out(
        {"nodes": [*neurons, node("0.mlp.resid_delta.1")], "edges": [], "stream": [], "samples": []}
    )
    first, second = layout.rows
    assert (first.y, first.height) == (44.0 + 14, 28.0)  # lines 14 apart, the first at the margin of 44
    assert (second.y, second.height) == (44.0 + 28 + 92, 0.0)
    assert sorted({y for name, (_, y, _) in layout.nodes.items() if "post_act" in name}) == [44.0, 58.0, 72.0]
    assert layout.height == 164 + 44
