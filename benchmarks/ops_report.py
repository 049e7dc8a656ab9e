"""From ``docs/results/ops.json`` to tables in ``docs/performance.md`` and the plot of step times."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.ops_timing import percent
from benchmarks.report import goal_of, markdown, met, number, short

SCRIPT = "benchmarks/ops.py"

#: Headings of the tables, and how the names of their rows begin.
TABLES = {
    "AbsTopK": ("AbsTopK",),
    "Weight projection": ("weight projection",),
    "Sparse linear map: forward, dX and the gradient at the kept weights": ("sparse linear",),
    "Other operations": ("attention", "RMSNorm", "GELU", "loss"),
    "A whole training step": ("sparse step",),
    "Decoding": ("decoding",),
    "Growth": ("step time",),
}
_ENDING = re.compile(r", (\d+) threads?(, default malloc)?$")
#: Columns: threads, and whether memory is handled by default.
_COLUMNS = {"1 thread": (1, False), "2 threads": (2, False), "1 thread, default malloc": (1, True)}


def tables(result: dict[str, Any]) -> str:
    """What stands between the markers: where it was measured, tables, and what is short of its goal."""
    parts = [
        f"`{result['command']}` at commit `{result['commit'][:7]}`. Machine: {result['machine']}.",
        "*ms* are the medians of both sides on one thread, ours first; **bold** is short of its goal.",
    ]
    if result.get("failed"):
        parts.append(f"Not complete: {'; '.join(result['failed'])}.")
    rows = _by_name(result)
    for heading, beginnings in TABLES.items():
        found = {name: row for name, row in rows.items() if name.startswith(beginnings)}
        if found:
            parts += [f"### {heading}", _table(found)]
    if result["growth"]:
        parts += ["The times behind the picture above, in milliseconds:", _growth_table(result["growth"])]
    return "\n\n".join([*parts, short(result)])


def _by_name(result: dict[str, Any]) -> dict[str, dict[tuple[int, bool], dict[str, Any]]]:
    """Figures by their name without its ending, then by threads and handling of memory."""
    times = {row["name"]: row for row in result["measurements"]}
    found: dict[str, dict[tuple[int, bool], dict[str, Any]]] = {}
    for row in result["figures"]:
        ending = _ENDING.search(row["name"])
        if ending is None:
            raise ValueError(f"the figure {row['name']!r} does not end with a number of threads")
        setting = (int(ending[1]), ending[2] is not None)
        found.setdefault(row["name"][: ending.start()], {})[setting] = row | {"ms": times.get(row["name"])}
    return found


def _table(rows: dict[str, dict[tuple[int, bool], dict[str, Any]]]) -> str:
    lines = [["what", "ms", "goal", *_COLUMNS]]
    for name, by_setting in rows.items():
        first = next(iter(by_setting.values()))
        judged = next((row for row in by_setting.values() if row["goal"] is not None), first)
        cells = [_cell(by_setting.get(setting)) for setting in _COLUMNS.values()]
        lines.append([name, _times(by_setting.get((1, False), first)), goal_of(judged), *cells])
    return markdown(lines)


def _growth_table(points: list[dict[str, Any]]) -> str:
    lines = [["threads", "width", "density", "floor", "step", "dense dW products", "bytes moved"]]
    for point in points:
        times = [number(point[key]) for key in ("step_ms", "products_ms", "bytes_ms")]
        place = [
            str(point["threads"]),
            str(point["width"]),
            f"{percent(point['density'])}",
            str(point["floor"]),
        ]
        lines.append([*place, *times])
    return markdown(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    value = number(row["value"])
    return value if met(row["value"], row["goal"], row["sense"]) else f"**{value}**"


def _times(row: dict[str, Any]) -> str:
    times = row["ms"]
    return "" if times is None else f"{number(times['ours_ms'])} / {number(times['other_ms'])}"


# --- The plot ---

_COLOURS = ("#1b9e77", "#7570b3", "#d95f02", "#e7298a")
_GREY = "#555555"


def draw_growth(points: list[dict[str, Any]], path: Path) -> None:
    """Milliseconds a step by width: a line for each density, two floors, a panel for each thread count."""
    threads = sorted({point["threads"] for point in points})
    figure = Figure(figsize=(1.2 + 4.6 * len(threads), 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    if not threads:
        figure.savefig(path)
        return
    panels = figure.subplots(1, len(threads), sharey=True, squeeze=False)[0]
    for panel, count in zip(panels, threads, strict=True):
        _draw_panel(panel, [point for point in points if point["threads"] == count])
        panel.set_title(f"{count} thread{'s' * (count != 1)}")
    panels[0].set_ylabel("milliseconds a training step")
    figure.legend(handles=_legend(points), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.suptitle("How a training step grows with width and density", fontsize=12)
    figure.savefig(path, dpi=130)


def _draw_panel(panel: Any, points: list[dict[str, Any]]) -> None:
    widths = sorted({point["width"] for point in points})
    for density, colour in zip(_densities(points), _COLOURS, strict=False):
        line = sorted((p for p in points if p["density"] == density), key=lambda p: p["width"])
        xs, ys = [p["width"] for p in line], [p["step_ms"] for p in line]
        panel.plot(xs, ys, color=colour, linewidth=1.8)
        for p in line:
            face = colour if p["floor"] else "white"
            panel.plot(p["width"], p["step_ms"], "o", color=colour, markerfacecolor=face, markersize=6)
    for key, style in (("products_ms", "--"), ("bytes_ms", ":")):
        floor = {p["width"]: p[key] for p in points}
        panel.plot(widths, [floor[width] for width in widths], style, color=_GREY, linewidth=1.6)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.xaxis.set_major_locator(FixedLocator(widths))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    panel.set_xlabel("width of the model")
    panel.grid(True, which="major", color="#dddddd", linewidth=0.7)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _legend(points: list[dict[str, Any]]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colour, marker="o", label=f"step, {percent(density)} of the weights kept")
        for density, colour in zip(_densities(points), _COLOURS, strict=False)
    ]
    return [
        *handles,
        Line2D([], [], color=_GREY, linestyle="--", label="the dense dW products alone"),
        Line2D([], [], color=_GREY, linestyle=":", label="moving parameters, gradients, moments"),
        Line2D([], [], color=_GREY, marker="o", linestyle="", label="filled: at least 4 weights a neuron"),
        Line2D(
            [], [], color=_GREY, marker="o", linestyle="", markerfacecolor="white",
            label="open: no such floor (4 / width is above the density)",
        ),
    ]  # fmt: skip


def _densities(points: list[dict[str, Any]]) -> list[float]:
    return sorted({point["density"] for point in points}, reverse=True)
