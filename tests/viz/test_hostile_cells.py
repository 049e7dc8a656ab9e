"""Sixty hostile texts in a notebook's cells: a circuit's own HTML, and the widget, in headless Chromium."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.labels import Group, Label, Labels
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import Node
from sparsecircuits.viz.page import embed_json, laid_out
from tests.viz.fixture import demo_document, quote_circuit
from tests.viz.payloads import PAYLOADS
from tests.viz.shown import assert_nothing_foreign, assert_shown, in_html, spoken

WRITER = "1.attn.v.11"


def test_a_circuit_in_a_notebook(open_page):
    """Still HTML in the notebook's own page, where no policy helps."""
    node, values = Node.parse("0.mlp.post_act.0"), {"0.mlp.post_act": torch.zeros(2)}
    cells, shown, labelled = [], [], []
    for text in PAYLOADS:
        labels = Labels()
        try:
            labels = Labels({node: Label(text, text)}, (Group(text, text, (node,)),))
            labelled.append(Label(text, text).name)
        except ConfigError:
            pass  # control characters and overlong names do not come this far
        info = {"loss": text, "model_sha256": text}
        circuit = Circuit(text, frozenset([node]), values, info=info, labels=labels)
        cells.append(circuit._repr_html_())
        shown.append(f"circuit for {in_html(text)}")
    opened = open_page(f'<!doctype html><meta charset="utf-8"><body>{"".join(cells)}</body>')
    assert_shown(opened.page, ".sparsecircuits-circuit > p:first-child", shown)
    assert len(labelled) > 30
    assert_shown(opened.page, ".sparsecircuits-circuit td span b", labelled)
    assert_nothing_foreign(opened.page)
    opened.assert_quiet()


def _cells(circuits: list[dict[str, Any]]) -> str:
    """A page in which each circuit has a widget; ``models[i].fromPython(name)`` selects a node in it."""
    pytest.importorskip("anywidget", reason="anywidget is not installed")
    from sparsecircuits.viz.widget import widget_module

    given = laid_out({**demo_document(), "circuits": circuits})["circuits"]
    script = """
class Model {
  heard = new Set();
  constructor(circuit) { this.state = { _circuit: circuit, selected: null }; }
  get(key) { return this.state[key]; }
  set(key, value) { this.state[key] = value; this.tell(); }
  save_changes() {}
  on(event, f) { if (event === "change:selected") this.heard.add(f); }
  tell() { for (const f of this.heard) f(); }
  fromPython(name) { this.set("selected", name); }
}
const cell = () => document.body.appendChild(document.createElement("div"));
const circuits = JSON.parse(document.getElementById("circuits").textContent);
window.models = circuits.map((circuit) => new Model(circuit));
for (const model of models) widget.render({ model, el: cell() });
"""
    module = widget_module().replace("export default { render };", "const widget = { render };")
    return (
        '<!doctype html><meta charset="utf-8"><title>notebook</title>'
        f'<body><script type="application/json" id="circuits">{embed_json(given)}</script>'
        f'<script type="module">{module}{script}</script></body>'
    )


def test_widgets(open_page) -> None:
    circuits = []
    for i, text in enumerate(PAYLOADS):
        circuit = quote_circuit() | {"id": f"sparse/{i}", "task": text, "about": text}
        circuit["labels"] = {"nodes": {WRITER: {"name": text, "note": text}}, "groups": []}
        circuits.append(circuit)
    opened = open_page(_cells(circuits))
    opened.page.evaluate("(name) => { for (const model of models) model.fromPython(name); }", WRITER)
    shown = [f"circuit for {spoken(text)}: 13 nodes, 9 edges" for text in PAYLOADS]
    assert_shown(opened.page, ".widget #title", shown)
    assert_shown(opened.page, ".widget .label-name", PAYLOADS)
    assert_shown(opened.page, ".widget .label-note", PAYLOADS)
    assert_nothing_foreign(opened.page)
    opened.assert_quiet()


def test_two_cells_are_two_widgets_and_styles_stay_in_theirs(open_page) -> None:
    opened = open_page(_cells([quote_circuit(), {**quote_circuit(), "id": "sparse/again"}]))
    page = opened.page
    page.evaluate("(name) => models[1].fromPython(name)", WRITER)
    assert page.locator("#node-name").count() == 1
    assert page.evaluate("models.map((model) => model.get('selected'))") == [None, WRITER]
    assert (
        page.evaluate("getComputedStyle(document.body).maxWidth") == "none"
    )  # page.css has one for its body
    path = page.locator("path.edge").first
    assert path.evaluate("(path) => getComputedStyle(path).fill") == "none"
    opened.assert_quiet()
