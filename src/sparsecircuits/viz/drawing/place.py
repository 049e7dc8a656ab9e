"""Where everything of a prompt's drawing stands: a pure function from an active path to positions.

In pixels, y upward::

    answer                                       [ ") over ') ]
    MLP writes                                        [99]
    MLP neurons                                       [227]
    attention writes             ,---------------->   [75]        values run through the space between
    query key value      [v 49] [k 3]                 [q 3]       these two rows, each on a track of its own
    attention reads         [22]                        |
    tokens                  ('        … 5 tokens      image

Steps: choose the rows and, for each token that takes part, a column; order and place each column on its own
(:mod:`sparsecircuits.viz.ordering`); set columns side by side, far enough apart for the numbers between them;
lay tracks for values that go through heads (:mod:`.tracks`); put numbers where they cover nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sparsecircuits.model import Node
from sparsecircuits.viz.drawing.active_path import ActivePath
from sparsecircuits.viz.drawing.pills import Pill, pill_of
from sparsecircuits.viz.drawing.spots import ANSWER, BIAS, BIGRAM, TOKEN, Hop, Spot
from sparsecircuits.viz.layout import QKV, ROWS
from sparsecircuits.viz.ordering import Vertex, order_rows, place_rows

Point = tuple[float, float]

LEFT, MARGIN = 150.0, 24.0
_STEP = 40.0  # between the edges of neighbouring rows
TRACK = 24.0
_APART, _HEADS_APART = 24.0, 44.0
_COLUMNS_APART, _GAP = 44.0, 78.0
#: Room to the left of a column for the numbers on what comes into it from other tokens.
_NUMBERS = 112.0
_LANE = 12.0
_FOOT = 104.0

#: Layer and site row; tokens are before all, then layers, the bigram table and the bias, and the answer.
RowKey = tuple[int, str]
_IN, _TABLE, _OUT = (-1, "in"), (1 << 31, "table"), (1 << 32, "out")
_LABELS = {
    "in": "tokens",
    "attn.act_in": "attn reads",
    "attn.qkv": "q · k · v",
    "attn.resid_delta": "attn writes",
    "mlp.act_in": "MLP reads",
    "mlp.post_act": "neurons",
    "mlp.resid_delta": "MLP writes",
    "table": "",
    "out": "answer",
}


class Row(NamedTuple):
    """A row and the height of its middle."""

    key: RowKey
    label: str
    y: float


class Column(NamedTuple):
    """A token at which something is shown; from ``left`` to ``right``."""

    position: int
    left: float
    right: float


class Gap(NamedTuple):
    """Tokens between two columns at which nothing is shown."""

    x: float
    first: int
    count: int


@dataclass(frozen=True)
class Placed:
    """What stands where, before lines are drawn.

    Attributes:
        foot: height of the caption below the tokens.
        rows: from bottom to top.
        pills: of every spot.
        bends: (source, target) -> where a link inside a column passes the rows between.
    """

    width: float
    height: float
    foot: float
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    gaps: tuple[Gap, ...]
    pills: Mapping[Spot, Pill]
    bends: Mapping[tuple[Spot, Spot], tuple[Point, ...]]

    def row(self, spot: Spot) -> Row:
        """The row that a spot stands in."""
        return next(row for row in self.rows if row.key == row_key(spot))


def row_key(spot: Spot) -> RowKey:
    """Where a spot belongs from bottom to top."""
    if (head := spot.head) is not None:
        return head[0], "attn.qkv"
    if (node := spot.node) is None:
        return {ANSWER: _OUT, BIGRAM: _TABLE, BIAS: _TABLE}.get(spot.what, _IN)
    return node.at.order[0], "attn.qkv" if node.site in QKV else node.site


def place(
    path: ActivePath,
    texts: Sequence[str],
    answers: Sequence[str],
    names: Mapping[Node, str],
    *,
    foot_lines: int = 1,
) -> Placed:
    """Place a path.

    Args:
        path: what is drawn.
        texts: of the prompt's tokens, made visible.
        answers: texts of the answers, made visible.
        names: what nodes are called; others go by their index.
        foot_lines: lines of the prompt's text below the drawing.
    """
    pills = {spot: pill_of(spot, path, texts, answers, names) for spot in path.spots}
    keys = sorted({row_key(spot) for spot in pills}, key=_rank)
    across = {p: _Column(p, [s for s in pills if s.position == p], pills, path, keys) for p in path.positions}
    foot = _FOOT + 18.0 * foot_lines
    rows = _rows(path, pills, keys, foot)
    into = {hop.target.position for hop in path.hops if hop.source.position != hop.target.position}
    left, columns, gaps = LEFT, [], []
    for position, column in across.items():
        if columns:
            skipped = position - columns[-1].position - 1
            apart = _NUMBERS if position in into else _COLUMNS_APART
            apart = max(apart, _GAP) if skipped else apart
            if skipped:
                gaps.append(Gap(left + apart / 2, columns[-1].position + 1, skipped))
            left += apart
        elif position:
            gaps.append(Gap(left + 20, 0, position))
            left += 76
        columns.append(Column(position, left, left + column.width))
        left += column.width
    at = {column.position: column.left for column in columns}
    y = {row.key: row.y for row in rows}
    stand = {
        spot: pill.moved(at[spot.position] + across[spot.position].x[_name(spot)], y[row_key(spot)])
        for spot, pill in pills.items()
    }
    bends = {
        ends: tuple((at[position] + column.x[name], y[keys[row]]) for row, name in passed)
        for position, column in across.items()
        for ends, passed in column.passed.items()
    }
    top = max(pill.y + pill.height / 2 for pill in stand.values())
    return Placed(left + MARGIN, top + 54, foot, tuple(rows), tuple(columns), tuple(gaps), stand, bends)


def through_heads(path: ActivePath) -> list[Hop]:
    """Hops through a head, which go on tracks."""
    return [hop for hop in path.hops if hop.attention is not None]


class _Column:
    """The layered graph of one token: its spots by row, and the links between them."""

    def __init__(
        self,
        position: int,
        spots: Sequence[Spot],
        pills: Mapping[Spot, Pill],
        path: ActivePath,
        keys: Sequence[RowKey],
    ) -> None:
        rank = {spot: keys.index(row_key(spot)) for spot in spots}
        rows: list[list[Vertex]] = [[] for _ in keys]
        for spot in sorted(spots, key=lambda spot: (rank[spot], spot)):
            place = QKV.index(spot.node.site) if spot.node and spot.node.site in QKV else 0
            rows[rank[spot]].append(Vertex(_name(spot), pills[spot].width, pills[spot].head, place))
        links: list[tuple[str, str]] = []
        self.passed: dict[tuple[Spot, Spot], list[tuple[int, str]]] = {}
        for hop in path.hops:
            if hop.source.position == hop.target.position == position:
                ends = (hop.source, hop.target)
                between = range(rank[hop.source] + 1, rank[hop.target])
                self.passed[ends] = [(row, f"{_name(ends[0])} > {_name(ends[1])} {row}") for row in between]
                for row, name in self.passed[ends]:
                    rows[row].append(Vertex(name, 10.0, bend=True))
                way = [_name(hop.source), *(name for _, name in self.passed[ends]), _name(hop.target)]
                links += zip(way, way[1:], strict=False)
        filled = order_rows([row for row in rows if row], links)
        self.x = place_rows(filled, links, _APART, _HEADS_APART)
        widths = {vertex.name: vertex.width for row in filled for vertex in row}
        self._straighten(rows, widths)
        alone = {vertex.name for row in filled for vertex in row} - {name for link in links for name in link}
        if (token := _name(Spot(TOKEN, position))) in alone and len(self.x) > 1:
            self.x[token] = sum(x for name, x in self.x.items() if name != token) / (len(self.x) - 1)
        left = min(self.x[name] - widths[name] / 2 for name in self.x)
        self.x = {name: x - left for name, x in self.x.items()}
        self.width = max(self.x[name] + widths[name] / 2 for name in self.x)

    def _straighten(self, rows: Sequence[Sequence[Vertex]], widths: Mapping[str, float]) -> None:
        """Have each long link pass all rows at one x: where it would on average, if nothing is in its way."""
        lanes: list[tuple[range, float]] = []
        for (source, target), passed in sorted(self.passed.items()):
            if len(passed) < 2:
                continue
            span = range(passed[0][0], passed[-1][0] + 1)
            solid = [vertex.name for row in span for vertex in rows[row] if not vertex.bend]
            taken = [(self.x[name], widths[name] / 2 + _LANE) for name in solid]
            taken += [(x, _LANE) for rows_of, x in lanes if set(rows_of) & set(span)]
            mean = sum(self.x[name] for _, name in passed) / len(passed)
            wishes = [mean, self.x[_name(source)], self.x[_name(target)]]
            wishes += [x + side * half for x, half in taken for side in (-1, 1)]
            free = [x for x in wishes if all(abs(x - other) >= half - 0.01 for other, half in taken)]
            best = min(free, key=lambda x: abs(x - mean))
            self.x.update({name: best for _, name in passed})
            lanes.append((span, best))


def _rows(path: ActivePath, pills: Mapping[Spot, Pill], keys: Sequence[RowKey], foot: float) -> list[Row]:
    """Heights: rows stand apart by their pills, and by the tracks between values and what they write."""
    rows: list[Row] = []
    edge = foot
    for key in keys:
        half = max(pill.height for spot, pill in pills.items() if row_key(spot) == key) / 2
        tracks = sum(row_key(hop.target) == key for hop in through_heads(path))
        below = 0.0 if not rows else _STEP + (10 + TRACK * tracks if tracks else 0)
        rows.append(Row(key, _LABELS[key[1]], edge + below + half))
        edge = rows[-1].y + half
    return rows


def _rank(key: RowKey) -> tuple[int, int]:
    return key[0], list(ROWS).index(key[1]) if key[1] in ROWS else 0


def _name(spot: Spot) -> str:
    return str(spot)
