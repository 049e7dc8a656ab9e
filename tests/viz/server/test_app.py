"""The routes: what each tells, with figures that the library and the circuits give."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsecircuits.bridges.report import result_path, write_result
from sparsecircuits.circuit import Labels, load_circuit, model_hash, save_circuit, save_labels
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.examples import example_folder
from sparsecircuits.train import Run
from sparsecircuits.train.beside import Beside
from sparsecircuits.viz import check_document
from sparsecircuits.viz.server.app import build_app
from sparsecircuits.viz.server.library import Library
from sparsecircuits.viz.server.shell import assets
from tests.prune import planted
from tests.viz.server.asking import POLICY, TOKEN, call, own, post
from tests.viz.test_bridge_charts import steering

ONE = {"run": "planted", "circuit": "string_closing"}


def made(app) -> dict[str, Any]:
    """The document, waited for."""
    until = time.monotonic() + 60
    while (answer := post(app, "/api/document", ONE)).status == 202:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert answer.status == 200
    return answer.json


@pytest.fixture(scope="module")
def document(app) -> dict[str, Any]:
    return made(app)


def test_how_far_a_document_is(library) -> None:
    first = post(build_app(library, POLICY), "/api/document", ONE)
    assert first.status == 202
    assert set(first.json) == {"done", "of", "what"}


def test_what_is_listed(app) -> None:
    (run,) = call(app, "GET", "/api/runs", own()).json["runs"]
    assert (run["key"], run["n_layer"], run["d_model"], run["val_loss"]) == ("planted", 1, 8, 5.5)
    assert run["why_not_pruned"] is None
    assert {"single_double_quote", "string_closing"} <= set(run["tasks"])
    sizes = {circuit["key"]: circuit["nodes"] for circuit in run["circuits"]}
    assert sizes == {"string_closing": 3, "larger": 7}
    assert "folder" not in json.dumps(run)


def test_the_document_is_that_of_the_page(document: dict[str, Any]) -> None:
    (circuit,) = document["circuits"]
    assert circuit["layout"]
    without = {key: value for key, value in circuit.items() if key != "layout"}
    check_document({**document, "circuits": [without]})
    assert {node["name"] for node in circuit["nodes"]} == set(map(str, planted.ATTENTION_CIRCUIT))
    assert document["title"] == "string_closing · planted"


def test_a_document_that_is_there_is_not_made_again(app, document) -> None:
    assert post(app, "/api/document", ONE).json == document


def test_prompts_and_ranges(app) -> None:
    told = post(app, "/api/prompts", ONE).json
    assert told["n_ctx"] == 16
    assert [prompt["side"] for prompt in told["prompts"][:2]] == ["left", "right"]
    assert told["prompts"][0]["text"].replace("'", '"') == told["prompts"][1]["text"]
    assert set(told["ranges"]) == set(map(str, planted.ATTENTION_CIRCUIT))
    assert all(low < high for low, high in told["ranges"].values())


def test_asking_with_a_change(app) -> None:
    value = f"0.attn.v.{planted.VALUE}"
    asked = {**ONE, "text": "f('abc", "node": value, "changes": [{"node": value, "kind": "ablate"}]}
    told = post(app, "/api/ask", asked).json
    assert [model["name"] for model in told["models"]] == ["full", "circuit", "without"]
    row = told["models"][1]["candidates"][0]
    assert (row["text"], row["share_before"] > 0.95, row["share_after"] < 0.5) == ("'", True, True)
    assert len(set(told["models"][1]["activations"]["after"])) == 1
    assert len(set(told["models"][1]["activations"]["before"])) == 2  # at the quote, and elsewhere


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "text is the prompt"),
        ({"text": 3}, "text is the prompt"),
        ({"text": "a" * 16}, "17 tokens"),
        ({"text": "\ud800"}, "surrogate"),
        ({"text": "a", "node": "0.attn.v.99"}, "no such node"),
        ({"text": "a", "changes": {}}, "a list of at most 64"),
    ],
)
def test_what_cannot_be_asked(app, more: dict[str, Any], message: str) -> None:
    answer = post(app, "/api/ask", {**ONE, **more})
    assert answer.status == 422
    assert message in answer.json["error"]


def test_two_circuits_of_one_model(app) -> None:
    told = post(app, "/api/compare", {"left": ONE, "right": {"run": "planted", "circuit": "larger"}}).json
    assert told["same_model"]
    assert told["overlap"]["counts"]["shared"]["nodes"] == 3
    assert told["overlap"]["counts"]["left"] == {"nodes": 0, "edges": 0}
    assert told["overlap"]["counts"]["right"]["nodes"] == 4
    assert told["overlap"]["nodes"]["right"] == [
        "0.mlp.act_in.0",
        "0.mlp.post_act.1",
        "0.mlp.post_act.4",
        "0.mlp.resid_delta.3",
    ]
    assert told["overlap"]["jaccard"] == pytest.approx(3 / 7)
    assert (told["left"]["nodes"], told["right"]["nodes"]) == (3, 7)
    assert told["left"]["loss"] is None  # made by hand: nothing is stored


def test_two_models(served_run, tmp_path) -> None:
    """Sizes side by side, and no nodes in common: names alone do not make them the same."""
    other = Run.open(Path(shutil.copytree(served_run.folder, tmp_path / "other")))
    model = other.model()
    with torch.no_grad():
        model.get_parameter("transformer.wte.weight")[0] = 0
    model.save_pretrained(other.folder / "model")
    circuit = load_circuit(other.circuits / "string_closing")
    save_circuit(
        type(circuit)(circuit.task, circuit.nodes, circuit.frozen, info={"model_sha256": model_hash(model)}),
        other.circuits / "string_closing",
    )
    task = planted.STRING_CLOSING
    app = build_app(
        Library(lambda: [("planted", served_run), ("other", other)], tasks={task.name: task}), POLICY
    )
    told = post(app, "/api/compare", {"left": ONE, "right": {**ONE, "run": "other"}}).json
    assert (told["same_model"], told["overlap"]) == (False, None)
    assert told["left"]["nonzero"] - told["right"]["nonzero"] == 6  # channels 0 and 3 were zero before
    # The copy of the circuit for another model is refused, and says why.
    answer = post(app, "/api/ask", {"run": "other", "circuit": "larger", "text": "a"})
    assert (answer.status, answer.json["error"]) == (
        422,
        "the circuit for string_closing belongs to another model",
    )


def test_labels_go_into_the_file_and_the_document(served_run, tmp_path) -> None:
    folder = Path(shutil.copytree(served_run.folder, tmp_path / "run"))
    task = planted.STRING_CLOSING
    app = build_app(Library(lambda: [("planted", Run.open(folder))], tasks={task.name: task}), POLICY)
    document = made(app)
    node = f"0.attn.v.{planted.VALUE}"
    labels = {"nodes": {node: {"name": "which quote <b>", "note": ""}}, "groups": []}
    none: dict[str, Any] = {"nodes": {}, "groups": []}
    asked = {**ONE, "sha256": document["circuits"][0]["sha256"], "labels": labels, "began": none}
    assert post(app, "/api/labels", asked).json == {"labels": labels}
    assert load_circuit(folder / "circuits" / "string_closing").labels.to_dict() == labels
    answer = post(app, "/api/document", ONE)  # not made anew
    assert answer.status == 200
    assert answer.json["circuits"][0]["labels"] == labels
    without = {
        key: value for key, value in answer.json["circuits"][0].items() if key not in ("labels", "layout")
    }
    assert without == {key: value for key, value in document["circuits"][0].items() if key != "layout"}
    assert post(app, "/api/labels", {**asked, "sha256": "of another"}).status == 409
    for wrong in (
        None,
        [],
        {"nodes": {"0.attn.v.1": {"name": "not kept"}}},
        {"nodes": {node: {"name": "x" * 81}}},
    ):
        assert post(app, "/api/labels", {**asked, "began": labels, "labels": wrong}).status == 422
    assert load_circuit(folder / "circuits" / "string_closing").labels.to_dict() == labels
    empty = {**asked, "labels": none, "began": labels}
    assert post(app, "/api/labels", empty).status == 200
    assert "labels" not in post(app, "/api/document", ONE).json["circuits"][0]


def test_labels_written_elsewhere_are_not_overwritten(served_run, tmp_path) -> None:
    folder = Path(shutil.copytree(served_run.folder, tmp_path / "run"))
    circuit = folder / "circuits" / "string_closing"
    app = build_app(Library(lambda: [("planted", Run.open(folder))]), POLICY)
    one, other = (
        {"nodes": {f"0.attn.v.{planted.VALUE}": {"name": name, "note": ""}}, "groups": []}
        for name in ("one", "other")
    )
    none: dict[str, Any] = {"nodes": {}, "groups": []}
    save_labels(circuit, Labels.from_dict(one))  # as the command line does
    asked = {**ONE, "sha256": circuit_hash(load_circuit(circuit)), "labels": other}
    refused = post(app, "/api/labels", {**asked, "began": none})
    assert (refused.status, refused.json) == (409, {"error": "labels changed elsewhere", "labels": one})
    assert post(app, "/api/labels", asked).status == 422  # who does not say, writes nothing
    assert load_circuit(circuit).labels.to_dict() == one
    assert post(app, "/api/labels", {**asked, "began": one}).status == 200
    assert post(app, "/api/labels", {**asked, "began": one}).status == 200  # they are there already
    assert load_circuit(circuit).labels.to_dict() == other


def test_a_bundled_run_is_not_labelled() -> None:
    app = build_app(Library(lambda: [("example", Run.open(example_folder()))]), POLICY)
    answer = post(app, "/api/labels", {"run": "example", "circuit": "for_while", "sha256": "", "labels": {}})
    assert (answer.status, "nothing is written into it" in answer.json["error"]) == (409, True)


def test_pages_hold_keys_and_the_token_and_nothing_else_of_a_run(app) -> None:
    page = call(app, "GET", "/c/planted/larger", own()).body.decode()
    assert f'<meta name="session" content="{TOKEN}">' in page
    assert '<body data-view="circuit" data-run="planted" data-circuit="larger">' in page
    assert "{{" not in page
    assert "<style" not in page
    assert page.count("<script") == 1
    assert 'src="/assets/app.js"' in page
    for path in (
        "/c/planted/nothing",
        "/c/nothing/larger",
        "/c/planted",
        "/c/planted/larger/",
        "/favicon.ico",
    ):
        assert call(app, "GET", path, own()).status == 404


def test_assets_are_a_fixed_table(app) -> None:
    for path, asset in assets().items():
        answer = call(app, "GET", path, own())
        assert answer.body.decode() == asset.content
        assert answer.headers["content-type"].startswith(asset.kind)
    assert call(app, "GET", "/assets/page.html", own()).status == 404
    assert call(app, "GET", "/assets/", own()).status == 404


def test_a_damaged_circuit_is_told(served_run, tmp_path) -> None:
    folder = Path(shutil.copytree(served_run.folder, tmp_path / "run"))
    (folder / "circuits" / "larger" / "circuit.json").write_text('{"format": "spa')
    app = build_app(Library(lambda: [("planted", Run.open(folder))]), POLICY)
    (run,) = call(app, "GET", "/api/runs", own()).json["runs"]
    assert [circuit["key"] for circuit in run["circuits"]] == ["string_closing"]
    ((name, error),) = [(one["name"], one["error"]) for one in run["damaged"]]
    assert name == "larger"
    assert error.startswith("circuit.json: damaged: Unterminated string")
    assert str(tmp_path) not in error
    assert call(app, "GET", "/c/planted/larger", own()).status == 404


def test_an_unknown_address_names_what_is_there(served_run) -> None:
    app = build_app(Library(lambda: [("<b>&", served_run)]), POLICY)
    for path in ("/c/unknown", "/c/unknown/larger", "/c/b/unknown"):
        answer = call(app, "GET", path, own())
        assert answer.status == 404
        page = answer.body.decode()
        assert '<a href="/">' in page
        assert '<a href="/c/b/larger">&lt;b&gt;&amp;: larger</a>' in page
        assert "unknown" not in page
        assert TOKEN not in page
        assert "<script" not in page


def test_a_page_is_made_anew_when_its_bridge_was_measured(served_run: Run, tmp_path: Path) -> None:
    folder, task = Path(shutil.copytree(served_run.folder, tmp_path / "run")), planted.STRING_CLOSING
    beside = Beside(source="dense", sha256="0" * 64, settings={})
    run = dataclasses.replace(served_run, folder=folder, beside=beside)
    bridged = build_app(Library(lambda: [("planted", run)], tasks={task.name: task}), POLICY)
    assert "bridge" not in made(bridged)["circuits"][0]
    found = {**steering(task.name), "node": f"0.attn.act_in.{planted.QUOTE}", "right": 1.0}
    write_result(found, result_path(run, "steering", task.name))
    assert made(bridged)["circuits"][0]["bridge"]["steering"]["prompts"] == 256
    write_result({**found, "prompts": 100}, result_path(run, "steering", task.name))
    assert made(bridged)["circuits"][0]["bridge"]["steering"]["prompts"] == 100
