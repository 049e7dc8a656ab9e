"""Where everything of a circuit's drawing stands: a pure function from circuit to positions.

In: one circuit of the page's document (``schema.json``). Out: a :class:`Layout` in pixels, y downward,
which the page embeds as JSON and :mod:`sparsecircuits.viz.static` draws with matplotlib.

::

    tokens in             ("     ('                 tokens whose embedding writes a channel
                            \\   /
    layer 0  MLP reads       [41]                    rows are sites in the order of the forward pass,
             MLP neurons     [863]                   only those that hold nodes
             MLP writes      [17]
                              :                      dotted: the residual stream carries a channel on
    layer 1  attn reads      [17]
             q . k . v     +-[q15][k15][v11]-+       a head's channels side by side, boxed
             attn writes   +------[77]-------+
                             /    \\
    logits out            ")      ')                 tokens that a write pushes up or down

Steps: choose the token chips; make rows; let links that skip rows bend in each row they pass (all
token links of a node share one lane); order (:mod:`sparsecircuits.viz.ordering`), fold rows that are
long (:mod:`sparsecircuits.viz.folding`) and place; read positions, boxes and paths off.
The input stands at the top because a page is read from the top.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sparsecircuits.model import SITES
from sparsecircuits.viz.folding import MOST_COLUMNS, fold_links, fold_row
from sparsecircuits.viz.geometry import Box, Lane, Layout, Point, Row, Stream, TokenLink
from sparsecircuits.viz.labels import place_labels
from sparsecircuits.viz.ordering import Vertex, order_rows, place_rows
from sparsecircuits.viz.tokens import choose_chips, token_links, visible

ROWS = {  # site row -> what its label says
    "attn.act_in": "attention reads",
    "attn.qkv": "query · key · value",
    "attn.resid_delta": "attention writes",
    "mlp.act_in": "MLP reads",
    "mlp.post_act": "MLP neurons",
    "mlp.resid_delta": "MLP writes",
}
QKV = tuple(site for site in SITES if site not in ROWS)
"""The sites that share the row ``attn.qkv``, in the order in which a head's channels stand."""
_MARGIN, _LABELS = 24.0, 165.0  # page margin; the column of row labels
_MAX_NAME = 18  # characters of a name that a pill shows
_MAX_NUMBERS = 26  # edges beyond that carry no printed weights


@dataclass(frozen=True)
class Size:
    """Measures of a drawing: small circuits get labelled pills, big ones dots."""

    compact: bool
    node_height: float
    gap: float
    group_gap: float
    row_step: float
    line_step: float = 14.0  # between the lines of a folded row


def size_for(nodes: int, fullest: int) -> Size:
    """The measures for so many nodes, ``fullest`` of them in one row: fuller rows stand closer."""
    if nodes > 40 or fullest > 16:
        columns = min(fullest, MOST_COLUMNS)
        gap = min(24.0, max(5.0, 760.0 / columns - 10))
        return Size(True, node_height=10, gap=gap, group_gap=12, row_step=92)
    return Size(False, node_height=26, gap=40 if fullest <= 6 else 20, group_gap=36, row_step=78)


def lay_out(circuit: dict[str, Any]) -> Layout:
    """Place one circuit that :func:`sparsecircuits.viz.schema.check_document` finds sound."""
    return _Drawing(circuit).place()


def node_label(node: dict[str, Any], name: str = "") -> str:
    """What a node's pill says: the name that it was given, or its index, after q, k or v at those sites."""
    if name:
        return visible(name, _MAX_NAME)
    letter = node["site"].removeprefix("attn.")
    return f"{letter} {node['index']}" if node["site"] in QKV else str(node["index"])


