"""Filters, search, zoom, labels and saving, in headless Chromium on the quote circuit: 13 nodes, 9 edges.

The edges' sizes, from strong to weak: 1.52, 1.44, 1.31, 1.18, 1.07, 0.97, 0.91, 0.83, 0.22.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from tests.viz.fixture import demo_document

HERE = "#sparse/single_double_quote"
EDGES = "#graph path.edge:not(.hid)"


def shown(opened: Any) -> list[str]:
    """The nodes that are not hidden, by name."""
    found = opened.page.locator("#graph [data-node]:not(.hid)")
    return sorted(found.evaluate_all("all => all.map(e => e.dataset.node)"))


def labelled() -> dict[str, Any]:
    """The document with a name for one node and one group; names as rude as the schema lets them be."""
    document = demo_document()
    members = ["0.mlp.act_in.41", "0.mlp.post_act.863", "0.mlp.resid_delta.17"]
    document["circuits"][0]["labels"] = {
        "nodes": {"0.mlp.post_act.863": {"name": "sees a <b>double quote</b>", "note": "either kind"}},
        "groups": [{"name": "quote finder", "note": "", "nodes": members}],
    }
    return document


def test_the_slider_hides_weak_edges_by_keyboard_and_says_how_many(open_page):
    opened = open_page(demo_document())
    value = opened.page.locator("#strength-value")
    assert value.inner_text() == "9 of 9 edges"
    opened.page.locator("#strength").focus()
    opened.page.keyboard.press("ArrowRight")
    assert value.inner_text() == "size at least 0.83: 8 of 9 edges"
    assert opened.page.locator(EDGES).count() == 8
    assert opened.page.locator("#graph .numbers g:not(.hid)").count() == 8
    opened.page.keyboard.press("End")  # the strongest always stays
    assert value.inner_text() == "size at least 1.52: 1 of 9 edges"
    assert opened.page.locator("#strength").get_attribute("aria-valuetext") == value.inner_text()
    opened.page.locator("#reset").click()
    assert opened.page.locator(EDGES).count() == 9
    assert opened.page.locator("#reset").is_disabled()
    opened.assert_quiet()


def test_brackets_move_the_slider_from_anywhere(open_page):
    opened = open_page(demo_document())
    for key, edges in (("]", 8), ("]", 7), ("[", 8)):
        opened.page.keyboard.press(key)
        assert opened.page.locator(EDGES).count() == edges


def test_a_layer_can_be_left_out(open_page):
    opened = open_page(demo_document())
    opened.page.locator("#layers input[value='1']").uncheck()
    assert len(shown(opened)) == 6
    assert all(name.startswith("0.") for name in shown(opened))
    assert opened.page.locator(EDGES).count() == 5
    assert opened.page.locator("#graph path.stream:not(.hid)").count() == 0  # both lead into layer 1
    opened.assert_quiet()


REACHED = {
    # The value channel's writer is 55, fed through the stream by the write 55 <- 201 <- 90 of layer 0.
    "up": [
        "0.mlp.act_in.90",
        "0.mlp.post_act.201",
        "0.mlp.resid_delta.55",
        "1.attn.act_in.55",
        "1.attn.v.11",
    ],
    "down": ["1.attn.resid_delta.77", "1.attn.v.11"],
    "near": ["1.attn.act_in.55", "1.attn.resid_delta.77", "1.attn.v.11"],
}


@pytest.mark.parametrize("reach", REACHED)
def test_only_what_the_chosen_node_reaches(open_page, reach):
    opened = open_page(demo_document(), f"{HERE}/1.attn.v.11")
    opened.page.locator("#reach").select_option(reach)
    assert shown(opened) == REACHED[reach]
    opened.page.keyboard.press("Escape")
    opened.page.locator("#panel button", has_text="×").click()
    assert len(shown(opened)) == 13  # of no node: everything
    assert opened.page.locator("#reach-hint").is_visible()


def test_a_query_feeds_what_its_head_writes(open_page):
    opened = open_page(demo_document(), f"{HERE}/1.attn.q.15?reach=down")
    assert shown(opened) == ["1.attn.q.15", "1.attn.resid_delta.77"]
    opened.page.evaluate("location.hash = '#sparse/single_double_quote/1.attn.resid_delta.77?reach=up'")
    opened.wait_for_nodes("#graph", 13)
    opened.page.wait_for_function("() => !document.querySelector('#graph [data-node].hid')")


def test_the_address_restores_circuit_node_and_filter(open_page):
    opened = open_page(demo_document(), f"{HERE}/1.attn.v.11")
    opened.page.locator("#layers input[value='0']").uncheck()
    opened.page.locator("#reach").select_option("through")
    opened.page.locator("#strength").focus()
    for _ in range(2):
        opened.page.keyboard.press("ArrowRight")
    end = f"{HERE}/1.attn.v.11?min=0.91&layers=1&reach=through"
    opened.page.wait_for_function("end => location.hash === end", arg=end)
    opened.page.reload()
    assert opened.page.locator("#node-name").inner_text() == "1.attn.v.11"
    assert shown(opened) == ["1.attn.act_in.55", "1.attn.resid_delta.77", "1.attn.v.11"]
    assert opened.page.locator("#strength-value").inner_text() == "size at least 0.91: 2 of 9 edges"
    assert opened.page.locator("#strength").input_value() == "2"
    assert opened.page.locator("#reach").input_value() == "through"
    assert not opened.page.locator("#layers input[value='0']").is_checked()


@pytest.mark.parametrize("query", ["min=abc&layers=&reach=nowhere", "min=-1", "?&=", "min=Infinity"])
def test_an_odd_filter_in_the_address_breaks_nothing(open_page, query):
    opened = open_page(demo_document(), f"{HERE}?{query}")
    assert opened.page.locator("#graph [data-node]").count() == 13
    assert opened.page.locator(EDGES).count() == (0 if "layers=" in query else 9)
    opened.assert_quiet()


def test_another_circuit_begins_without_a_filter(open_page):
    opened = open_page(demo_document(), f"{HERE}?min=1")
    opened.page.locator("#task").select_option(label="for while")
    opened.wait_for_nodes("#graph", 22)
    assert opened.page.locator("#strength").input_value() == "0"


SEARCHES = [
    ("1.attn.q.15", "1.attn.q.15"),
    ("863", "0.mlp.post_act.863"),
    ("query", "1.attn.q.15"),
    ("=' read", "0.mlp.act_in.90"),
    ("·value", "1.attn.act_in.3"),
    ("sees a", "0.mlp.post_act.863"),
    ("either", "0.mlp.post_act.863"),
]


def test_search_finds_by_name_number_site_token_label_and_note(open_page):
    opened = open_page(labelled())
    for typed, name in SEARCHES:
        opened.page.keyboard.press("/")
        opened.page.keyboard.type(typed)
        opened.page.keyboard.press("Enter")
        assert opened.page.locator("#node-name").inner_text() == name
        assert opened.page.evaluate("document.activeElement.dataset.node") == name
    opened.page.keyboard.press("/")
    opened.page.keyboard.type("nothing of the kind")
    assert opened.page.locator("#search-list").inner_text() == "No node fits"
    opened.page.keyboard.press("Escape")
    assert not opened.page.locator("#search-list").is_visible()
    opened.assert_quiet()


def test_arrows_go_through_what_was_found_and_a_click_takes_it(open_page):
    opened = open_page(demo_document())
    opened.page.locator("#search").fill("write")
    options = opened.page.locator("#search-list [role=option]")
    names = options.locator("code").all_inner_texts()
    assert sorted(names) == ["0.mlp.resid_delta.17", "0.mlp.resid_delta.55", "1.attn.resid_delta.77"]
    assert names[0] == "1.attn.resid_delta.77"  # the largest effect
    opened.page.keyboard.press("ArrowDown")
    assert options.nth(1).get_attribute("aria-selected") == "true"
    assert opened.page.locator("#search").get_attribute("aria-activedescendant") == "found-1"
    options.nth(2).click()
    assert opened.page.locator("#node-name").inner_text() == names[2]


def test_a_question_mark_lists_the_keys_but_not_where_one_types(open_page):
    opened = open_page(demo_document())
    opened.page.keyboard.press("?")
    assert "find a node" in opened.page.locator("#help").inner_text()
    opened.page.keyboard.press("Escape")
    assert not opened.page.locator("#help").is_visible()
    opened.page.locator("#search").focus()
    opened.page.keyboard.press("?")
    assert opened.page.locator("#search").input_value() == "?"
    assert not opened.page.locator("#help").is_visible()


def test_zoom_by_button_key_and_wheel(open_page):
    opened = open_page(demo_document())
    width = "document.querySelector('#graph svg').clientWidth"
    before = opened.page.evaluate(width)
    opened.page.locator("button[aria-label='Zoom in']").click()
    assert opened.page.evaluate(width) == pytest.approx(1.25 * before, abs=2)
    opened.page.keyboard.press("-")
    assert opened.page.evaluate(width) == pytest.approx(before, abs=2)
    opened.page.locator("#graph").hover(position={"x": 300, "y": 100})
    opened.page.keyboard.down("Control")
    opened.page.mouse.wheel(0, -50)
    opened.page.keyboard.up("Control")
    opened.page.wait_for_function(f"() => {width} > 1.5 * {before}")  # e to the power of a half
    opened.page.locator("button", has_text="Fit").click()
    assert opened.page.evaluate(width) == before
    opened.assert_quiet()


def test_fit_shows_all_of_a_drawing_that_is_too_wide(open_page):
    opened = open_page(demo_document(), "#dense/for_while", width=380)
    sizes = "(({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth])"
    wide, narrow = opened.page.evaluate(f"{sizes}(document.querySelector('#graph'))")
    assert wide > narrow  # it begins easy to read
    opened.page.locator("button", has_text="Fit").click()
    wide, narrow = opened.page.evaluate(f"{sizes}(document.querySelector('#graph'))")
    assert wide == narrow
    opened.assert_quiet()


PINCH = """() => {
  const frame = document.querySelector("#graph"), box = frame.getBoundingClientRect();
  const finger = (type, pointerId, x) => frame.dispatchEvent(new PointerEvent(type,
    { pointerType: "touch", pointerId, clientX: box.left + x, clientY: box.top + 90, bubbles: true }));
  finger("pointerdown", 1, 100);
  finger("pointerdown", 2, 200);
  finger("pointermove", 2, 250);
  finger("pointerup", 1, 100);
  finger("pointermove", 2, 400);
  finger("pointerup", 2, 400);
}"""


def test_two_fingers_zoom_and_one_does_not(open_page):
    opened = open_page(demo_document(), width=380)
    width = "document.querySelector('#graph svg').clientWidth"
    before = opened.page.evaluate(width)
    opened.page.evaluate(PINCH)
    assert opened.page.evaluate(width) == pytest.approx(1.5 * before, abs=2)  # from 100 apart to 150
    opened.assert_quiet()


def test_names_stand_in_pills_and_groups_have_an_outline(open_page):
    opened = open_page(labelled())
    named = opened.page.locator('#graph [data-node="0.mlp.post_act.863"]')
    assert named.locator(".name").text_content() == "sees a <b>double q…"
    title = named.locator("title").text_content()
    assert title.splitlines()[0] == "sees a <b>double quote</b>"
    assert "0.mlp.post_act.863" in title
    assert "either kind" in title
    (group,) = opened.page.locator("#graph .group").all()
    assert group.locator("text").text_content() == "quote finder"
    box = group.locator("path").bounding_box()
    for name in ("0.mlp.act_in.41", "0.mlp.resid_delta.17"):
        inner = opened.page.locator(f'[data-node="{name}"] .body').bounding_box()
        assert box["x"] < inner["x"] < inner["x"] + inner["width"] < box["x"] + box["width"]
        assert box["y"] < inner["y"] < inner["y"] + inner["height"] < box["y"] + box["height"]
    assert opened.page.evaluate("document.querySelectorAll('#graph b').length") == 0
    opened.page.locator("#layers input[value='0']").uncheck()  # none of its nodes is left
    assert opened.page.locator("#graph .group").count() == 0
    opened.assert_quiet()


def test_a_group_takes_in_no_other_node(open_page):
    document = demo_document()
    # The query and the value have the key between them.
    group = {"name": "ends", "note": "", "nodes": ["1.attn.q.15", "1.attn.v.11"]}
    document["circuits"][0]["labels"] = {"nodes": {}, "groups": [group]}
    opened = open_page(document)
    boxes = [path.bounding_box() for path in opened.page.locator("#graph .group path:not(.tie)").all()]
    assert len(boxes) == 2
    assert opened.page.locator("#graph .group path.tie").count() == 1
    key = opened.page.locator('[data-node="1.attn.k.15"] .body').bounding_box()
    for box in boxes:
        assert box["x"] + box["width"] < key["x"] or box["x"] > key["x"] + key["width"]


def saved(opened: Any, tmp_path: Any) -> tuple[str, ElementTree.Element]:
    """The text and the tree of the drawing that the button saves."""
    with opened.page.expect_download() as download:
        opened.page.locator("#export").click()
    assert download.value.suggested_filename == "sparse-single_double_quote.svg"
    path = tmp_path / "saved.svg"
    download.value.save_as(path)
    text = path.read_text(encoding="utf-8")
    return text, ElementTree.fromstring(text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_saved_drawing_stands_alone_as_it_stood(open_page, tmp_path, scheme):
    opened = open_page(demo_document(), f"{HERE}?min=0.9", scheme=scheme)
    text, root = saved(opened, tmp_path)
    paths = [e for e in root.iter("{http://www.w3.org/2000/svg}path") if "edge" in e.get("class", "").split()]
    assert len(paths) == 7
    assert "var(" not in text
    assert {"light": "#fbfaf8", "dark": "#131519"}[scheme] in text
    opened.assert_quiet()
    # Drawn by itself: a negative edge is dashed and in its colour.
    alone = opened.page.context.new_page()
    alone.goto((tmp_path / "saved.svg").as_uri())
    style = "getComputedStyle(document.querySelector('path.edge.neg'))"
    assert alone.evaluate(f"{style}.strokeDasharray") == "7px, 4px"
    colour = {"light": "rgb(194, 84, 10)", "dark": "rgb(243, 154, 77)"}[scheme]
    assert alone.evaluate(f"{style}.stroke") == colour


def test_the_tools_fit_a_phone(open_page):
    opened = open_page(labelled(), f"{HERE}?min=0.9", width=380)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 380
    for tool in ("#search", "#strength", "#reach", "#export", "#layers"):
        box = opened.page.locator(tool).bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= 380
