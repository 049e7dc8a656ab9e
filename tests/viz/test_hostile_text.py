"""Sixty hostile texts (:mod:`payloads`) in every place that shows foreign text, in headless Chromium."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from sparsecircuits.viz import PageView, render_page
from sparsecircuits.viz.page import embed_json
from tests.viz.fixture import demo_document, quote_circuit, random_circuit, report_card
from tests.viz.payloads import PAYLOADS
from tests.viz.shown import assert_nothing_foreign, assert_shown, spoken

READER, WRITER = "0.mlp.act_in.41", "1.attn.v.11"


def _document(*circuits: dict[str, Any]) -> dict[str, Any]:
    return {**demo_document(), "circuits": list(circuits)}


def _small(**more: Any) -> dict[str, Any]:
    """A circuit without prompts."""
    circuit = {**quote_circuit(), "samples": [], **more}
    del circuit["attention"]
    return circuit


def _frames(pages: list[str]) -> str:
    """Many pages in one, each as a notebook's cell shows it."""
    views = "".join(PageView(page, height=100)._repr_html_() for page in pages)
    return f'<!doctype html><meta charset="utf-8"><body>{views}</body>'


def test_the_payloads_are_sixty_and_one_that_gets_through_is_seen(open_page):
    assert len(set(PAYLOADS)) == len(PAYLOADS) == 60
    opened = open_page("<!doctype html><body><p></p></body>")
    got_through = opened.page.evaluate(
        """(wanted) => JSON.parse(wanted).filter((text) => {
          const { body } = document.implementation.createHTMLDocument(); // where nothing runs
          body.innerHTML = `<p title="${text}">${text}</p>`;
          return body.childNodes.length > 1 || body.firstChild.title !== text || body.textContent !== text;
        }).length""",
        json.dumps(PAYLOADS),
    )
    assert got_through >= 40  # the others are hostile to scripts, templates or eyes instead
    opened.page.evaluate(
        """(text) => { document.body.innerHTML = text; }""", "<img src=x onerror=window.broken=1;alert(1)>"
    )
    opened.page.wait_for_function("window.broken === 1")
    assert "dialog" in opened.complaints
    with pytest.raises(AssertionError, match="window.broken is set"):
        assert_nothing_foreign(opened.page)
    with pytest.raises(AssertionError, match="undefined|null"):
        assert_shown(opened.page, "p", PAYLOADS)


def test_text_of_tokens(open_page):
    circuit = _small()
    circuit["nodes"][0]["tokens_in"] = [[text, 0.5] for text in PAYLOADS]
    circuit["nodes"][0]["vocabulary_in"] = [[text, 0.5] for text in PAYLOADS]
    circuit["text"]["vocabulary"] = list(PAYLOADS)
    circuit["text"]["windows"] = [list(range(len(PAYLOADS))), [0, 1]]
    circuit["nodes"][0]["text"]["random"] = [[0, 0, 0, [0.5] * len(PAYLOADS)]]
    opened = open_page(_document(circuit), f"#{circuit['id']}/{READER}")
    assert_shown(opened.page, "#text .random .tok", PAYLOADS)
    assert_shown(opened.page, "#panel .links code.tok", [*PAYLOADS, *PAYLOADS])
    assert_nothing_foreign(opened.page)
    opened.assert_quiet()


def test_prompts(open_page):
    circuit = quote_circuit()
    sample = copy.deepcopy(circuit["samples"][0])
    sample["tokens"], sample["differs"] = list(PAYLOADS), [0]
    sample["activations"] = {name: [0.0] * len(PAYLOADS) for name in sample["activations"]}
    circuit["samples"] = [sample]
    del circuit["attention"]
    opened = open_page(_document(circuit), f"#{circuit['id']}/{READER}")
    assert_shown(opened.page, "#prompts .columns .tok", PAYLOADS)
    assert_nothing_foreign(opened.page)
    opened.assert_quiet()


_WALK = """async (wanted) => {
  const lost = [], texts = JSON.parse(wanted);
  for (let i = texts.length - 1; i >= 0; i--) {
    const came = new Promise((done) => addEventListener("hashchange", done, { once: true }));
    const select = document.getElementById("task");
    select.selectedIndex = i;
    select.dispatchEvent(new Event("change"));
    await came;
    if (!document.querySelector("#facts .about").textContent.startsWith(texts[i])) lost.push(i);
  }
  return lost;
}"""


def test_tasks(open_page):
    document = _document(*(_small(task=text, id=f"sparse/{text}", about=text) for text in PAYLOADS))
    task = document["summary"]["tasks"][0]
    document["summary"]["tasks"] = [{**task, "name": text} for text in PAYLOADS]
    opened = open_page(document)
    assert_shown(opened.page, "#task option", [spoken(text) for text in PAYLOADS])
    assert_shown(opened.page, "#summary .tasks tbody th", [spoken(text) for text in PAYLOADS])
    lost = opened.page.evaluate(
        _WALK, json.dumps(PAYLOADS)
    )  # every id stands in the address and is found again
    assert lost == []
    assert_nothing_foreign(opened.page)
    opened.assert_quiet()


def test_models(open_page):
    document = _document(*(_small(model=text, id=f"{text}/quotes") for text in PAYLOADS))
    model = document["models"]["sparse"]
    document["models"] = {text: {**model, "label": text} for text in PAYLOADS}
    opened = open_page(document)
    assert_shown(opened.page, "#chooser .segments a", PAYLOADS)
    assert_nothing_foreign(opened.page)
    opened.assert_quiet()


