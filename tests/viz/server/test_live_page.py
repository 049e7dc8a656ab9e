"""The live pages in headless Chromium, from a server that listens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.circuit import Label, Labels, load_circuit, save_labels
from sparsecircuits.model import Node
from sparsecircuits.train import Run
from tests.prune import planted
from tests.viz.server.asking import Running, listening
from tests.viz.server.conftest import library_of

VALUE = f"0.attn.v.{planted.VALUE}"
#: Of the circuit alone: the share of its first candidate.
SHARE = '.odds-of[aria-label="circuit alone"] .candidates tr:first-child .n'


class Visit:
    """A page on screen, with all that it asked for or complained of."""

    def __init__(self, context: Any, running: Running) -> None:
        self.page, self.running = context.new_page(), running
        self.page.set_default_timeout(15_000)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))

    def open(self, path: str) -> Any:
        self.page.goto(self.running.address + path)
        return self.page

    def circuit(self, path: str = "/c/planted/string_closing") -> Any:
        page = self.open(path)
        page.wait_for_selector(f'[data-node="{VALUE}"]')
        page.wait_for_selector(".odds-of", state="attached")
        return page

    def assert_quiet(self) -> None:
        """Nothing was asked of anyone but the server, and nothing went wrong."""
        assert all(url.startswith(self.running.address + "/") for url in self.requests)
        assert self.complaints == []


@pytest.fixture
def visit(chromium: Any, running: Running) -> Iterator[Any]:
    """A function that begins a visit."""
    contexts = []

    def begin(width: int = 1280, scheme: str = "light") -> Visit:
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        return Visit(context, running)

    yield begin
    for context in contexts:
        context.close()


def share(page: Any) -> float:
    return float(page.locator(SHARE).first.inner_text().rstrip("%"))


def wait_for_share(page: Any, test: str) -> None:
    """Wait until the circuit's share passes a test of JavaScript in ``x``."""
    page.wait_for_function(
        f"""([where]) => {{
            const x = parseFloat(document.querySelector(where)?.textContent);
            return {test};
        }}""",
        arg=[SHARE],
    )


def test_a_circuit_is_found_and_asked(visit) -> None:
    seen = visit()
    page = seen.open("/")
    page.locator('a[href="/c/planted/string_closing"]').click()
    page.wait_for_selector(f'[data-node="{VALUE}"]')
    page.wait_for_selector(".odds-of")
    assert page.title() == "string_closing · planted"
    assert page.locator(".odds-of h4").all_inner_texts() == [
        "whole model",
        "circuit alone",
        "model without the circuit",
    ]
    page.locator("#live-text").fill('f("xyz')
    page.wait_for_function("() => document.querySelectorAll('#live-tokens [data-at]').length === 7")
    wait_for_share(page, "x < 10")  # the typed prompt's candidates begin with the commonest, the single quote
    page.locator("#live-text").fill("f('xyz")
    wait_for_share(page, "x > 90")
    seen.assert_quiet()


def test_ablating_a_node_changes_the_odds_and_taking_it_back_restores_them(visit) -> None:
    seen = visit()
    page = seen.circuit()
    wait_for_share(page, "x > 95")
    page.locator(f'[data-node="{VALUE}"]').click()
    assert VALUE in page.locator("#live-node").inner_text()
    page.locator("#live-ablate").click()
    wait_for_share(page, "x < 80")
    row = page.locator(SHARE).first.locator("xpath=..")
    assert row.locator(".change").inner_text().startswith("▼")
    assert page.locator(".changes li").all_inner_texts() == [f"{VALUE} frozen at its mean at all tokens ×"]
    assert page.locator("#live-ablate").get_attribute("aria-pressed") == "true"
    page.get_by_label(f"Take back the change of {VALUE}").click()
    wait_for_share(page, "x > 95")
    assert page.locator("#live-ablate").get_attribute("aria-pressed") == "false"
    seen.assert_quiet()


def test_sliders_hold_and_scale_and_changes_stack(visit) -> None:
    seen = visit()
    page = seen.circuit(f"/c/planted/string_closing#node={VALUE}")
    page.wait_for_selector("#live-scale")
    slider = page.locator("#live-scale")
    slider.focus()
    page.keyboard.press("Home")  # × 0
    wait_for_share(page, "x < 80")
    assert "scaled × 0.00" in page.locator(".changes").inner_text()
    page.locator(f'[data-node="0.attn.resid_delta.{planted.WRITTEN}"]').click()
    page.locator("#live-clamp").focus()
    page.keyboard.press("End")
    page.wait_for_function("() => document.querySelectorAll('.changes li').length === 2")
    assert "held at" in page.locator(".changes").inner_text()
    page.locator("#live-clear").click()
    wait_for_share(page, "x > 95")
    assert page.locator("#live-changes").inner_text() == "No node is changed."
    seen.assert_quiet()


