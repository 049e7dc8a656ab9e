"""The page in headless Chromium, opened from disk as a user would."""

from __future__ import annotations

import copy

import pytest

from sparsecircuits.viz import render_page
from tests.viz.fixture import HOSTILE, demo_document, hostile_document, random_circuit, report_card

NODE = '[data-node="1.attn.v.11"]'
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def test_opens_without_request_or_complaint_and_a_click_names_the_node(open_page):
    opened = open_page(demo_document())
    assert opened.page.title() == "Circuits of a weight-sparse transformer"
    assert opened.page.locator("[data-node]").count() == 13
    assert opened.page.locator("#graph path.edge").count() == 9
    opened.page.locator(NODE).click()
    assert opened.page.locator("#node-name").inner_text() == "1.attn.v.11"
    panel = opened.page.locator("#panel").inner_text()
    for text in ("value channel", "1.attn.act_in.55", "−0.91", "2 of 5"):
        assert text in panel
    opened.assert_quiet()


def test_selected_node_colours_the_prompts(open_page):
    opened = open_page(demo_document())
    assert opened.page.locator(".tok.lit").count() == 0
    opened.page.locator(NODE).click()
    marked = opened.page.locator(".column.differs .tok").first
    assert marked.inner_text() == '("'
    assert "pos" in marked.get_attribute("class")  # the double quote drives this channel above its mean
    assert "neg" in opened.page.locator(".column.differs .tok").nth(1).get_attribute("class")


def test_links_in_the_panel_walk_along_edges(open_page):
    opened = open_page(demo_document(), "#sparse/single_double_quote/1.attn.v.11")
    opened.page.locator("#panel .node-link", has_text="1.attn.resid_delta.77").click()
    assert opened.page.locator("#node-name").inner_text() == "1.attn.resid_delta.77"
    assert opened.page.url.endswith("#sparse/single_double_quote/1.attn.resid_delta.77")


def test_keyboard_walks_and_clears(open_page):
    opened = open_page(demo_document(), "#sparse/single_double_quote/1.attn.v.11")
    opened.page.locator(NODE).focus()
    opened.page.keyboard.press("ArrowLeft")
    assert opened.page.locator("#node-name").inner_text() == "1.attn.k.15"
    opened.page.keyboard.press("ArrowUp")
    assert opened.page.locator("#node-name").inner_text() == "1.attn.act_in.17"
    opened.page.keyboard.press("Escape")
    assert opened.page.locator("#node-name").count() == 0
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("#node-name").inner_text() == "1.attn.act_in.17"


def test_the_report_card_says_what_failed_and_unfolds_its_tests(open_page):
    document = demo_document()
    document["circuits"][0]["card"] = report_card()
    opened = open_page(document)
    verdicts = opened.page.locator(".verdicts").inner_text()
    assert "Sufficient: yes" in verdicts
    assert "fails T4 stochastic ablation; not judged: T13" in verdicts
    assert opened.page.locator("#card summary").inner_text() == "All 2 tests: 1 pass, 1 fail"
    assert not opened.page.locator(".card-tests").is_visible()
    opened.page.locator("#card summary").click()
    rows = opened.page.locator(".card-tests tbody tr").all_inner_texts()
    assert "0.092" in rows[0]
    assert "0.080 to 0.100" in rows[0]
    assert "1235" in rows[1]
    opened.assert_quiet()


def test_without_a_report_card_the_page_says_how_to_get_one(open_page):
    opened = open_page(demo_document())
    assert "sparsecircuits check RUN single_double_quote" in opened.page.locator("#card").inner_text()


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ("#nowhere", "No circuit “nowhere” is here; this is the first one."),
        ("#<b>", "No circuit “<b>” is here; this is the first one."),
        ("#%E0%A4%A", "No circuit “%E0%A4%A” is here; this is the first one."),
        (
            "#sparse/single_double_quote/9.attn.v.1",
            "No node “9.attn.v.1” is in this circuit; it is shown with none chosen.",
        ),
        ("#", ""),
        ("", ""),
    ],
)
def test_unknown_address_falls_back_and_says_so(open_page, fragment, said):
    opened = open_page(demo_document(), fragment)
    assert opened.page.locator("[data-node]").count() == 13
    assert opened.page.locator("#node-name").count() == 0
    assert opened.page.locator("#notice").text_content() == said
    assert opened.page.locator("#notice").is_visible() == bool(said)
    opened.page.locator("[data-node]").first.click()
    assert not opened.page.locator("#notice").is_visible()
    opened.assert_quiet()


