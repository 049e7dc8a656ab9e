"""Long rows in several lines: a row of a thousand nodes would be wider than any screen.

A row's vertices, already in order, are stacked into columns of a few; columns are then placed like single
vertices. So the order that crosses little is kept from left to right, and links stay as steep as before.

::

    1 2 3 4 5 6 7   in three lines    1 4 7
                                      2 5
                                      3 6
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sparsecircuits.viz.ordering import Links, Vertex

#: Columns of a row, about; fewer vertices than that stand in one line.
MOST_COLUMNS = 100


@dataclass(frozen=True)
class Fold:
    """One row in lines. ``columns`` stand for all vertices; a column has the name of its first vertex.

    ``column_of``: vertex -> its column's name; ``line_of``: vertex -> its line, from 0 at the top.
    """

    lines: int
    columns: list[Vertex]
    column_of: dict[str, str]
    line_of: dict[str, int]


def fold_row(row: Sequence[Vertex], most: int = MOST_COLUMNS) -> Fold:
    """Stack an ordered row into columns; no column holds vertices of two groups.

    >>> fold = fold_row([Vertex(name, 10.0) for name in "abcde"], most=3)
    >>> fold.lines, [column.name for column in fold.columns], fold.line_of["d"]
    (2, ['a', 'c', 'e'], 1)
    """
    tall = max(1, math.ceil(len(row) / most))
    columns: list[Vertex] = []
    column_of, line_of = {}, {}
    line = tall
    for vertex in row:
        line += 1
        if line >= tall or vertex.group != columns[-1].group:
            columns.append(vertex)
            line = 0
        column_of[vertex.name], line_of[vertex.name] = columns[-1].name, line
    return Fold(max(line_of.values(), default=0) + 1, columns, column_of, line_of)


def fold_links(folds: Sequence[Fold], links: Links) -> list[tuple[str, str]]:
    """The links between columns that the links between vertices amount to."""
    column_of = {name: column for fold in folds for name, column in fold.column_of.items()}
    return [(column_of[source], column_of[target]) for source, target in links]