def test_labels_of_nodes(open_page):
    circuit = random_circuit("sparse", "for_while", 60, 60)
    names = [node["name"] for node in circuit["nodes"]]
    labels = [{"name": text, "note": text} for text in PAYLOADS]
    circuit["labels"] = {
        "nodes": dict(zip(names, labels, strict=True)),
        "groups": [{**label, "nodes": names[:2]} for label in labels],
    }
    opened = open_page(_document(circuit))
    for part in ("name", "note"):
        assert_shown(opened.page, f"#labels .label-list > li > .label-{part}", [*PAYLOADS, *PAYLOADS])
    assert_nothing_foreign(opened.page)
    opened.assert_quiet()


def test_names_of_files(open_page):
    document = {**_document(), "summary": None}
    pages = [render_page({**document, "title": f"Circuits of {text}"}) for text in PAYLOADS]
    opened = open_page(_frames(pages))
    frames = opened.page.main_frame.child_frames
    assert len(frames) == 60
    for frame, text in zip(frames, PAYLOADS, strict=True):
        frame.wait_for_selector("#explorer .notice", state="attached")
        assert_shown(frame, "h1", [f"Circuits of {text}"])
        assert_nothing_foreign(frame)
    opened.assert_quiet()


def test_the_page_that_says_what_is_wrong(open_page):
    page = render_page({**_document(), "summary": None})
    before, rest = page.split('id="document">')
    after = rest[rest.index("</script>") :]
    bad = [embed_json({"format": text, "version": text}) for text in PAYLOADS]
    opened = open_page(_frames([f'{before}id="document">{data}{after}' for data in bad]))
    for frame, text in zip(opened.page.main_frame.child_frames, PAYLOADS, strict=True):
        frame.wait_for_selector("#notice:not([hidden])", state="attached")
        assert_shown(frame, "h1", ["This page cannot show its document"])
        told = frame.evaluate(
            "(text) => document.getElementById('notice').textContent.startsWith("
            "`It holds ${JSON.parse(text)} version ${JSON.parse(text)}; this page reads `)",
            json.dumps(text),
        )
        assert told
        assert_nothing_foreign(frame)
    opened.assert_quiet()


def test_half_a_character_in_an_id_and_the_page_still_answers(open_page):
    """As the name of a run's folder gives, whose bytes are no UTF-8; no address can hold it."""
    names = ["a\udcff", "b\ud800"]
    document = _document(*(_small(model=name, id=f"{name}/quotes") for name in names))
    document["models"] = {name: {**document["models"]["sparse"], "label": name} for name in names}
    opened = open_page(document)
    assert_shown(opened.page, "#chooser .segments a", names)
    opened.page.locator("#chooser .segments a").nth(1).click()
    opened.page.wait_for_function("document.querySelectorAll('.segments a')[1].ariaCurrent === 'true'")
    opened.page.locator(f'[data-node="{WRITER}"]').click()
    assert opened.page.url.endswith(f"#b%EF%BF%BD/quotes/{WRITER}")
    opened.assert_quiet()


def test_exported_file_with_a_hostile_report_card_reaches_nothing_outside(open_page):
    """RIGOUR V6: no address outside in the file, and the policy stops what a script would ask for."""
    circuit, document = quote_circuit(), demo_document()
    circuit["card"] = report_card()
    test, verdict = circuit["card"]["tests"][0], circuit["card"]["verdicts"][0]
    texts = ("name", "asks", "figure", "passes", "rules_out", "control_is", "note")
    circuit["card"]["tests"] = [{**test, **dict.fromkeys(texts, text)} for text in PAYLOADS]
    circuit["card"]["verdicts"] = [{**verdict, "name": text, "meaning": text} for text in PAYLOADS]
    document["title"], document["circuits"] = PAYLOADS[2], [circuit]
    page = render_page(document)
    for attribute in ("src", "href", "action", "srcset"):
        assert not re.search(rf"<[a-z][^<>]*\s{attribute}\s*=", page)
    opened = open_page(document)
    assert_shown(opened.page, "#card .verdicts dt", [f"● {text}: yes" for text in PAYLOADS])
    assert_nothing_foreign(opened.page)
    opened.assert_quiet()
    stopped = opened.page.evaluate(
        """async () => {
          const stopped = [];
          addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective));
          const add = (tag, more) => document.body.append(Object.assign(document.createElement(tag), more));
          add("img", { src: "https://evil.example/x.png" });
          add("script", { textContent: "window.broken = 1" });
          add("script", { src: "https://evil.example/x.js" });
          add("style", { textContent: "body { color: red }" });
          add("link", { rel: "stylesheet", href: "https://evil.example/x.css" });
          add("iframe", { src: "https://evil.example/" });
          add("object", { data: "https://evil.example/" });
          add("base", { href: "https://evil.example/" });
          try { await fetch("https://evil.example/"); } catch { /* as it should */ }
          try { new WebSocket("wss://evil.example/"); } catch { /* as it should */ }
          await new Promise((done) => setTimeout(done, 200));
          const unharmed = window.broken === undefined && document.baseURI === location.href;
          return [unharmed, [...new Set(stopped)].sort().join(" ")];
        }"""
    )
    directives = "base-uri connect-src frame-src img-src object-src script-src-elem style-src-elem"
    assert stopped == [True, directives]
