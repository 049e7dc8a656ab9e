"""The widget: real traits in Python, the real module in a browser, and a stand-in for what joins the two."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.circuit import Circuit
from sparsecircuits.examples import example_folder
from sparsecircuits.train import load_run
from sparsecircuits.viz.page import embed_json, laid_out
from tests.viz.fixture import demo_document, random_circuit
from tests.viz.payloads import Watched

TASK, NODE = "set_or_string_fixedvarname", "1.attn.v.11"


@pytest.fixture(scope="module")
def widget_class() -> Any:
    pytest.importorskip("anywidget", reason="anywidget is not installed")
    return importlib.import_module("sparsecircuits.viz").CircuitWidget


@pytest.fixture(scope="module")
def widget(widget_class: Any) -> Any:
    return widget_class(load_run(example_folder()), TASK, effect_pairs=0)


def test_the_selection_is_a_trait(widget: Any) -> None:
    assert isinstance(widget.circuit, Circuit)
    first, second = sorted(widget.circuit.nodes)[:2]
    heard: list[Any] = []
    widget.observe(lambda change: heard.append(change["new"]), "selected")
    assert (widget.selected, widget.node) == (None, None)
    widget.selected = str(first)
    # As the browser's message does it.
    widget.set_state({"selected": str(second)})
    assert (widget.selected, widget.node) == (str(second), second)
    widget.selected = None
    assert heard == [str(first), str(second), None]
    assert widget.get_state("selected") == {"selected": None}
    assert {node["name"] for node in widget._circuit["nodes"]} == set(map(str, widget.circuit.nodes))


def test_what_is_no_node_is_refused(widget: Any) -> None:
    traitlets = importlib.import_module("traitlets")
    name = str(min(widget.circuit.nodes))
    with pytest.raises(traitlets.TraitError, match=rf"which is no node; did you mean .*{re.escape(name)}"):
        widget.selected = name[:-1] + "_"
    assert widget.selected is None


def test_the_module_is_a_module_that_asks_for_nothing(widget: Any) -> None:
    module = widget.get_state("_esm")["_esm"]
    assert module.endswith("export default { render };\n")
    assert set(re.findall(r"https?://[^\"'\s\\]+", module)) == {"http://www.w3.org/2000/svg"}
    for word in ("import(", "fetch(", "innerHTML", "eval(", "\nimport "):
        assert word not in module


def test_without_anywidget_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['anywidget'] = None\n"
        "from sparsecircuits.viz import show\n"
        "try:\n    from sparsecircuits.viz import CircuitWidget\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 'pip install "sparsecircuits[notebook]"' in done.stdout


STAND_IN = """
const byId = (id) => document.getElementById(id), heard = {};
const values = { _circuit: JSON.parse(byId("d").textContent), selected: SELECTED };
window.model = {
  saved: [], get: (key) => values[key], set: (key, value) => { values[key] = value; },
  save_changes() { this.saved.push(values.selected); },
  on: (event, f) => { heard[event] = f; },
  off: (event, f) => { if (heard[event] === f) delete heard[event]; },
};
window.fromPython = (value) => { values.selected = value; heard["change:selected"]?.(); };
const module = URL.createObjectURL(new Blob([byId("m").textContent], { type: "text/javascript" }));
import(module).then(({ default: widget }) => {
  window.stop = widget.render({ model, el: byId("cell") });
  byId("other").append("ready");
});
"""


@pytest.fixture
def cell(widget_class: Any, chromium: Any, tmp_path: Path) -> Iterator[Any]:
    """A function that opens a notebook's cell with the widget of one circuit of the page's document."""
    from sparsecircuits.viz.widget import widget_module

    pages = []

    def open_it(circuit: dict[str, Any], selected: str | None = None, style: str = "") -> Watched:
        (entry,) = laid_out({**demo_document(), "circuits": [circuit]})["circuits"]
        path = tmp_path / "cell.html"
        script = STAND_IN.replace("SELECTED", json.dumps(selected))
        module = widget_module()
        assert "</script" not in module
        path.write_text(
            f'<!doctype html><meta charset="utf-8"><body style="{style}"><p id="other"></p>'
            '<div id="cell"></div>'
            f'<script type="application/json" id="d">{embed_json(entry)}</script>'
            f'<script type="text/plain" id="m">{module}</script><script>{script}</script></body>',
            encoding="utf-8",
        )
        page = chromium.new_page()
        pages.append(page)
        seen = Watched.over(page)
        page.goto(path.as_uri())
        page.locator("#other", has_text="ready").wait_for()
        return seen

    yield open_it
    for page in pages:
        page.close()


def test_a_click_reaches_python_and_python_moves_the_selection(cell: Any) -> None:
    seen = cell(demo_document()["circuits"][0])
    page = seen.page
    assert page.locator("[data-node]").count() == 13
    page.locator(f'[data-node="{NODE}"]').click()
    assert page.evaluate("[model.get('selected'), model.saved]") == [NODE, [NODE]]
    assert "value channel" in page.locator("#panel").inner_text()
    page.evaluate("fromPython('0.mlp.post_act.863')")
    assert page.locator("#node-name").inner_text() == "0.mlp.post_act.863"
    assert page.locator(".node.chosen").get_attribute("data-node") == "0.mlp.post_act.863"
    assert page.evaluate("model.saved") == [NODE]  # what came from Python is not sent back
    page.evaluate("fromPython(null)")
    assert page.locator("#node-name").count() == 0
    page.locator(f'[data-node="{NODE}"]').focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("model.saved") == [NODE, "1.attn.k.15"]
    page.keyboard.press("Escape")
    assert page.evaluate("model.get('selected')") is None
    page.evaluate("stop(); fromPython('0.mlp.post_act.863')")
    assert page.locator("#node-name").count() == 0
    assert page.url.endswith("cell.html")  # the notebook's address is left alone
    seen.assert_harmless("file:", "blob:")


def test_it_starts_with_what_python_chose_and_names_it(cell: Any) -> None:
    circuit = demo_document()["circuits"][0]
    circuit["labels"] = {"nodes": {NODE: {"name": "carries", "note": "the quote"}}, "groups": []}
    page = cell(circuit, NODE).page
    assert page.locator("#node-name").inner_text() == NODE
    assert page.locator(".label-heading p").all_inner_texts() == ["carries", "the quote"]
    assert page.evaluate("model.saved") == []


def test_a_large_circuit_is_drawn_on_a_canvas(cell: Any) -> None:
    circuit = random_circuit("sparse", "large", 420, 600)
    seen = cell(circuit)
    name = circuit["nodes"][5]["name"]
    seen.page.evaluate(f"fromPython({json.dumps(name)})")
    assert seen.page.locator("#node-name").inner_text() == name
    assert seen.page.locator("#graph canvas").count() == 1
    seen.assert_harmless("file:", "blob:")


@pytest.mark.parametrize(
    ("style", "paper"),
    [("color:#eee;background:#111", "rgb(19, 21, 25)"), ("color:#222", "rgb(251, 250, 248)")],
)
def test_it_is_dark_where_the_notebook_is_and_changes_nothing_outside(cell: Any, style, paper) -> None:
    page = cell(demo_document()["circuits"][0], style=style).page
    assert page.locator(".widget").evaluate("e => getComputedStyle(e).backgroundColor") == paper
    assert page.evaluate("document.styleSheets.length + document.adoptedStyleSheets.length") == 0
    assert page.locator("#other").evaluate("e => getComputedStyle(e).fontFamily") != page.locator(
        "#panel"
    ).evaluate("e => getComputedStyle(e).fontFamily")