class _Drawing:
    """The layered graph while it is built: vertices in rows, then links, then positions."""

    def __init__(self, circuit: dict[str, Any]) -> None:
        self.circuit = circuit
        keys = [_row_key(node) for node in circuit["nodes"]]
        self.size = size_for(len(keys), max(map(keys.count, set(keys)), default=0))
        per_node = 1 if self.size.compact else 3
        self.chips = choose_chips(circuit, per_node)
        self.token_links = list(token_links(circuit, self.chips, per_node))
        self.keys = ["in"] * any(chip.side == "in" for chip in self.chips)
        self.keys += [f"{layer}.{site}" for layer, site in sorted(set(keys), key=_row_rank)]
        self.keys += ["out"] * any(chip.side == "out" for chip in self.chips)
        self.rows: list[list[Vertex]] = [[] for _ in self.keys]
        self.rank: dict[str, int] = {}
        self._add_vertices()
        self.lanes, self.streams = self._route()
        self.steps = [self._token_step(i, name) for i, name, _ in self.token_links]

    def _add(self, vertex: Vertex, row: int) -> None:
        self.rows[row].append(vertex)
        self.rank[vertex.name] = row

    def _add_vertices(self) -> None:
        for i, chip in enumerate(self.chips):
            self._add(Vertex(_chip_name(i), chip.width), self.keys.index(chip.side))
        names = self.circuit.get("labels", {}).get("nodes", {})
        for node in sorted(self.circuit["nodes"], key=lambda n: (n["layer"], n["index"], n["name"])):
            layer, site = _row_key(node)
            group = str(node["head"]) if site == "attn.qkv" and node["head"] is not None else ""
            label = node_label(node, names.get(node["name"], {}).get("name", ""))
            pill = max(38.0, 8.0 * len(label) + 14)
            width = self.size.node_height if self.size.compact else pill
            place = QKV.index(node["site"]) if node["site"] in QKV else 0
            vertex = Vertex(node["name"], width, group, place)
            self._add(vertex, self.keys.index(f"{layer}.{site}"))

    def _route(self) -> tuple[dict[tuple[str, str], list[str]], list[list[str]]]:
        """Paths of vertices, with a bend in every row that a lane or stream passes."""
        last = len(self.rows) - 1
        passed = {}  # rows that each lane passes; the one next to the tokens is where its links meet
        for i, name, _ in self.token_links:
            side, row = self.chips[i].side, self.rank[name]
            passed[side, name] = range(1, row) if side == "in" else range(row + 1, last)
        ends = [(stream["source"], stream["target"]) for stream in self.circuit["stream"]]
        skipped = [range(self.rank[source] + 1, self.rank[target]) for source, target in ends]
        if self.size.compact:  # lines pass faintly under the dots: lanes for all would fill the picture
            passed, skipped = dict.fromkeys(passed, range(0)), [range(0)] * len(ends)
        lanes = {}
        for (side, name), rows in passed.items():
            bends = self._bends(f"lane {side} {name}", rows)
            lanes[side, name] = [*bends, name] if side == "in" else [name, *bends]
        streams = [
            [source, *self._bends(f"stream {i}", rows), target]
            for i, ((source, target), rows) in enumerate(zip(ends, skipped, strict=True))
        ]
        return lanes, streams

    def _bends(self, name: str, rows: range) -> list[str]:
        for row in rows:
            self._add(Vertex(f"{name} {row}", 6.0, bend=True), row)
        return [f"{name} {row}" for row in rows]

    def _token_step(self, chip: int, node: str) -> list[str]:
        side = self.chips[chip].side
        lane = self.lanes[side, node]
        return [_chip_name(chip), lane[0]] if side == "in" else [lane[-1], _chip_name(chip)]

    def place(self) -> Layout:
        """Order, space and read off."""
        circuit, size = self.circuit, self.size
        links = [(edge["source"], edge["target"]) for edge in circuit["edges"]]
        for path in [*self.lanes.values(), *self.streams, *self.steps]:
            links += zip(path, path[1:], strict=False)
        rows = order_rows(self.rows, links)
        folds = [fold_row(row) for row in rows]
        columns = [fold.columns for fold in folds]
        across = place_rows(columns, fold_links(folds, links), size.gap, size.group_gap)
        left, heights = _MARGIN + _LABELS, [(fold.lines - 1) * size.line_step for fold in folds]
        down = _middles(heights, size.row_step)
        at = {}
        for fold, middle, height in zip(folds, down, heights, strict=True):
            for name, column in fold.column_of.items():
                y = middle - height / 2 + fold.line_of[name] * size.line_step
                at[name] = (left + across[column], y)
        width = {vertex.name: vertex.width for row in rows for vertex in row}

        def points(path: list[str]) -> tuple[Point, ...]:
            (first, *between, last), ((x0, y0), (x1, y1)) = path, (at[path[0]], at[path[-1]])
            return (x0, y0 + self._half(first)), *(at[name] for name in between), (x1, y1 - self._half(last))

        paths = [points([edge["source"], edge["target"]]) for edge in circuit["edges"]]
        curves = [(path[0], path[-1]) for path in paths]
        strongest_first = sorted(range(len(curves)), key=lambda i: -abs(circuit["edges"][i]["weight"]))
        return Layout(
            width=max((at[name][0] + width[name] / 2 for name in at), default=left) + _MARGIN,
            height=(down[-1] + heights[-1] / 2 if down else 0.0) + 20 + _MARGIN,
            compact=size.compact,
            node_height=size.node_height,
            rows=tuple(
                Row(key, *_row_label(key), y, height)
                for key, y, height in zip(self.keys, down, heights, strict=True)
            ),
            nodes={node["name"]: (*at[node["name"]], width[node["name"]]) for node in circuit["nodes"]},
            boxes=tuple(self._boxes(rows, at)),
            chips=tuple(
                dataclasses.replace(chip, x=at[_chip_name(i)][0], y=at[_chip_name(i)][1])
                for i, chip in enumerate(self.chips)
            ),
            token_links=tuple(
                TokenLink(i, name, weight, points(step))
                for (i, name, weight), step in zip(self.token_links, self.steps, strict=True)
            ),
            lanes=tuple(Lane(name, points(path)) for (_, name), path in self.lanes.items() if len(path) > 1),
            streams=tuple(Stream(path[0], path[-1], points(path)) for path in self.streams),
            numbers=tuple(place_labels(curves, strongest_first)) if len(curves) <= _MAX_NUMBERS else (),
        )

    def _boxes(self, rows: list[list[Vertex]], at: dict[str, Point]) -> Iterable[Box]:
        pad_x, pad_y = (5.0, 7.0) if self.size.compact else (9.0, 12.0)
        pad_y += self.size.node_height / 2
        for key, vertices in zip(self.keys, rows, strict=True):
            groups: dict[str, list[Vertex]] = {}
            for vertex in vertices:
                groups.setdefault(vertex.group, []).append(vertex)
            for group in sorted(filter(None, groups), key=int):
                members = groups[group]
                left = min(at[v.name][0] - v.width / 2 for v in members) - pad_x
                right = max(at[v.name][0] + v.width / 2 for v in members) + pad_x
                top = min(at[v.name][1] for v in members) - pad_y
                bottom = max(at[v.name][1] for v in members) + pad_y
                yield Box(int(key.partition(".")[0]), int(group), left, top, right - left, bottom - top)

    def _half(self, name: str) -> float:
        if name.startswith(_CHIP):
            return 12.0
        return 0.0 if " " in name else self.size.node_height / 2


# Names of vertices that are no nodes hold a space; a node's name never does.
_CHIP = "chip "


def _chip_name(index: int) -> str:
    return f"{_CHIP}{index}"


def _middles(heights: list[float], step: float) -> list[float]:
    """Where the rows' middles stand: ``step`` from each row's last line to the next one's first."""
    middles, below = [], _MARGIN + 20.0
    for height in heights:
        middles.append(below + height / 2)
        below += height + step
    return middles


def _row_key(node: dict[str, Any]) -> tuple[int, str]:
    return node["layer"], "attn.qkv" if node["site"] in QKV else node["site"]


def _row_rank(key: tuple[int, str]) -> tuple[int, int]:
    return key[0], list(ROWS).index(key[1])


def _row_label(key: str) -> tuple[str, int | None]:
    if key in ("in", "out"):
        return ("tokens in" if key == "in" else "logits out"), None
    layer, _, site = key.partition(".")
    return ROWS[site], int(layer)
