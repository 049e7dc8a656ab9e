"""One look for every picture of the project: colours, lines, frames, and how a figure is saved.

Blue is up, orange is down, and what is negative is also dashed. The colours stay apart for those who see
no red and green; where there are more lines than colours, markers differ too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PAPER, BAND, BOX, LINE, FAINT, SOFT, INK = (
    *("#ffffff", "#f4f2ee", "#e9e7e2", "#d9d7d1"),
    *("#a3a5ab", "#5d6068", "#1c1d20"),
)
BLUE, ORANGE, GREEN, PURPLE, OCHRE, GREY, PINK = (
    *("#1565ad", "#c2540a", "#2a8a57", "#8a4fa3"),
    *("#b08900", "#4a4d55", "#c7478b"),
)
POSITIVE, NEGATIVE = BLUE, ORANGE
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, OCHRE, GREY, PINK)
MARKERS = "osD^v"
DASHES = ("-", "--", ":", "-.")
#: Both come with matplotlib and hold the sign for a newline.
MONO, SANS = "DejaVu Sans Mono", "DejaVu Sans"


def series_style(index: int) -> tuple[str, str]:
    """Colour and marker of the line number ``index``."""
    return COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS) % len(MARKERS)]


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """A figure of so many inches that lays itself out; ``title`` is no formula."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, x=0.01, ha="left", color=INK, size=11, parse_math=False)
    return figure


def plain_axes(axes: Any, grid: str, *, frame: bool = True) -> None:
    """Faint lines across one axis, and no frame but on the left and below; or none at all."""
    axes.grid(axis=grid, color=LINE, lw=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(frame and side in ("bottom", "left"))
        axes.spines[side].set_color(LINE)


def save_chart(figure: Figure, path: Path | str, *, dpi: float = 160) -> None:
    """Write a figure; the ending chooses the format: ``.png``, ``.svg`` or ``.pdf``.

    No date inside, and names that chance does not choose: the same figure gives the same file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
    with rc_context({"svg.hashsalt": "sparsecircuits"}):
        figure.savefig(path, dpi=dpi, facecolor=PAPER, metadata=metadata)
