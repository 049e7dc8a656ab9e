"""One circuit -> one still picture (PNG, SVG or PDF), in the layout and colours of the page.

For a README, a paper or a talk: no selection, no panel, no prompts. The steps follow the page's
``graph.js``: bands, head boxes, residual stream, token links, edges, weights, nodes, labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from sparsecircuits.viz.layout import Layout, lay_out, node_label

_PAPER, _BAND, _INK, _SOFT, _FAINT, _LINE = "#ffffff", "#f4f2ee", "#1c1d20", "#5d6068", "#a3a5ab", "#d9d7d1"
_POSITIVE, _NEGATIVE = "#1565ad", "#c2540a"
_DPI = 100  # layout pixels per inch
_POINT = 72 / _DPI  # matplotlib measures lines and type in points, the layout in pixels
_MONO, _SANS = "DejaVu Sans Mono", "DejaVu Sans"  # both come with matplotlib and hold the sign for a newline


def draw_circuit(circuit: dict[str, Any], path: Path | str, *, scale: float = 2.0) -> None:
    """Draw one circuit of the page's document to a file.

    Args:
        circuit: as ``schema.json`` describes it.
        path: the ending chooses the format: ``.png``, ``.svg`` or ``.pdf``.
        scale: pixels of a PNG for each pixel of the layout.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = circuit_figure(circuit)
    # No date inside, so that the same circuit gives the same file.
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
    figure.savefig(path, dpi=_DPI * scale, facecolor=_PAPER, metadata=metadata)


def circuit_figure(circuit: dict[str, Any]) -> Figure:
    """The picture as a matplotlib figure, for further work on it."""
    layout = lay_out(circuit)
    figure = Figure(figsize=(layout.width / _DPI, layout.height / _DPI))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, layout.width)
    axes.set_ylim(layout.height, 0)  # y runs downward, as on the page
    axes.set_axis_off()
    _draw_rows(axes, layout)
    _draw_boxes(axes, layout)
    _draw_links(axes, layout)
    _draw_edges(axes, layout, circuit)
    _draw_chips(axes, layout)
    _draw_nodes(axes, layout, circuit)
    return figure


def _draw_rows(axes: Any, layout: Layout) -> None:
    for layer in sorted({row.layer for row in layout.rows if row.layer is not None}):
        rows = [row for row in layout.rows if row.layer == layer]
        top = min(row.y - row.height / 2 for row in rows) - 34
        bottom = max(row.y + row.height / 2 for row in rows) + 34
        _box(axes, 8, top, layout.width - 16, bottom - top, 10, _BAND, "none")
        _text(axes, 20, top + 16, f"LAYER {layer}", 10, _FAINT, ha="left", weight="bold")
    for row in layout.rows:
        _text(axes, 20, row.y, row.label, 12, _SOFT, ha="left")


def _draw_boxes(axes: Any, layout: Layout) -> None:
    for box in layout.boxes:
        _box(axes, box.x, box.y, box.width, box.height, 8, "#e9e7e2", _FAINT, 0.8)
        if layout.compact:
            _text(axes, box.x + 1, box.y + box.height + 7, f"h{box.head}", 9, _SOFT, ha="left")
        else:
            _text(axes, box.x - 5, box.y + box.height / 2, f"head {box.head}", 10, _SOFT, ha="right")


def _draw_links(axes: Any, layout: Layout) -> None:
    for stream in layout.streams:
        _curve(axes, stream.points, _SOFT, 1.5, alpha=0.4 if layout.compact else 1.0, dashes=(0.9, 2.4))
    for lane in layout.lanes:
        _curve(axes, lane.points, _FAINT, 1.2, alpha=0.8)
    for side in ("in", "out"):
        links = [link for link in layout.token_links if layout.chips[link.chip].side == side]
        strongest = max((abs(link.weight) for link in links), default=1.0)
        for link in links:
            width = 0.6 + 1.8 * abs(link.weight) / strongest
            alpha, dashes = 0.2 if layout.compact else 0.6, _dashes(link.weight, width)
            _curve(axes, link.points, _colour(link.weight), width, alpha=alpha, dashes=dashes)


def _draw_edges(axes: Any, layout: Layout, circuit: dict[str, Any]) -> None:
    half = layout.node_height / 2
    widest = max((abs(edge["weight"]) for edge in circuit["edges"]), default=1.0) or 1.0
    for edge in sorted(circuit["edges"], key=lambda edge: abs(edge["weight"])):
        (x0, y0, _), (x1, y1, _) = layout.nodes[edge["source"]], layout.nodes[edge["target"]]
        share = abs(edge["weight"]) / widest
        width = 0.35 + 1.9 * share if layout.compact else 1 + 3.6 * share
        alpha = 0.18 + 0.62 * share if layout.compact else 0.9
        ends = ((x0, y0 + half), (x1, y1 - half))
        _curve(axes, ends, _colour(edge["weight"]), width, alpha=alpha, dashes=_dashes(edge["weight"], width))
    for edge, (x, y) in zip(circuit["edges"], layout.numbers, strict=False):
        number = f"{edge['weight']:+.2f}".replace("-", "−")
        _box(axes, x - 18, y - 7, 36, 14, 3, _BAND, "none", alpha=0.9)
        _text(axes, x, y, number, 11, _INK)


