"""Two losses for every token -> one picture of how they go together (Gao et al. 2025, Fig 33).

Both axes are nats. The colour of a cell is the number of tokens in it, on a logarithmic scale: most tokens
are easy for both models, and lie in the corner. On the diagonal the models are equal; dashed lines are means.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

_PAPER, _INK, _SOFT, _MEAN = "#ffffff", "#1c1d20", "#5d6068", "#c2540a"
#: From one token in a cell, still seen on white, to the fullest.
_COLOURS = LinearSegmentedColormap.from_list("tokens", ("#bcd3ea", "#5b9bd0", "#1565ad", "#0b2545"))
_BINS = 120
_SIDE = 6.4  # inches


def draw_density(
    first: np.ndarray,
    second: np.ndarray,
    path: Path | str,
    *,
    names: tuple[str, str],
    correlation: float | None,
    dpi: float = 160,
) -> None:
    """Draw the picture to a file.

    Args:
        first: [tokens] nats, along the horizontal axis.
        second: [tokens] nats of the same tokens, along the vertical one.
        path: the ending chooses the format: ``.png``, ``.svg`` or ``.pdf``.
        names: what to call the two models.
        correlation: goes into the title; None is shown as undefined.
        dpi: pixels of a PNG for each inch.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = density_figure(first, second, names=names, correlation=correlation)
    # No date inside, and names that chance does not choose: the same losses give the same file.
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
    with rc_context({"svg.hashsalt": "sparsecircuits"}):
        figure.savefig(path, dpi=dpi, facecolor=_PAPER, metadata=metadata)


def density_figure(
    first: np.ndarray, second: np.ndarray, *, names: tuple[str, str], correlation: float | None
) -> Figure:
    """The picture as a matplotlib figure, for further work on it."""
    figure = Figure(figsize=(_SIDE, _SIDE * 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    end = max(1.0, math.ceil(2 * max(first.max(), second.max())) / 2)
    counts, edges, _ = np.histogram2d(first, second, bins=_BINS, range=((0, end), (0, end)))
    shown = np.ma.masked_less(counts.T, 1)
    norm = LogNorm(1, max(10.0, counts.max()))
    axes.plot((0, end), (0, end), color=_INK, lw=0.8, alpha=0.7, zorder=3)
    mesh = axes.pcolormesh(edges, edges, shown, cmap=_COLOURS, norm=norm, rasterized=True, zorder=2)
    _mean_lines(axes, (float(first.mean()), float(second.mean())), end)
    # What the two sides of the diagonal mean, where there is nearly always room.
    corners = ((0.3, 0.9, names[0]), (0.97, 0.3, names[1]))
    for (x, y, name), ha in zip(corners, ("center", "right"), strict=True):
        axes.text(x * end, y * end, f"{name} is better", color=_SOFT, size=10, ha=ha, parse_math=False)
    for name, label in zip(names, (axes.set_xlabel, axes.set_ylabel), strict=True):
        label(f"{name}: loss of a token (nats)", color=_INK, size=11, parse_math=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    axes.set_aspect("equal")
    axes.spines[["top", "right"]].set_visible(False)
    r = "undefined" if correlation is None else f"{correlation:.3f}"
    axes.set_title(f"{len(first):,} tokens, r = {r}", size=13, color=_INK, loc="left", pad=10)
    bar = figure.colorbar(mesh, ax=axes, shrink=0.8, pad=0.02, format=FuncFormatter(lambda n, _: f"{n:,.0f}"))
    bar.set_label("tokens in a cell", color=_INK, size=10)
    return figure


def _mean_lines(axes: Any, means: tuple[float, float], end: float) -> None:
    """A dashed line across at each mean, with its value at the far end."""
    x, y = means
    style = {"color": _MEAN, "lw": 1, "ls": (0, (4, 3))}
    axes.axvline(x, **style)
    axes.axhline(y, **style)
    near = 0.012 * end
    clear = {"facecolor": _PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    axes.text(x + near, 0.99 * end, f"mean {x:.3f}", color=_MEAN, size=9, ha="left", va="top", bbox=clear)
    axes.text(0.99 * end, y + near, f"mean {y:.3f}", color=_MEAN, size=9, ha="right", va="bottom", bbox=clear)
