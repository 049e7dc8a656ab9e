"""An active path -> one still picture (SVG, PDF or PNG) in the manner of Gao et al. 2025, Fig 4.

Tokens from left to right, layers from bottom to top. On a line stands what its target would lose without its
source (:mod:`~sparsecircuits.viz.drawing.trace`), in a node its mean and its value here; what lowers its
target is orange and dashed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.model import Node
from sparsecircuits.viz.drawing.active_path import ActivePath
from sparsecircuits.viz.drawing.pills import CODE, Pill
from sparsecircuits.viz.drawing.place import LEFT, MARGIN, Placed, place
from sparsecircuits.viz.drawing.spots import ANSWER, Spot
from sparsecircuits.viz.drawing.tracks import Label, Wiring, wire
from sparsecircuits.viz.pen import (
    DPI,
    POINT,
    draw_box,
    draw_bracket,
    draw_curve,
    draw_text,
    sheet,
    sign_colour,
    sign_dashes,
)
from sparsecircuits.viz.style import BAND, BOX, FAINT, INK, LINE, MONO, PAPER, SOFT, save_chart
from sparsecircuits.viz.tokens import visible

_LEGEND = (
    "On a line: what its target would lose if this source alone were frozen at its mean, with the norm "
    "held. Blue raises, orange and dashed lowers.",
    "Lines from tokens, positions, the bigram table, biases and heads’ means count whole. att.: how much "
    "a token attends to the source’s. In a node: its mean → its value here.",
    "At the answer: lines + the smaller ones (“more”) + what frozen values add (“constant”) = the number "
    "after the logits, up to rounding.",
)
_LEGEND_LINE = 15.0
_NARROWEST = 860.0


def draw_path(
    path: ActivePath,
    file: Path | str,
    tokenizer: TextTokenizer,
    *,
    title: str = "",
    names: Mapping[Node, str] | None = None,
    scale: float = 2.0,
) -> None:
    """Draw one prompt's path to a file.

    Args:
        path: from :func:`~sparsecircuits.viz.drawing.active_path`.
        file: the ending chooses the format: ``.svg``, ``.pdf`` or ``.png``.
        tokenizer: the model's.
        title: above the drawing, such as the task's name.
        names: what nodes are called; others go by their index.
        scale: pixels of a PNG for each pixel of the drawing.
    """
    save_chart(path_figure(path, tokenizer, title=title, names=names), file, dpi=DPI * scale)


def path_figure(
    path: ActivePath,
    tokenizer: TextTokenizer,
    *,
    title: str = "",
    names: Mapping[Node, str] | None = None,
) -> Figure:
    """The picture as a matplotlib figure, for further work on it."""
    texts = [visible(tokenizer.text(token), 18) for token in path.tokens]
    answers = [visible(tokenizer.text(token), 18) for token in path.answers]
    width = place(path, texts, answers, names or {}).width
    width = max(width, _NARROWEST)
    prompt = _wrapped(texts, width)
    placed = place(path, texts, answers, names or {}, foot_lines=prompt[-1][1] + 1)
    wiring = wire(path, placed)
    figure, axes = sheet(width, placed.height)
    _draw_rows(axes, placed, width)
    _draw_heads(axes, placed)
    _draw_lines(axes, wiring)
    for spot, pill in placed.pills.items():
        _draw_pill(axes, spot, pill)
    for label in wiring.labels:
        _draw_label(axes, label)
    _draw_foot(axes, path, placed, texts, prompt)
    size = min(15.0, (width - 2 * MARGIN) / max(1.0, 0.72 * len(title)))
    draw_text(axes, MARGIN, placed.height - 24, title, size, INK, ha="left", weight="bold")
    return figure


def _draw_rows(axes: Any, placed: Placed, width: float) -> None:
    layers = [row.key[0] for row in placed.rows if row.key[1].startswith(("attn.", "mlp."))]
    for layer in dict.fromkeys(layers):
        rows = [row for row in placed.rows if row.key[0] == layer]
        bottom, top = rows[0].y - 34, rows[-1].y + 34
        draw_box(axes, 8, bottom, width - 16, top - bottom, 10, BAND, "none")
        draw_text(axes, 20, rows[-1].y + 23, f"LAYER {layer}", 10, SOFT, ha="left", weight="bold")
    for row in placed.rows:
        draw_text(axes, 20, row.y, row.label, 12, SOFT, ha="left")


def _draw_heads(axes: Any, placed: Placed) -> None:
    """A frame around the channels of one head at one token."""
    groups: dict[tuple[int, str], list[Pill]] = {}
    for spot, pill in placed.pills.items():
        if pill.head:
            groups.setdefault((spot.position, pill.head), []).append(pill)
    for (_, head), pills in groups.items():
        left = min(pill.x - pill.width / 2 for pill in pills) - 7
        right = max(pill.x + pill.width / 2 for pill in pills) + 7
        bottom = min(pill.y - pill.height / 2 for pill in pills) - 7
        top = max(pill.y + pill.height / 2 for pill in pills) + 7
        draw_box(axes, left, bottom, right - left, top - bottom, 9, BOX, FAINT, 0.8)
        draw_text(axes, left - 4, (bottom + top) / 2 + 6, "head", 9, SOFT, ha="right")
        draw_text(axes, left - 4, (bottom + top) / 2 - 6, head.partition(".")[2], 9, SOFT, ha="right")


def _draw_lines(axes: Any, wiring: Wiring) -> None:
    for line in wiring.lines:
        if line.score:
            draw = draw_bracket if line.bent else draw_curve
            draw(axes, line.points, SOFT, 1.3, dashes=(1.0, 2.2))
            continue
        width = 1.0 + 2.6 * line.share
        draw = draw_bracket if line.bent else draw_curve
        draw(axes, line.points, sign_colour(line.number), width, dashes=sign_dashes(line.number, width))
    for x, y in wiring.joints:
        axes.plot([x], [y], "o", ms=6.5 * POINT, mfc=SOFT, mec=PAPER, mew=0.8, zorder=3)


def _draw_pill(axes: Any, spot: Spot, pill: Pill) -> None:
    edge = (INK, 1.4) if spot.what == ANSWER else ((LINE if pill.code else FAINT), 1.2)
    radius = 6.0 if pill.code or not pill.details else 13.0
    left, bottom = pill.x - pill.width / 2, pill.y - pill.height / 2
    draw_box(axes, left, bottom, pill.width, pill.height, radius, PAPER, *edge)
    title, *details = pill.lines
    if pill.code:
        draw_text(axes, pill.x, title, pill.title, 12, INK, family=MONO)
    else:
        draw_text(axes, pill.x, title, pill.title, 12, INK, weight="bold")
    for y, text in zip(details, pill.details, strict=True):
        draw_text(axes, pill.x, y, text, 10, SOFT)


def _draw_label(axes: Any, label: Label) -> None:
    draw_box(axes, label.x - label.width / 2, label.y - 7, label.width, 14, 3, BAND, "none")
    draw_text(axes, label.x, label.y, label.text, 10, SOFT if label.soft else INK)


def _draw_foot(
    axes: Any, path: ActivePath, placed: Placed, texts: Sequence[str], prompt: Sequence[tuple[float, int]]
) -> None:
    """What was skipped between the columns, the whole prompt, and how to read the picture."""
    tokens = placed.rows[0].y
    for gap in placed.gaps:
        draw_text(axes, gap.x, tokens + 6, "···", 14, SOFT)
        draw_text(axes, gap.x, tokens - 10, f"{gap.count} token{'s' * (gap.count > 1)}", 9, SOFT)
    first = placed.foot - 30
    shown = set(path.positions)
    for position, (text, (x, line)) in enumerate(zip(texts, prompt, strict=True)):
        y = first - 18 * line
        if position in shown:
            draw_box(axes, x - 2, y - 8, CODE * len(text) + 4, 16, 3, BOX, "none")
        draw_text(axes, x, y, text, 11.5, INK if position in shown else SOFT, ha="left", family=MONO)
    draw_text(axes, 20, first, "whole prompt", 12, SOFT, ha="left")
    for line, text in enumerate(reversed(_LEGEND)):
        draw_text(axes, 20, 16 + _LEGEND_LINE * line, text, 10, SOFT, ha="left")


def _wrapped(texts: Sequence[str], width: float) -> list[tuple[float, int]]:
    """Where each token of the whole prompt begins: x and line."""
    found: list[tuple[float, int]] = []
    x, line = LEFT, 0
    for text in texts:
        wide = CODE * len(text) + 6
        if x + wide > width - MARGIN and x > LEFT:
            x, line = LEFT, line + 1
        found.append((x, line))
        x += wide
    return found
