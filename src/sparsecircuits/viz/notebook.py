"""The page in a notebook's cell.

:func:`show` gives an object that a notebook displays as an inline frame whose whole content is the page, in
its ``srcdoc``. That is what Jupyter, VS Code and Colab all show: their cells may not load a file from disk
(nor from a server that the browser cannot reach), but a frame that carries its own text needs to load
nothing, and the saved notebook keeps it. The frame is sandboxed without an origin, so the page's script can
reach neither the notebook nor what the browser stores for it, and the page's content security policy holds
inside as it does in a file.

>>> from sparsecircuits.viz import show                                  # doctest: +SKIP
>>> show(run, "single_double_quote")                                     # doctest: +SKIP
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sparsecircuits.circuit import Circuit, load_circuit
from sparsecircuits.circuit.files import CIRCUIT_FILE
from sparsecircuits.errors import CheckpointError, ConfigError, near_misses
from sparsecircuits.tasks import Task
from sparsecircuits.train import Run
from sparsecircuits.viz.collect import run_document
from sparsecircuits.viz.page import render_page

_WIDTH = re.compile(r"\d+(\.\d+)?(px|%|em|rem|vw)")
#: Scripts, and saving the drawing and labels; no origin, no forms, no windows, no way to leave the frame.
_SANDBOX = "allow-scripts allow-downloads"


@dataclass(frozen=True)
class PageView:
    """A page that a notebook displays.

    Attributes:
        page: the page's HTML, as ``sparsecircuits view --export`` writes it.
        height: of the frame, in pixels; what does not fit scrolls.
        width: of the frame, as CSS says it, such as ``100%`` or ``900px``.

    Raises:
        ConfigError: a height or width that is none.
    """

    page: str
    height: int = 760
    width: str = "100%"

    def __post_init__(self) -> None:
        if isinstance(self.height, bool) or not isinstance(self.height, int) or self.height < 1:
            raise ConfigError(f"height is {self.height!r}; expected a number of pixels, at least 1")
        if not isinstance(self.width, str) or not _WIDTH.fullmatch(self.width):
            raise ConfigError(f"width is {self.width!r}; expected a length such as '100%' or '900px'")

    def _repr_html_(self) -> str:
        # ASCII alone: the policy's hashes hold whatever encoding the page around is read in.
        inside = html.escape(self.page).encode("ascii", "xmlcharrefreplace").decode("ascii")
        style = f"width:{self.width};height:{self.height}px;border:1px solid #8888;border-radius:6px"
        told = f'title="sparsecircuits page" sandbox="{_SANDBOX}" style="{style}"'
        return f'<iframe {told} srcdoc="{inside}"></iframe>'

    def save(self, path: str | Path) -> None:
        """Write the page as a file."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.page.encode("utf-8"))


def show(
    run: Run,
    *circuits: Circuit | str,
    height: int = 760,
    width: str = "100%",
    title: str | None = None,
    effect_pairs: int | None = None,
    tasks: Mapping[str, Task] | None = None,
) -> PageView:
    """The page of some circuits of a run, for a cell of a notebook.

    Args:
        run: a finished run, such as ``load_run("runs/demo/sparse")`` gives.
        circuits: circuits of its model, or names of such in ``RUN/circuits``; none: all that are there.
        height: of the frame, in pixels.
        width: of the frame, such as ``900px``.
        title: heading of the page.
        effect_pairs: held-out pairs that effects are measured on; fewer are quicker, 0 leaves effects out.
        tasks: tasks of your own that are code, by name.

    Raises:
        CheckpointError: no such circuit, or one of another model.
        ConfigError: a height or width that is none; a name in place of the run.
    """
    view = PageView("", height, width)  # before the measuring, which takes a while
    document = run_document(run, circuits_of(run, *circuits), title, None, effect_pairs, tasks)
    return PageView(render_page(document), view.height, view.width)


def circuits_of(run: Run, *circuits: Circuit | str) -> list[Circuit]:
    """Circuits of a run, those given by name loaded; none: all in its folder.

    Raises:
        CheckpointError: there is none of that name, or none at all.
        ConfigError: what should be a run is something else, such as its name.
    """
    if not isinstance(run, Run):
        how = f"; load_run({str(run)!r}) opens one" if isinstance(run, str | Path) else ""
        raise ConfigError(f"run is {run!r}, {type(run).__name__}; expected a Run{how}")
    known = sorted(path.parent.name for path in run.circuits.glob(f"*/{CIRCUIT_FILE}"))
    wanted = circuits or known
    if not wanted:
        raise CheckpointError(f"{run.circuits}: no circuits yet; prune the run first")
    for name in wanted:
        if isinstance(name, str) and name not in known:
            raise CheckpointError(f"{run.circuits}: no circuit {name!r}; {near_misses(name, known)}")
    return [load_circuit(run.circuits / one) if isinstance(one, str) else one for one in wanted]
