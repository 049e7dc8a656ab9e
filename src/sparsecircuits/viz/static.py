"""One circuit -> one still picture (PNG, SVG or PDF), in the layout and colours of the page.

For a README, a paper or a talk: no selection, no panel, no prompts. The steps follow the page's
``graph.js``: bands, head boxes, residual stream, token links, edges, weights, nodes, labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sparsecircuits.viz.layout import Layout, lay_out, node_label
from sparsecircuits.viz.pen import (
    DPI,
    POINT,
    draw_arc,
    draw_box,
    draw_curve,
    draw_text,
    sheet,
    sign_colour,
    sign_dashes,
    signed,
)
from sparsecircuits.viz.style import BAND, BOX, FAINT, INK, LINE, MONO, PAPER, SOFT, save_chart


def draw_circuit(circuit: dict[str, Any], path: Path | str, *, scale: float = 2.0) -> None:
    """Draw one circuit of the page's document to a file.

    Args:
        circuit: as ``schema.json`` describes it.
        path: the ending chooses the format: ``.png``, ``.svg`` or ``.pdf``.
        scale: pixels of a PNG for each pixel of the layout.
    """
    save_chart(circuit_figure(circuit), path, dpi=DPI * scale)


def circuit_figure(circuit: dict[str, Any]) -> Figure:
    """The picture as a matplotlib figure, for further work on it."""
    layout = lay_out(circuit)
    figure, axes = sheet(layout.width, layout.height, downward=True)  # as on the page
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
        draw_box(axes, 8, top, layout.width - 16, bottom - top, 10, BAND, "none")
        draw_text(axes, 20, top + 16, f"LAYER {layer}", 10, FAINT, ha="left", weight="bold")
    for row in layout.rows:
        draw_text(axes, 20, row.y, row.label, 12, SOFT, ha="left")


def _draw_boxes(axes: Any, layout: Layout) -> None:
    for box in layout.boxes:
        draw_box(axes, box.x, box.y, box.width, box.height, 8, BOX, FAINT, 0.8)
        if layout.compact:
            draw_text(axes, box.x + 1, box.y + box.height + 7, f"h{box.head}", 9, SOFT, ha="left")
        else:
            draw_text(axes, box.x - 5, box.y + box.height / 2, f"head {box.head}", 10, SOFT, ha="right")


def _draw_links(axes: Any, layout: Layout) -> None:
    for stream in layout.streams:
        draw_curve(axes, stream.points, SOFT, 1.5, alpha=0.4 if layout.compact else 1.0, dashes=(0.9, 2.4))
    for lane in layout.lanes:
        draw_curve(axes, lane.points, FAINT, 1.2, alpha=0.8)
    for side in ("in", "out"):
        links = [link for link in layout.token_links if layout.chips[link.chip].side == side]
        strongest = max((abs(link.weight) for link in links), default=1.0)
        for link in links:
            width = 0.6 + 1.8 * abs(link.weight) / strongest
            alpha, dashes = 0.2 if layout.compact else 0.6, sign_dashes(link.weight, width)
            draw_curve(axes, link.points, sign_colour(link.weight), width, alpha=alpha, dashes=dashes)


def _draw_edges(axes: Any, layout: Layout, circuit: dict[str, Any]) -> None:
    half = layout.node_height / 2
    widest = max((abs(edge["weight"]) for edge in circuit["edges"]), default=1.0) or 1.0
    for edge in sorted(circuit["edges"], key=lambda edge: abs(edge["weight"])):
        (x0, y0, _), (x1, y1, _) = layout.nodes[edge["source"]], layout.nodes[edge["target"]]
        share = abs(edge["weight"]) / widest
        width = 0.35 + 1.9 * share if layout.compact else 1 + 3.6 * share
        alpha = 0.18 + 0.62 * share if layout.compact else 0.9
        ends = ((x0, y0 + half), (x1, y1 - half))
        draw_curve(
            axes,
            ends,
            sign_colour(edge["weight"]),
            width,
            alpha=alpha,
            dashes=sign_dashes(edge["weight"], width),
        )
    for edge, (x, y) in zip(circuit["edges"], layout.numbers, strict=False):
        number = signed(edge["weight"])
        draw_box(axes, x - 18, y - 7, 36, 14, 3, BAND, "none", alpha=0.9)
        draw_text(axes, x, y, number, 11, INK)


def _draw_chips(axes: Any, layout: Layout) -> None:
    for chip in layout.chips:
        edge = (INK, 1.3) if chip.candidate else (LINE, 1.0)
        draw_box(axes, chip.x - chip.width / 2, chip.y - 12, chip.width, 24, 5, PAPER, *edge)
        draw_text(axes, chip.x, chip.y, chip.label, 12, INK, family=MONO)


def _draw_nodes(axes: Any, layout: Layout, circuit: dict[str, Any]) -> None:
    strongest = max((node["effect"] or 0.0 for node in circuit["nodes"]), default=0.0)
    tall = layout.node_height
    names = circuit.get("labels", {}).get("nodes", {})
    _draw_products(axes, layout, circuit)
    for node in circuit["nodes"]:
        x, y, wide = layout.nodes[node["name"]]
        face, edge = (SOFT, PAPER) if layout.compact else (PAPER, FAINT)
        draw_box(axes, x - wide / 2, y - tall / 2, wide, tall, tall / 2, face, edge, 1.2)
        if layout.compact:
            continue
        text = node_label(node, names.get(node["name"], {}).get("name", ""))
        draw_text(axes, x, y - 0.5, text, 12, INK, weight="bold")
        share = max(0.0, node["effect"] or 0.0) / strongest if strongest > 0 else 0.0
        if share > 0:
            reach = (wide - 16) * share / 2
            axes.plot([x - reach, x + reach], [y + tall / 2 - 4, y + tall / 2 - 4], color=INK, lw=2 * POINT)


def _draw_products(axes: Any, layout: Layout, circuit: dict[str, Any]) -> None:
    keys = {(n["layer"], n["index"]): n["name"] for n in circuit["nodes"] if n["site"] == "attn.k"}
    for query in circuit["nodes"]:
        key = keys.get((query["layer"], query["index"]))
        if query["site"] == "attn.q" and key:
            (x0, y, _), (x1, _, _) = layout.nodes[query["name"]], layout.nodes[key]
            y += layout.node_height / 2
            draw_arc(axes, (x0, y), (x1, y), 10, SOFT, 1.1)
