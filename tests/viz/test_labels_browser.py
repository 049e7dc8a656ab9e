"""Labels on the page: shown, typed, kept in the browser, handed out; the commands are run as they stand."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
import torch

from sparsecircuits.circuit import Circuit, Group, Label, load_circuit, save_circuit
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.cli import main
from sparsecircuits.model import Node
from sparsecircuits.train import Run
from sparsecircuits.viz import render_page
from tests.prune import planted
from tests.viz.fixture import demo_document, random_circuit

NODE, OTHER = "1.attn.v.11", "1.attn.resid_delta.77"
AT = f"#sparse/single_double_quote/{NODE}"


def labelled_document(**more: Any) -> dict[str, Any]:
    document = demo_document()
    document["circuits"][0]["labels"] = {
        "nodes": {NODE: {"name": "carries the quote", "note": "+1 is double\n-1 is single"}},
        "groups": [{"name": "copying head", "note": "copies", "nodes": [NODE, OTHER]}],
    }
    document["circuits"][0].update(sha256="ab" * 32, **more)
    return document


def name_it(page: Any, name: str, note: str = "") -> None:
    page.locator(".label-edit summary").click()
    page.locator("#label-name").fill(name)
    page.locator("#label-note").fill(note)
    page.locator("#label-save").click()


def test_they_are_shown_at_the_node_in_the_drawing_and_in_the_list(open_page):
    opened = open_page(labelled_document(), AT)
    heading = opened.page.locator(".label-heading p").all_inner_texts()
    assert heading == ["carries the quote", "+1 is double\n-1 is single", "in copying head"]
    assert opened.page.locator(f'[data-node="{NODE}"] .name').text_content().startswith("carries")
    opened.page.locator("#panel .panel-head .quiet").click()
    listed = opened.page.locator("#labels").inner_text()
    for text in ("copying head", "copies", OTHER, NODE, "carries the quote"):
        assert text in listed
    opened.page.locator("#labels .node-link", has_text=OTHER).click()
    assert opened.page.locator("#node-name").inner_text() == OTHER
    assert opened.page.locator(".label-group").inner_text() == "copying head"
    opened.assert_quiet()


def test_a_page_without_labels_says_how_to_make_one(open_page):
    opened = open_page(demo_document())
    assert "No node has a name yet" in opened.page.locator("#labels").inner_text()
    assert opened.page.locator(".label-draft").count() == 0


def test_a_typed_label_is_kept_in_the_browser_and_found_again(open_page):
    opened = open_page(labelled_document(), f"#sparse/single_double_quote/{OTHER}")
    name_it(opened.page, "writes it", "to the end")
    assert opened.page.locator(".label-name").inner_text() == "writes it"
    assert "1 change is not in the circuit's file" in opened.page.locator(".label-draft").inner_text()
    opened.page.reload()
    assert opened.page.locator(".label-name").inner_text() == "writes it"
    assert opened.page.locator(f'[data-node="{OTHER}"] .name').text_content().startswith("w")
    opened.page.locator("#label-discard").click()
    opened.page.reload()
    assert opened.page.locator(".label-name").count() == 0
    assert opened.page.locator(".label-draft").count() == 0
    opened.assert_quiet()


def test_what_the_document_has_caught_up_with_is_no_change(open_page):
    opened = open_page(labelled_document(), AT)
    name_it(opened.page, "other", "")
    assert opened.page.locator(".label-draft").count() == 1
    name_it(opened.page, "carries the quote", "+1 is double\n-1 is single")
    assert opened.page.locator(".label-draft").count() == 0
    assert opened.page.evaluate("localStorage.length") == 0


@pytest.mark.parametrize(
    ("name", "said"), [("x" * 81, "at most 80 characters; this one has 81"), ("a\u202eb", "U+202E")]
)
def test_what_the_file_would_refuse_is_refused_at_once(open_page, name, said):
    opened = open_page(labelled_document(), AT)
    name_it(opened.page, name)
    assert said in opened.page.locator(".label-said").inner_text()
    assert opened.page.locator(".label-name").inner_text() == "carries the quote"


def test_without_storage_labels_last_as_long_as_the_page(open_page):
    opened = open_page(labelled_document(), AT)
    opened.page.evaluate(
        "Object.defineProperty(window, 'localStorage', "
        "{ get() { throw new DOMException('no', 'SecurityError'); } })"
    )
    name_it(opened.page, "for now")
    assert opened.page.locator(".label-name").inner_text() == "for now"
    assert "gone when this page closes" in opened.page.locator(".label-draft").inner_text()
    opened.assert_quiet()


@pytest.mark.parametrize(
    "kept", ["{", "3", '{"nodes":[["9.attn.v.1",{"name":"x","note":""}]]}', '{"groups":[[3]]}']
)
def test_odd_things_in_the_store_are_passed_over(open_page, kept):
    opened = open_page(labelled_document(), AT)
    opened.page.evaluate(
        "kept => localStorage.setItem('sparsecircuits.labels.' + 'ab'.repeat(32), kept)", kept
    )
    opened.page.reload()
    assert opened.page.locator(".label-name").inner_text() == "carries the quote"
    assert opened.page.locator(".label-draft").count() == 0
    opened.assert_quiet()


def test_somebody_who_can_write_the_file_is_asked_at_once(open_page):
    """The live server's page sets ``labelling.save``; here a stand-in does, in the page's own scope."""
    document = labelled_document()
    saver = (
        "labelling.save = async (circuit, labels) => { "
        'if (labels.nodes[circuit.nodes[0].name]?.name === "no") throw new Error("disk full"); '
        "document.body.dataset.saved = JSON.stringify(labels); };\nstart("
    )
    page = render_page(document)
    assert page.count("\nstart(JSON.parse") == 1
    page = page.replace("\nstart(JSON.parse", f"\n{saver}JSON.parse", 1)
    opened = open_page(page.replace("script-src 'sha256-", "script-src 'unsafe-inline' 'not-", 1), AT)
    name_it(opened.page, "now in the file")
    saved = json.loads(opened.page.locator("body").get_attribute("data-saved"))
    assert saved["nodes"][NODE] == {"name": "now in the file", "note": ""}
    assert opened.page.locator(".label-draft").count() == 0
    first = document["circuits"][0]["nodes"][0]["name"]
    opened.page.evaluate("name => { location.hash = '#sparse/single_double_quote/' + name; }", first)
    opened.page.locator("#node-name", has_text=first).wait_for()
    name_it(opened.page, "no")
    assert opened.page.locator(".label-said").inner_text() == "disk full"
    assert opened.page.locator(".label-name").count() == 0


def test_labels_of_a_large_circuit_are_drawn_on_its_canvas(open_page):
    large = random_circuit("sparse", "large", 420, 600)
    name = large["nodes"][0]["name"]
    document = {**demo_document(), "circuits": [large], "summary": None}
    opened = open_page(document, f"#sparse/large/{name}")
    name_it(opened.page, "first")
    assert opened.page.locator(".label-name").inner_text() == "first"
    assert "gone when this page closes" in opened.page.locator(".label-draft").inner_text()  # it has no hash
    opened.assert_quiet()


HARD = 'it\'s $HOME `id` "q" -x !! \\ %PATH%'


def test_commands_and_file_bring_typed_labels_into_the_circuits_file(open_page, tmp_path, monkeypatch):
    """What the page hands out is read by a shell's rules and run."""
    folder = tmp_path / "RUN"
    run = Run.open(planted.planted_run(tmp_path).folder.rename(folder))
    names = [node["name"] for node in demo_document()["circuits"][0]["nodes"]]
    place = run.circuits / "single_double_quote"
    frozen = {str(Node.parse(name).at): torch.ones(1024) for name in names}
    circuit = Circuit("single_double_quote", frozenset(map(Node.parse, names)), frozen)
    circuit = circuit.labelled(Node.parse(NODE), "old").grouped("old group", [Node.parse(NODE)])
    save_circuit(circuit, place)
    document = labelled_document(labels=circuit.labels.to_dict())
    document["circuits"][0]["sha256"] = circuit_hash(circuit)
    opened = open_page(document, f"#sparse/single_double_quote/{OTHER}")
    page = opened.page
    name_it(page, HARD, "one\n-two")
    page.locator(".label-edit summary").click()
    page.locator("#label-group").fill("-new group's")
    page.locator("#label-join").click()
    page.evaluate(f"location.hash = '{AT}'")
    page.locator("#node-name", has_text=NODE).wait_for()
    page.locator(".label-edit summary").click()
    page.locator(".label-edit button", has_text="Remove").click()
    page.locator(".label-edit summary").click()
    page.locator(".label-edit button", has_text="Take out of old group").click()
    assert "4 changes are not in the circuit's file" in page.locator(".label-draft").inner_text()
    page.locator("#label-copy").click()
    commands = page.locator(".label-commands").input_value()
    with page.expect_download() as waiting:
        page.locator("#label-file").click()
    waiting.value.save_as(tmp_path / "labels.json")

    wanted = {Node.parse(OTHER): Label(HARD, "one\n-two")}
    groups = (Group("-new group's", "", (Node.parse(OTHER),)),)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(commands)
    starts = [i for i, word in enumerate(words) if word == "sparsecircuits"]
    assert len(starts) == 4
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        assert main(words[start + 1 : end]) == 0
    assert load_circuit(place).labels.nodes == wanted
    assert load_circuit(place).labels.groups == groups
    save_circuit(circuit, place)
    assert main(["label", "RUN", "single_double_quote", "--from", "labels.json"]) == 0
    assert load_circuit(place).labels.nodes == wanted
    assert load_circuit(place).labels.groups == groups