def _draw_chips(axes: Any, layout: Layout) -> None:
    for chip in layout.chips:
        edge = (_INK, 1.3) if chip.candidate else (_LINE, 1.0)
        _box(axes, chip.x - chip.width / 2, chip.y - 12, chip.width, 24, 5, _PAPER, *edge)
        _text(axes, chip.x, chip.y, chip.label, 12, _INK, family=_MONO)


def _draw_nodes(axes: Any, layout: Layout, circuit: dict[str, Any]) -> None:
    strongest = max((node["effect"] or 0.0 for node in circuit["nodes"]), default=0.0)
    tall = layout.node_height
    _draw_products(axes, layout, circuit)
    for node in circuit["nodes"]:
        x, y, wide = layout.nodes[node["name"]]
        face, edge = (_SOFT, _PAPER) if layout.compact else (_PAPER, _FAINT)
        _box(axes, x - wide / 2, y - tall / 2, wide, tall, tall / 2, face, edge, 1.2)
        if layout.compact:
            continue
        _text(axes, x, y - 0.5, node_label(node), 12, _INK, weight="bold")
        share = max(0.0, node["effect"] or 0.0) / strongest if strongest > 0 else 0.0
        if share > 0:
            reach = (wide - 16) * share / 2
            axes.plot([x - reach, x + reach], [y + tall / 2 - 4, y + tall / 2 - 4], color=_INK, lw=2 * _POINT)


def _draw_products(axes: Any, layout: Layout, circuit: dict[str, Any]) -> None:
    keys = {(n["layer"], n["index"]): n["name"] for n in circuit["nodes"] if n["site"] == "attn.k"}
    for query in circuit["nodes"]:
        key = keys.get((query["layer"], query["index"]))
        if query["site"] == "attn.q" and key:
            (x0, y, _), (x1, _, _) = layout.nodes[query["name"]], layout.nodes[key]
            y += layout.node_height / 2
            codes = [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
            arc = Curve([(x0, y), (x0, y + 10), (x1, y + 10), (x1, y)], codes)
            axes.add_patch(PathPatch(arc, fill=False, edgecolor=_SOFT, lw=1.1 * _POINT))


def _curve(
    axes: Any,
    points: Sequence[tuple[float, float]],
    colour: str,
    width: float,
    *,
    alpha: float = 1.0,
    dashes: tuple[float, float] | None = None,
) -> None:
    vertices, codes = [points[0]], [Curve.MOVETO]
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        middle = (y0 + y1) / 2
        vertices += [(x0, middle), (x1, middle), (x1, y1)]
        codes += [Curve.CURVE4] * 3
    style = (0, dashes) if dashes else "solid"
    shape, wide = Curve(vertices, codes), width * _POINT
    axes.add_patch(PathPatch(shape, fill=False, edgecolor=colour, lw=wide, alpha=alpha, linestyle=style))


def _box(
    axes: Any, x: float, y: float, width: float, height: float, radius: float, face: str, edge: str,
    line: float = 0.0, alpha: float = 1.0,
) -> None:  # fmt: skip
    style = f"round,pad=0,rounding_size={min(radius, width / 2, height / 2)}"
    axes.add_patch(
        FancyBboxPatch(
            (x, y),
            width,
            height,
            boxstyle=style,
            facecolor=face,
            edgecolor=edge,
            lw=line * _POINT,
            alpha=alpha,
        )  # fmt: skip
    )


def _text(
    axes: Any, x: float, y: float, text: str, pixels: float, colour: str, *,
    ha: str = "center", weight: str = "normal", family: str = _SANS,
) -> None:  # fmt: skip
    # parse_math off: a token may hold a dollar sign.
    axes.text(x, y, text, size=pixels * _POINT, color=colour, ha=ha, va="center_baseline", weight=weight,
              family=family, parse_math=False)  # fmt: skip


def _colour(weight: float) -> str:
    return _NEGATIVE if weight < 0 else _POSITIVE


def _dashes(weight: float, width: float) -> tuple[float, float] | None:
    # matplotlib counts dashes in line widths, the page in pixels.
    return (7 / width, 4 / width) if weight < 0 else None
