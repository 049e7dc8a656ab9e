"""A circuit of 2,000 nodes and 10,000 edges: folded, drawn on a canvas, and as usable as a small one."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.viz import check_document
from sparsecircuits.viz.layout import lay_out
from sparsecircuits.viz.page import render_page
from tests.viz.fixture import demo_document
from tests.viz.large import large_circuit

# Pixels of the canvas that are clearly blue or orange: what the edges have been painted with.
COLOURED = """() => {
  const { width, height } = document.querySelector("#graph canvas");
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  pen.drawImage(document.querySelector("#graph canvas"), 0, 0);
  const { data } = pen.getImageData(0, 0, width, height);
  let found = 0;
  for (let i = 0; i < data.length; i += 4) found += Math.abs(data[i] - data[i + 2]) > 24;
  return found;
}"""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    whole = demo_document()
    whole["summary"], whole["circuits"] = None, [large_circuit(2_000, 10_000)]
    return whole


@pytest.fixture(scope="module")
def html(document: dict[str, Any]) -> str:
    return render_page(document)


def test_rows_fold_and_nothing_overlaps(document):
    layout = lay_out(document["circuits"][0])
    assert layout.width < 2_200
    spans: dict[float, list[tuple[float, float]]] = {}
    for x, y, width in layout.nodes.values():
        spans.setdefault(y, []).append((x - width / 2, x + width / 2))
    for row in spans.values():
        row.sort()
        assert all(a[1] < b[0] for a, b in zip(row, row[1:], strict=False))
    ys = sorted(spans)
    assert all(b - a >= 14 for a, b in zip(ys, ys[1:], strict=False))  # a dot is 10 high
    for box in layout.boxes:
        inside = [
            (x, y)
            for x, y, _ in layout.nodes.values()
            if box.x < x < box.x + box.width and box.y < y < box.y + box.height
        ]
        heads = [
            n for n in document["circuits"][0]["nodes"] if (n["layer"], n["head"]) == (box.layer, box.head)
        ]
        assert len(inside) == len(heads)  # its own nodes and no other's


def test_time_to_lay_out_grows_with_the_size_and_no_faster():
    seconds = []
    for nodes in (1_500, 6_000):
        circuit = large_circuit(nodes, 5 * nodes)
        start = time.process_time()
        lay_out(circuit)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 9 * seconds[0] + 1  # four times as large; quadratic would be sixteen times


def test_the_page_is_small(html):
    assert len(html.encode()) < 5_000_000


def test_it_opens_and_answers_at_once(chromium, html, tmp_path):
    from benchmarks.viewer_large import opening_time, slider_times  # needs the browser's package

    path = tmp_path / "large.html"
    path.write_text(html, encoding="utf-8")
    assert opening_time(chromium, path, 1) < 3  # seconds
    times = slider_times(chromium, path, 1, keys=("ArrowRight", "End", "Home", "PageUp", "ArrowLeft"))
    assert len(times) == 5
    assert statistics.median(times) < 100  # milliseconds


def test_it_is_drawn_walked_and_announced(open_page, html, document):
    opened = open_page(html)
    assert opened.page.locator("#graph [data-node]").count() == 0  # a canvas, not thousands of elements
    assert opened.page.locator("#strength-value").inner_text() == "10,000 of 10,000 edges"
    opened.page.wait_for_function(f"() => ({COLOURED})() > 2000")
    opened.page.keyboard.press("/")
    opened.page.keyboard.type("0.attn.act_in")
    opened.page.keyboard.press("Enter")
    first = opened.page.locator("#node-name").inner_text()
    assert first.startswith("0.attn.act_in.")
    said = opened.page.locator("#graph [aria-live]")
    assert said.inner_text().startswith(f"{first}, layer 0: attention read; ")
    opened.page.keyboard.press("ArrowRight")
    second = opened.page.locator("#node-name").inner_text()
    assert second.startswith("0.attn.act_in.")
    assert second != first
    opened.page.keyboard.press("ArrowLeft")
    assert opened.page.locator("#node-name").inner_text() == first
    opened.page.keyboard.press("Escape")
    assert opened.page.locator("#node-name").count() == 0
    assert said.inner_text() == ""
    opened.page.keyboard.press("Enter")  # begins at the first node
    assert opened.page.locator("#node-name").inner_text() == document["circuits"][0]["nodes"][0]["name"]
    opened.assert_quiet()


def test_a_click_chooses_the_node_under_it_at_any_zoom(open_page, html, document):
    opened = open_page(html)
    layout = lay_out(document["circuits"][0])
    name = next(n for n in layout.nodes if n.startswith("0.attn.resid_delta"))
    x, y, _ = layout.nodes[name]
    for zoomed in range(2):
        if zoomed:
            opened.page.locator("button[aria-label='Zoom in']").click()
        sizes = "(({ scrollLeft, scrollTop, clientWidth }) => [scrollLeft, scrollTop, clientWidth])"
        left, top, frame = opened.page.evaluate(f"{sizes}(document.querySelector('#graph'))")
        # As wide as the frame, with 130 pixels for the labels that the drawing gives 165.
        zoom = (frame - 130) / (layout.width - 165) * (1.25 if zoomed else 1)
        gutter = max(0.0, 130 - 165 * zoom)
        place = {"x": gutter + x * zoom - left, "y": y * zoom - top}
        opened.page.locator("#graph").click(position=place)
        assert opened.page.locator("#node-name").inner_text() == name
    opened.assert_quiet()


def test_the_slider_repaints(open_page, html):
    opened = open_page(html)
    opened.page.wait_for_function(f"() => ({COLOURED})() > 2000")
    every = opened.page.evaluate(COLOURED)
    opened.page.locator("#strength").focus()
    opened.page.keyboard.press("End")
    assert opened.page.locator("#strength-value").inner_text().endswith(": 1 of 10,000 edges")
    opened.page.wait_for_function(f"() => ({COLOURED})() < {every} / 2")
    opened.page.keyboard.press("Home")
    opened.page.wait_for_function(f"() => ({COLOURED})() > 0.98 * {every}")


def test_layers_and_reach_hide_nodes_and_edges(open_page, html, document):
    opened = open_page(html, "#sparse/large?layers=1")
    inside = [e for e in document["circuits"][0]["edges"] if e["source"].startswith("1.")]
    text = opened.page.locator("#strength-value").inner_text()
    assert text == f"{len(inside):,} of 10,000 edges"
    name = inside[0]["source"]
    touching = [e for e in inside if name in (e["source"], e["target"])]
    opened.page.evaluate(f"location.hash = '#sparse/large/{name}?layers=1&reach=near'")
    opened.page.wait_for_selector("#node-name")
    text = opened.page.locator("#strength-value").inner_text()
    assert text == f"{len(touching):,} of 10,000 edges"
    opened.assert_quiet()


def test_it_is_saved_as_svg_without_what_is_hidden(open_page, html, tmp_path: Path):
    opened = open_page(html, "#sparse/large?min=0.8")
    shown = int(opened.page.locator("#strength-value").inner_text().split(": ")[1].split()[0])
    with opened.page.expect_download() as download:
        opened.page.locator("#export").click()
    path = tmp_path / "large.svg"
    download.value.save_as(path)
    text = path.read_text(encoding="utf-8")
    assert text.count('class="edge pos"') + text.count('class="edge neg"') == shown > 0
    assert text.count('class="node') == 2_001  # and the group around them
    opened.assert_quiet()


def test_on_a_phone_only_the_frame_scrolls(open_page, html):
    opened = open_page(html, width=380, scheme="dark")
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 380
    sizes = "(({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth])"
    wide, narrow = opened.page.evaluate(f"{sizes}(document.querySelector('#graph'))")
    assert wide > narrow
    opened.page.evaluate("document.querySelector('#graph').scrollLeft = 150")
    opened.page.wait_for_function(f"() => ({COLOURED})() > 500")
    opened.assert_quiet()


def test_on_paper_it_is_light_and_whole(open_page, html):
    opened = open_page(html, scheme="dark")
    opened.page.emulate_media(media="print", color_scheme="dark")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    # Painted at once: the band behind the first layer is that of the light scheme, 8 pixels from the corner.
    found = opened.page.evaluate(
        """() => {
          const canvas = document.querySelector("#graph canvas"), { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(Math.round(width * 0.02), 0, 1, height);
          const band = (y) => data[4 * y] === 0xf3 && data[4 * y + 1] === 0xf1 && data[4 * y + 2] === 0xec;
          return [...Array(height).keys()].filter(band).length / height;
        }"""
    )
    assert found > 0.5
    assert opened.page.locator(".tools").is_hidden()
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.page.evaluate("document.documentElement.dataset.theme") is None


def test_where_there_is_no_room_it_waits(open_page, html):
    opened = open_page(html, width=380)
    opened.page.evaluate("document.querySelector('#graph').hidden = true")
    opened.page.keyboard.press("+")
    opened.page.evaluate("document.querySelector('#graph').hidden = false")
    opened.page.wait_for_function(f"() => ({COLOURED})() > 500")
    opened.assert_quiet()


def test_the_steered_node_has_a_ring(open_page, html, document):
    steered = json.loads(json.dumps(document))
    (circuit,) = steered["circuits"]
    through = {"node": circuit["nodes"][0]["name"], "side": "both", "prompts": 2, "right": 1.0}
    keys = [f"{key}{end}" for key in ("p_other", "pair") for end in ("", "_low", "_high")]
    curves = [{"name": "bridge", **dict.fromkeys(keys, [0.0, 1.0])}]
    circuit["bridge"] = {"dense": "d", "steering": {**through, "strengths": [0, 1], "curves": curves}}
    check_document(steered)
    blue = []
    for page in (html, render_page(steered)):
        opened = open_page(page, "#sparse/large?min=1000")  # no edge is as strong
        opened.page.wait_for_function("() => document.querySelector('#strength-value').innerText")
        blue.append(opened.page.evaluate(COLOURED))
    assert blue[1] > blue[0] + 20
