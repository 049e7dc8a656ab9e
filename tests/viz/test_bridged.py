"""A circuit's page tells what was measured through a bridge, of this very circuit and no other."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.bridges.report import report_path, result_path, write_result
from sparsecircuits.circuit import Circuit, model_hash
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.prune import pretraining_means
from sparsecircuits.train import Run
from sparsecircuits.train.beside import Beside
from sparsecircuits.viz import check_document
from sparsecircuits.viz.bridged import bridge_entry
from sparsecircuits.viz.collect import run_document
from tests.prune import planted
from tests.viz.fixture import demo_document
from tests.viz.test_bridge_charts import report, steering, transfer

TASK = planted.STRING_CLOSING.name
QUOTE = "0.attn.act_in.0"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    beside = Beside(source="../../somebody/dense", sha256="0" * 64, settings={})
    return dataclasses.replace(planted.planted_run(tmp_path), beside=beside)


@pytest.fixture
def circuit(run: Run) -> Circuit:
    means = pretraining_means(run.model(), run.corpus().train, count=512)
    return Circuit(TASK, planted.ATTENTION_CIRCUIT, means, info={"model_sha256": model_hash(run.model())})


def through(nodes: list[str]) -> dict[str, Any]:
    moved = transfer(TASK)
    flips = {name: {"estimate": share["estimate"] / 2} for name, share in moved["share"].items()}
    return {**moved, "nodes": nodes, "left_out": 2, "flips": flips}


def steered(node: str) -> dict[str, Any]:
    return {**steering(TASK), "node": node, "right": 1.0}


def test_what_was_measured_is_in_the_document(run: Run, circuit: Circuit) -> None:
    assert bridge_entry(circuit, run) == {}
    write_result(report(1), report_path(run))
    write_result(steered(QUOTE), result_path(run, "steering", TASK))
    write_result(through([QUOTE]), result_path(run, "transfer", TASK))
    found = bridge_entry(circuit, run)["bridge"]
    assert found["dense"] == "dense"  # not where it lies
    assert found["report"]["to_dense"] == pytest.approx([0.25, -0.05, -0.05])
    assert found["steering"]["side"] == "both"
    assert found["steering"]["curves"][0]["p_other"] == [0.0, 0.4, 0.9]
    assert found["transfer"]["share"]["circuit"] == {
        "estimate": 0.8,
        "low": 0.75,
        "high": pytest.approx(0.85),
    }
    assert found["transfer"]["flips"]["circuit"] == 0.4
    document = run_document(run, [circuit], effect_pairs=4, tasks={TASK: planted.STRING_CLOSING})
    check_document(document)
    assert document["circuits"][0]["bridge"] == found


def test_results_of_another_circuit_are_left_out(run: Run, circuit: Circuit) -> None:
    write_result(steered("0.attn.act_in.9"), result_path(run, "steering", TASK))
    write_result(through([QUOTE, "0.attn.act_in.9"]), result_path(run, "transfer", TASK))
    assert bridge_entry(circuit, run) == {}
    write_result(report(1), report_path(run))
    assert list(bridge_entry(circuit, run)["bridge"]) == ["dense", "report"]
    mine = steered(QUOTE) | {"circuit_sha256": circuit_hash(circuit)}
    write_result(mine, result_path(run, "steering", TASK))
    assert "steering" in bridge_entry(circuit, run)["bridge"]
    moved = dataclasses.replace(circuit, scale=2.0)  # the same nodes
    assert "steering" not in bridge_entry(moved, run)["bridge"]
    result_path(run, "steering", TASK).write_text("{")
    assert "steering" not in bridge_entry(circuit, run)["bridge"]
    write_result({**steered(QUOTE), "version": 2}, result_path(run, "steering", TASK))
    assert "steering" not in bridge_entry(circuit, run)["bridge"]
    assert bridge_entry(circuit, dataclasses.replace(run, beside=None)) == {}


def test_a_transfer_is_of_all_of_a_circuit_or_not_told(run: Run, circuit: Circuit) -> None:
    write_result(through([QUOTE]), result_path(run, "transfer", TASK))
    assert "transfer" in bridge_entry(circuit, run)["bridge"]
    larger = circuit.keeping([*circuit.nodes, *planted.NEURON_CIRCUIT])
    assert bridge_entry(larger, run) == {}  # it has a read more, which was not carried


def bridged_document() -> dict[str, Any]:
    document = json.loads(json.dumps(demo_document()))
    node = document["circuits"][0]["nodes"][0]["name"]
    curves = [
        {"name": name, **dict.fromkeys(("p_other", "pair"), values),
         **dict.fromkeys(("p_other_low", "pair_low"), [x / 2 for x in values]),
         **dict.fromkeys(("p_other_high", "pair_high"), [x + 0.1 for x in values])}
        for name, values in (("bridge", [0.01, 0.3, 0.62]), ("random", [0.01, 0.01, 0.02]))
    ]  # fmt: skip
    share = {"circuit": 0.84, "random": -0.004}
    document["circuits"][0]["bridge"] = {
        "dense": "twin",
        "steering": {
            "node": node, "side": "left", "prompts": 128, "right": 1.0, "strengths": [0, 0.5, 1],
            "curves": curves,
        },
        "transfer": {
            "nodes": [node], "left_out": 3, "prompts": 256,
            "share": {name: {"estimate": x, "low": x, "high": x} for name, x in share.items()},
            "flips": {"circuit": 0.97, "random": 0.0},
        },
        "report": {
            "names": ["0.resid_in", "0.resid_mid", "final_resid"], "dense": 1.9, "sparse": 2.0,
            "mean_excess": -0.001, "largest_excess": 0.021, "encode": [0.1] * 3, "decode": [0.2] * 3,
            "to_sparse": [0.01, 0.021, -0.04], "to_dense": [0.0, 0.0, 0.0],
        },
    }  # fmt: skip
    return document


def test_the_section_tells_it_and_leads_to_the_node(open_page) -> None:
    document = bridged_document()
    check_document(document)
    opened = open_page(document)
    section = opened.page.locator("#bridge")
    told = section.inner_text()
    for words in (
        "beside a dense one, twin", "it goes 84% of the way", "97% of 256 answers flip", "has 62% of the two",
        "(95%: 31% to 72%)", "128 held-out left prompts", "random nodes 0%",
        "3 nodes of the circuit do not read", "before MLP 0",
        "before the unembedding", "+0.021", "−0.040",
    ):  # fmt: skip
        assert words in told, words
    assert section.locator("svg.chart").count() == 2
    node = document["circuits"][0]["bridge"]["steering"]["node"]
    section.get_by_role("button", name=node, exact=True).click()
    assert node in opened.page.locator("#panel").inner_text()
    drawn = opened.page.locator(f"#graph [data-node='{node}']")
    expect(drawn).to_be_in_viewport()
    opened.assert_quiet()


def expect(found: Any) -> Any:
    return pytest.importorskip("playwright.sync_api").expect(found)


def test_the_steered_node_is_marked_in_the_drawing(open_page) -> None:
    document = bridged_document()
    node = document["circuits"][0]["bridge"]["steering"]["node"]
    opened = open_page(document)
    marked = opened.page.locator("#graph .steers")
    assert marked.count() == 1
    assert marked.get_attribute("data-node") == node
    assert "the dense model was steered through it" in marked.get_attribute("aria-label")
    assert "steers the dense model" in opened.page.locator("#legend").inner_text()
    bare = open_page(demo_document())
    assert bare.page.locator("#graph .steers").count() == 0
    assert "steers" not in bare.page.locator("#legend").inner_text()


def test_curves_have_their_intervals(open_page) -> None:
    opened = open_page(bridged_document())
    chart = opened.page.locator("#bridge .chart-figure").first
    assert chart.locator("path.between").count() == 2
    assert "the node, through the bridge 0.62 (0.31 to 0.72)" in chart.locator(".readout").inner_text()
    chart.locator("svg.chart").focus()
    opened.page.keyboard.press("ArrowLeft")
    assert "0.5 strength: the node, through the bridge 0.30 (0.15 to 0.40)" in (
        chart.locator(".readout").inner_text()
    )
    # The band is as high as its upper end: its top is above the line's at strength 1.
    line, band = (chart.locator(f"path.{name}-0").first.bounding_box() for name in ("series", "between"))
    assert band["y"] < line["y"] - 5
    opened.assert_quiet()


def test_of_one_token_against_all_no_two_answers_are_told(open_page) -> None:
    document = bridged_document()
    document["circuits"][0]["form"] = "one_against_all"
    section = open_page(document).page.locator("#bridge")
    assert section.locator("svg.chart").count() == 1
    assert "62% of all tokens" in section.inner_text()
    assert "of the two (95%" not in section.inner_text()


def test_it_fits_a_phone(open_page) -> None:
    opened = open_page(bridged_document(), width=375)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 375


def test_without_a_bridge_there_is_no_section(open_page) -> None:
    opened = open_page(demo_document())
    assert not opened.page.locator("#bridge").is_visible()
    opened.assert_quiet()


def test_a_transfer_without_random_draws(open_page) -> None:
    document = bridged_document()
    for of in ("share", "flips"):
        del document["circuits"][0]["bridge"]["transfer"][of]["random"]
    check_document(document)
    opened = open_page(document)
    told = opened.page.locator("#bridge").inner_text()
    assert "84% of the way to that prompt’s answer. 97% of 256 answers flip." in told
    opened.assert_quiet()
