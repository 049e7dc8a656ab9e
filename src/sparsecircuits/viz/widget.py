"""A circuit in a notebook's cell that hands the selection back to Python, made with anywidget.

>>> from sparsecircuits.viz import CircuitWidget                         # doctest: +SKIP
>>> widget = CircuitWidget(run, "single_double_quote")                   # doctest: +SKIP
>>> widget                                                               # doctest: +SKIP
>>> widget.selected = "1.attn.v.11"                                      # doctest: +SKIP
>>> widget.observe(lambda change: print(change["new"]), "selected")      # doctest: +SKIP

The module that the browser runs is put together from the page's own scripts and styles, so that the drawing
is the same as the page's, and asks for nothing from anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

try:
    import anywidget
    import traitlets
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'the widget needs anywidget ({error}): pip install "sparsecircuits[notebook]"; '
        "without it, sparsecircuits.viz.show draws the page in a cell",
        name=error.name,
    ) from error

from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import near_misses
from sparsecircuits.model import Node
from sparsecircuits.tasks import Task
from sparsecircuits.train import Run
from sparsecircuits.viz.collect import run_document
from sparsecircuits.viz.notebook import circuits_of
from sparsecircuits.viz.page import DRAWING, asset, joined_style, laid_out

#: In this order inside one function, so that every cell has its own.
_SCRIPTS = (
    "dom.js",
    "state.js",
    *DRAWING,
    "chart.js",
    "panel.js",
    "labels-draft.js",
    "labels.js",
    "widget.js",
)


def widget_module() -> str:
    """The module that draws the widget: ``export default { render }``."""
    # In the widget's shadow tree the root is its host: ":root[x]" is written ":host([x])" there.
    style = re.sub(r":root(\S*)", lambda found: f":host({found[1]})" if found[1] else ":host", joined_style())
    style = json.dumps(style + asset("widget.css"))
    scripts = "\n".join(asset(name) for name in _SCRIPTS)
    body = f"function render({{ model, el: cell }}) {{\n{scripts}}}\n"
    return f"const STYLE = {style};\n{body}export default {{ render }};\n"


class CircuitWidget(anywidget.AnyWidget):
    """One circuit of a run, drawn in the cell; the chosen node is the same here and there.

    Attributes:
        selected: the chosen node's name, such as ``"1.attn.v.11"``, or None. Setting it moves the selection
            in the notebook; ``widget.observe(function, "selected")`` hears of every choice.
        circuit: the circuit that is drawn.
    """

    _esm = widget_module()
    _circuit = traitlets.Dict().tag(sync=True)
    selected = traitlets.Unicode(None, allow_none=True).tag(sync=True)

    def __init__(
        self,
        run: Run,
        circuit: Circuit | str,
        *,
        selected: str | None = None,
        effect_pairs: int | None = None,
        tasks: Mapping[str, Task] | None = None,
    ) -> None:
        """Measure what the panel says of each node, which takes some seconds.

        Args:
            run: a finished run.
            circuit: a circuit of its model, or the name of one in ``RUN/circuits``.
            selected: the node that is chosen at first.
            effect_pairs: held-out pairs that effects are measured on; 0 leaves effects out.
            tasks: tasks of your own that are code, by name.

        Raises:
            CheckpointError: no such circuit, or one of another model.
            TraitError: ``selected`` is no node of the circuit.
        """
        (self.circuit,) = circuits_of(run, circuit)
        document = run_document(run, [self.circuit], effect_pairs=effect_pairs, tasks=tasks)
        (entry,) = laid_out(document)["circuits"]
        super().__init__(_circuit=entry, selected=selected)

    @property
    def node(self) -> Node | None:
        """The chosen node."""
        return None if self.selected is None else Node.parse(self.selected)

    @traitlets.validate("selected")
    def _known(self, proposal: dict[str, Any]) -> str | None:
        name, known = proposal["value"], {str(node) for node in self.circuit.nodes}
        if name is not None and name not in known:
            raise traitlets.TraitError(f"selected is {name!r}, which is no node; {near_misses(name, known)}")
        return name