def test_one_token_can_be_chosen_and_shows_the_nodes_activation(visit) -> None:
    seen = visit()
    page = seen.circuit(f"/c/planted/string_closing#node={VALUE}")
    page.locator("#live-text").fill("f('abc")
    page.wait_for_selector("#live-tokens small")
    quote = page.locator('#live-tokens [data-at="3"]')
    assert float(quote.locator("small").inner_text().replace("−", "-")) > 1
    assert "pos" in quote.locator(".tok").get_attribute("class")
    quote.click()
    assert quote.get_attribute("aria-pressed") == "true"
    page.locator("#live-ablate").click()
    wait_for_share(page, "x < 80")
    assert page.locator(".changes li").inner_text() == f"{VALUE} frozen at its mean at token 3 ' ×"
    page.locator("#live-text").fill("f")  # a prompt without that token
    page.wait_for_function("() => document.querySelectorAll('.changes li').length === 0")
    assert page.locator("#live-dropped").inner_text() == "1 change dropped: token 3 is gone"
    assert page.locator("#live-node .live-node-name").inner_text() == f"{VALUE} at all tokens"
    page.locator("#live-ablate").click()
    assert page.locator("#live-dropped").count() == 0
    seen.assert_quiet()


def test_the_panel_names_the_token_of_the_present_prompt(visit) -> None:
    seen = visit()
    page = seen.circuit(f"/c/planted/string_closing#node={VALUE}")
    page.locator("#live-text").fill("f('abc")
    page.wait_for_function("() => document.querySelectorAll('#live-tokens [data-at]').length === 7")
    page.locator('#live-tokens [data-at="4"]').click()
    assert page.locator(".live-node-name").inner_text() == f"{VALUE} at token 4 a"
    page.locator("#live-text").fill("f('xyz")
    page.wait_for_function("() => document.querySelector('.live-node-name').textContent.endsWith('4 x')")
    seen.assert_quiet()


def test_a_deep_link_is_reloaded(visit) -> None:
    seen = visit()
    page = seen.circuit()
    page.locator(f'[data-node="{VALUE}"]').click()
    assert page.url.endswith(f"#planted/string_closing/{VALUE}")
    page.reload()
    page.wait_for_selector("#node-name")
    assert page.locator("#node-name").inner_text() == VALUE
    page.wait_for_function(
        "(name) => document.querySelector('#live-node').textContent.includes(name)", arg=VALUE
    )
    seen.assert_quiet()


def test_a_prompt_that_is_too_long_is_told_and_the_odds_stay(visit) -> None:
    seen = visit()
    page = seen.circuit()
    page.locator("#live-text").fill("a" * 99)
    page.wait_for_selector("#live-status.wrong")
    assert page.locator("#live-status").inner_text().startswith("the prompt has 100 tokens")
    assert page.locator(".odds-of").count() == 3
    assert page.locator("#live-former").inner_text() == "for the former prompt"
    assert page.locator(".odds-of").first.evaluate("e => getComputedStyle(e).opacity") == "0.45"
    page.locator("#live-text").fill("f('abc")
    page.wait_for_selector("#live-status:not(.wrong)")
    assert page.locator("#live-former, .former").count() == 0
    # The browser notes the refusal, and nothing else.
    assert [text for text in seen.complaints if "422" not in text] == []


def test_hostile_prompts_are_text(visit) -> None:
    seen = visit()
    page = seen.circuit()
    for text in ("<img src=x>", "</script>", "<svg/onload=a>", "&lt;b&gt;\u2028", "\u202e{{7*7}}"):
        page.locator("#live-text").fill(text)
        page.wait_for_function(
            "(n) => document.querySelectorAll('#live-tokens [data-at]').length === n",
            arg=1 + len(text.encode()),
        )
        shown = page.locator("#live-tokens [data-at] .tok").evaluate_all("all => all.map(e => e.textContent)")
        if text.isascii():
            assert "".join(shown[1:]).replace("·", " ") == text
    assert page.locator("img, #live svg").count() == 0
    seen.assert_quiet()