def test_chooser_and_table_change_the_circuit(open_page):
    opened = open_page(demo_document())
    opened.page.locator("#task").select_option(label="for while")
    opened.wait_for_nodes("#graph", 22)
    opened.page.locator(".segments a", has_text="dense twin").click()
    opened.wait_for_nodes("#graph svg.compact", 110)
    opened.page.locator(".tasks a", has_text="13 / 9").click()
    opened.wait_for_nodes("#graph", 13)
    opened.assert_quiet()


def test_hostile_text_is_shown_verbatim_and_runs_nothing(open_page):
    opened = open_page(hostile_document(), "#sparse/single_double_quote/1.attn.resid_delta.77")
    shown = opened.page.locator(".column .tok:first-child").evaluate_all("all => all.map(e => e.textContent)")
    panel = opened.page.locator("#panel .tok").evaluate_all("all => all.map(e => e.textContent)")
    for text in HOSTILE:
        # A lone surrogate cannot leave the browser as text; the others must be equal to the letter.
        assert (text in shown and text in panel) or text == "\ud800"
    assert opened.page.locator("#title").evaluate("e => e.textContent") == HOSTILE[1]
    assert opened.page.evaluate("window.broken") is None
    assert opened.page.locator("img").count() == 0
    opened.assert_quiet()


def test_the_policy_stops_scripts_that_are_not_ours(open_page):
    broken = render_page(demo_document()).replace("</body>", "<script>window.broken=1</script></body>")
    opened = open_page(broken)
    assert opened.page.evaluate("window.broken") is None
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)


def test_another_version_is_said(open_page):
    opened = open_page(render_page(demo_document()).replace('"version":2,', '"version":3,', 1))
    assert "version 3" in opened.page.locator("#notice").inner_text()
    assert opened.page.locator("#content").is_hidden()
    opened.assert_quiet()


def test_dark_by_preference_and_by_button(open_page):
    light = open_page(demo_document()).page.evaluate(BACKGROUND)
    opened = open_page(demo_document(), scheme="dark")
    assert opened.page.evaluate(BACKGROUND) == "rgb(19, 21, 25)" != light
    opened.page.locator("#theme").click()
    assert opened.page.evaluate(BACKGROUND) == light
    opened.assert_quiet()


def test_print_is_light_and_unfolds(open_page):
    opened = open_page(demo_document(), scheme="dark")
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert opened.page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 29, 32)"
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.page.locator(".guide-text").is_visible()


@pytest.mark.parametrize("fragment", ["#sparse/single_double_quote/1.attn.v.11", "#dense/for_while"])
def test_a_phone_needs_no_sideways_scrolling(open_page, fragment):
    opened = open_page(demo_document(), fragment, width=360)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 360


def test_without_summary_or_circuits(open_page):
    document = demo_document()
    document["summary"], document["circuits"] = None, []
    opened = open_page(document)
    assert "No circuit was found" in opened.page.locator("#explorer").inner_text()
    opened.assert_quiet()


def test_empty_and_lone_circuits(open_page):
    document = copy.deepcopy(demo_document())
    lone = random_circuit("sparse", "lone", 1, 0)
    lone["samples"] = []
    empty = {**copy.deepcopy(lone), "id": "sparse/empty", "nodes": []}
    document["circuits"] = [lone, empty]
    opened = open_page(document)
    assert opened.page.locator("[data-node]").count() == 1
    opened.page.evaluate("location.hash = '#sparse/empty'")
    opened.wait_for_nodes("#graph", 0)
    opened.assert_quiet()