def test_two_circuits_side_by_side(visit) -> None:
    seen = visit()
    page = seen.open("/")
    page.locator('[data-pick="planted/string_closing"]').check()
    page.locator('[data-pick="planted/larger"]').check()
    page.locator("#compare-link").click()
    page.wait_for_selector("#both-odds .odds-of")
    assert page.locator("#side-left").input_value() == "planted: string_closing"
    heads = page.locator(".part h4").all_inner_texts()
    assert heads[0].startswith("◆ in both: 3 nodes")
    assert heads[1] == "◧ only left: 0 nodes, 0 edges"
    assert heads[2].startswith("◨ only right: 4 nodes")
    page.locator("#side-right").select_option("planted: string_closing")
    page.wait_for_function("() => document.querySelector('.part-right h4').textContent.includes('0 nodes')")
    page.locator(".part-shared a", has_text=VALUE).click()
    page.wait_for_selector("#node-name")
    assert page.locator("#node-name").inner_text() == VALUE
    seen.assert_quiet()


def test_a_pruning_can_be_begun_and_cancelled(visit, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from sparsecircuits.viz.server.prunings import Order

    line = '{"progress": "prune", "done": 40, "total": 100, "loss": 0.25, "seconds_left": 12}'
    code = f"import sys, time; print({line!r}, file=sys.stderr, flush=True); time.sleep(60)"
    monkeypatch.setattr(Order, "command", [sys.executable, "-c", code])
    seen = visit()
    page = seen.open("/")
    page.locator("#prune-task").select_option("for_while")
    page.locator("#prune-start").click()
    page.wait_for_function("() => document.querySelector('#pruning progress')?.value === 40")
    told = page.locator("#pruning").inner_text()
    assert "loss 0.250" in told
    assert "about 12 s left" in told
    assert page.locator("#prune-start").is_disabled()
    page.locator("#prune-cancel").click()
    page.wait_for_function("() => document.querySelector('#pruning-state').textContent === '○ cancelled'")
    assert not page.locator("#prune-start").is_disabled()
    # To replace a circuit one has to say so.
    assert not page.locator("#prune-sure").is_visible()
    page.locator("#prune-task").select_option("string_closing")
    assert page.locator("#prune-sure").is_visible()
    page.locator("#prune-start").click()
    page.wait_for_selector("#pruning .notice")
    assert "say that it may be replaced" in page.locator("#pruning").inner_text()


@pytest.mark.parametrize("path", ["/", "/compare", f"/c/planted/string_closing#node={VALUE}"])
def test_a_phone_needs_no_sideways_scrolling(visit, path: str) -> None:
    seen = visit(width=380, scheme="dark")
    page = seen.open(path)
    page.wait_for_selector({"/": ".run", "/compare": "#both-odds .odds-of"}.get(path, "#node-name"))
    if path.startswith("/c/"):
        assert not page.locator("#live-body").is_visible()  # folded, so that the drawing is seen
        page.locator("#live-fold").click()
        page.wait_for_selector("#live-ablate")
    assert page.evaluate("document.documentElement.scrollWidth") == 380
    seen.assert_quiet()


def test_a_server_that_is_gone_is_told(visit) -> None:
    seen = visit()
    page = seen.circuit()
    page.route("**/api/**", lambda route: route.abort())
    page.locator("#live-text").fill("f")
    page.wait_for_selector("#live-status.wrong")
    assert page.locator("#live-status").inner_text() == "The server does not answer; is it still running?"


def test_another_sites_page_can_neither_read_nor_frame_nor_post(chromium, running: Running) -> None:
    """From a page of another origin, with a real browser's rules."""
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.route("http://evil.test/", lambda route: route.fulfill(content_type="text/html", body="<p>evil"))
        page.goto("http://evil.test/")
        tried = page.evaluate(
            """async (address) => {
                const status = async (path, init) => {
                    try { return (await fetch(address + path, init)).status; } catch { return "no"; }
                };
                const body = '{"run": "planted", "circuit": "larger", "text": "a"}';
                const json = { "content-type": "application/json" };
                return [
                    await status("/", {}),
                    await status("/", { mode: "no-cors" }),
                    await status("/api/runs", { headers: { "x-sparsecircuits-token": "x" } }),
                    await status("/api/ask", { method: "POST", body, headers: json }),
                    await status("/api/cancel", { method: "POST", mode: "no-cors", body }),
                ];
            }""",
            running.address,
        )
        assert tried == ["no"] * 5
        page.evaluate(
            """(address) => new Promise((done) => {
                const frame = document.createElement("iframe");
                frame.src = address + "/";
                frame.onload = done;
                document.body.append(frame);
            })""",
            running.address,
        )
        (frame,) = [frame for frame in page.frames if frame != page.main_frame]
        assert "session" not in frame.content()
    finally:
        context.close()


def test_a_label_is_saved_and_found_again(chromium, served_run, tmp_path) -> None:
    """In the circuit's file, so in another browser too."""
    folder = Path(shutil.copytree(served_run.folder, tmp_path / "run"))
    with listening(library_of(Run.open(folder))) as running:
        for again in (False, True):
            context = chromium.new_context(viewport={"width": 1280, "height": 800})
            seen = Visit(context, running)
            page = seen.circuit(f"/c/planted/string_closing#node={VALUE}")
            if not again:
                page.wait_for_function("() => document.querySelector('#live-status').textContent")
                page.locator(".label-edit summary").click()
                page.locator("#label-name").fill("which quote")
                page.locator("#label-save").click()
            page.wait_for_selector(".label-name")
            assert page.locator(".label-name").inner_text() == "which quote"
            assert page.locator(".label-draft").count() == 0  # nothing waits in the browser
            seen.assert_quiet()
            context.close()


def test_labels_changed_elsewhere_are_told_and_ones_own_are_kept(chromium, served_run, tmp_path) -> None:
    folder = Path(shutil.copytree(served_run.folder, tmp_path / "run"))
    circuit = folder / "circuits" / "string_closing"
    with listening(library_of(Run.open(folder))) as running:
        context = chromium.new_context(viewport={"width": 1280, "height": 800})
        seen = Visit(context, running)
        page = seen.circuit(f"/c/planted/string_closing#node={VALUE}")
        page.wait_for_function("() => document.querySelector('#live-status').textContent")
        written = Node.parse(f"0.attn.resid_delta.{planted.WRITTEN}")
        elsewhere = Labels({written: Label("theirs"), Node.parse(VALUE): Label("also theirs")})
        save_labels(circuit, elsewhere)
        page.locator(".label-edit summary").click()
        page.locator("#label-name").fill("mine")
        page.locator("#label-save").click()
        page.wait_for_selector(".label-refused")
        assert page.locator(".label-refused").inner_text() == (
            "labels changed elsewhere; reload to see them, yours are kept in this browser"
        )
        assert load_circuit(circuit).labels == elsewhere
        page.reload()
        page.wait_for_selector(".label-draft")
        assert page.locator(".label-name").inner_text() == "mine"
        assert page.locator(".label-replaced").inner_text() == f"In the file, {VALUE} has: also theirs"
        page.wait_for_function("() => document.querySelector('#live-status').textContent")
        page.locator(".label-edit summary").click()
        page.locator("#label-note").fill("and a note")
        page.locator("#label-save").click()
        page.wait_for_function("() => !document.querySelector('.label-draft')")
        both = elsewhere.with_node(Node.parse(VALUE), Label("mine", "and a note"))
        assert load_circuit(circuit).labels == both
        context.close()


def test_a_damaged_circuit_is_in_the_list_as_text(chromium, served_run, tmp_path) -> None:
    folder = Path(shutil.copytree(served_run.folder, tmp_path / "run"))
    damaged = folder / "circuits" / "<img src=x>"
    damaged.mkdir()
    (damaged / "circuit.json").write_text("{")
    with listening(library_of(Run.open(folder))) as running:
        context = chromium.new_context()
        seen = Visit(context, running)
        page = seen.open("/")
        page.wait_for_selector(".damaged li")
        assert page.locator(".damaged li").inner_text().startswith("<img src=x> is damaged: circuit.json: ")
        assert page.locator('a[href="/c/planted/larger"]').count() == 1
        seen.assert_quiet()
        context.close()


@pytest.mark.parametrize("name", ["0.attn.v.999", "%E0%A4%A"])
def test_an_unknown_node_in_a_link_is_told(visit, name: str) -> None:
    seen = visit()
    page = seen.circuit(f"/c/planted/string_closing#node={name}")
    assert page.locator("#notice").inner_text() == (
        f"No node “{name}” is in this circuit; it is shown with none chosen."
    )
    seen.assert_quiet()
