"""What the page says of nodes, heads and models, in headless Chromium."""

from __future__ import annotations

import copy

import pytest

from tests.viz.fixture import HOSTILE, demo_document, hostile_document

NODE = "#sparse/single_double_quote/1.attn.v.11"
READ = "#sparse/single_double_quote/0.mlp.act_in.41"


def numbers(text: str) -> str:
    return " ".join(text.split())


def test_the_panel_tells_edges_values_and_tokens(open_page):
    opened = open_page(demo_document(), READ)
    panel = numbers(opened.page.locator("#panel").inner_text())
    for text in (
        "1 of 9 nonzero in the model: in 0 of 2, out 1 of 7",
        "25% of tokens not zero",
        "Tokens of the prompts that write it",
        "Tokens of the vocabulary that write it",
        "·'a",
        "What positions write into it",
    ):
        assert text in panel
    bars = opened.page.locator("#panel .histogram rect")
    assert bars.locator("title").all_text_contents() == [
        "−0.75 to 0.333: 3 tokens", "0.333 to 1.42: 0 tokens", "1.42 to 2.5: 5 tokens",
    ]  # fmt: skip
    heights = bars.evaluate_all("all => all.map(bar => Number(bar.getAttribute('height')))")
    assert heights == pytest.approx([44 * 3 / 5, 0, 44])
    opened.assert_quiet()


def test_snippets_of_text_are_shown_with_the_drawn_token_outlined(open_page):
    opened = open_page(demo_document(), NODE)
    section = opened.page.locator("#text")
    assert "32,768 tokens" in section.inner_text()
    snippets = section.locator(".snippets li")
    assert snippets.count() == 3
    assert section.locator(".tok.here").all_text_contents() == ['("', "x", "x"]
    assert snippets.nth(0).locator(".n").inner_text() == "2.5"
    assert snippets.nth(1).locator(".n").inner_text() == "−0.75"
    # x, (", x of the first window; above its mean in blue and solid, below in orange and dashed.
    first = snippets.nth(0).locator(".tok")
    assert first.all_text_contents() == ["·=", '("', "x"]
    assert "pos" in first.nth(1).get_attribute("class")
    assert "neg" in snippets.nth(1).locator(".tok.here").get_attribute("class")
    assert first.nth(1).get_attribute("title") == '"(\\"": 2.5'


def test_without_text_the_page_says_why(open_page):
    document = demo_document()
    circuit = document["circuits"][0]
    del circuit["text"]
    for node in circuit["nodes"]:
        del node["text"]
    circuit["left_out"] = ["pretraining text: the run came without its corpus"]
    opened = open_page(document, NODE)
    assert "the run came without its corpus" in opened.page.locator("#text").inner_text()
    assert "Pretraining text: the run came without its corpus." in opened.page.locator("#facts").inner_text()
    opened.assert_quiet()


def test_layers_and_sites_lead_to_their_nodes(open_page):
    opened = open_page(demo_document())
    table = opened.page.locator(".ablations")
    table.locator("summary").click()
    rows = [numbers(row) for row in table.locator("tbody tr").all_inner_texts()]
    assert rows[0].startswith("layer 0 6 +0.700")
    assert rows[1].startswith("MLP read 2 +0.650")
    assert rows[2].startswith("value channel 1 −0.020")
    table.locator(".node-link", has_text="0.mlp.act_in.90").click()
    assert opened.page.locator("#node-name").inner_text() == "0.mlp.act_in.90"
    opened.assert_quiet()


def test_effects_that_are_estimated_are_called_so(open_page):
    document = demo_document()
    document["circuits"][0]["effects"]["estimated"] = True
    opened = open_page(document)
    assert "estimated to first order" in opened.page.locator("#panel").inner_text()


def test_attention_is_read_by_pointer_and_by_keys(open_page):
    opened = open_page(demo_document())
    section = opened.page.locator("#attention")
    assert section.locator("svg.attention-grid").count() == 4  # two sides, in the circuit and in the model
    # The strongest head first; the last token gives half to the sink, half to itself in the circuit.
    assert opened.page.locator("#attention-head").input_value() == "layer 1, head 0 (keeps q, k, v)"
    assert "last token → sink 50%, stone 50%" in numbers(section.locator("figcaption").first.inner_text())
    grid = section.locator("svg.attention-grid").first
    grid.focus()
    readout = section.locator(".readout")
    assert "token 17 stone gives the sink: in the circuit 50.0%, in the whole model 50.0%" in numbers(
        readout.inner_text()
    )
    for _ in range(20):  # stops at the rim
        opened.page.keyboard.press("ArrowRight")
    assert "gives token 17 stone: in the circuit 50.0%, in the whole model 0.0%" in numbers(
        readout.inner_text()
    )
    opened.page.keyboard.press("ArrowUp")
    assert "token 16 · gives token 16 ·: in the circuit 50.0%" in numbers(readout.inner_text())
    box = grid.bounding_box()
    assert box is not None
    opened.page.mouse.move(box["x"] + 96 + 13 * 1.5, box["y"] + 74 + 13 * 0.5)
    assert "token 1 <|endoftext|> gives token 1 <|endoftext|>: in the circuit 50.0%" in numbers(
        readout.inner_text()
    )
    opened.assert_quiet()


def test_a_chosen_channel_brings_its_head_and_another_pair_can_be_chosen(open_page):
    document = demo_document()
    circuit = document["circuits"][0]
    first, second = circuit["attention"]
    circuit["attention"] = [{**second, "nodes": ["1.attn.q.15"]}, {**first, "nodes": ["1.attn.v.11"]}]
    opened = open_page(document, NODE)
    assert opened.page.locator("#attention-head").input_value() == "layer 1, head 0 (keeps v)"
    opened.page.locator("#attention-pair").select_option(label="2")
    assert opened.page.locator("#attention svg.attention-grid").count() == 4
    opened.page.locator('[data-node="1.attn.q.15"]').click()
    assert opened.page.locator("#attention-head").input_value() == "layer 1, head 3 (keeps q)"
    assert opened.page.locator("#attention-pair").count() == 0
    opened.assert_quiet()


def test_curves_have_axes_a_readout_and_a_table(open_page):
    opened = open_page(demo_document())
    section = opened.page.locator("#curves")
    assert section.locator("h4").all_inner_texts() == [
        "Pruning: nodes that the masks keep",
        "Pruning: task loss while masks learn",
        "Size against loss",
        "Training: loss",
        "Training: density of the weight matrices",
    ]
    training = section.locator("figure").nth(3)
    assert training.locator(".readout").inner_text() == (
        "1.1M tokens: training 2.25, validation 3.00, at the end, on more text 2.21"
    )
    assert "training tokens" in training.locator(".axis-label").all_text_contents()
    training.locator("svg.chart").focus()
    opened.page.keyboard.press("ArrowLeft")
    assert training.locator(".readout").inner_text() == (
        "500k tokens: training 3.10, validation 3.00, at the end, on more text –"
    )
    assert "training from 6.90 at 1,024 to 2.25" in training.locator("svg.chart").get_attribute("aria-label")
    training.locator("summary").click()
    training.locator("tbody tr").first.wait_for()
    rows = [numbers(row) for row in training.locator("tbody tr").all_inner_texts()]
    assert rows == ["1,024 6.90 – –", "500k 3.10 3.00 –", "1.1M 2.25 3.00 2.21"]
    assert training.locator("circle.mark-2").count() == 2  # in the picture and beside its name
    assert "1 of 2 targets were missed" in section.locator("figure").nth(2).inner_text()
    opened.assert_quiet()


def test_a_circuit_without_any_of_it_still_shows(open_page):
    """As of an older document: everything new is optional."""
    document = copy.deepcopy(demo_document())
    circuit = document["circuits"][0]
    for key in ("effects", "ablations", "attention", "text", "pruning", "sweep", "left_out"):
        del circuit[key]
    for node in circuit["nodes"]:
        for key in ("edges_in", "edges_out", "text", "vocabulary_in", "positions_in"):
            node.pop(key, None)
    del document["models"]["sparse"]["training"]
    opened = open_page(document, NODE)
    assert "2 of 5 nonzero in the model" in numbers(opened.page.locator("#panel").inner_text())
    assert "prune RUN single_double_quote --sweep" in opened.page.locator("#curves").inner_text()
    assert opened.page.locator("#attention").inner_text() == ""
    opened.assert_quiet()


def test_hostile_tokens_are_text_here_too(open_page):
    opened = open_page(hostile_document(), READ)
    opened.page.locator("#attention svg.attention-grid").first.focus()
    vocabulary = opened.page.locator("#panel .tok").evaluate_all("all => all.map(e => e.textContent)")
    assert set(HOSTILE) - set(vocabulary) <= {"\ud800"}
    assert HOSTILE[0] in opened.page.locator("#text .tok").first.evaluate("e => e.parentNode.textContent")
    assert opened.page.evaluate("window.broken") is None
    assert opened.page.locator("img").count() == 0
    opened.assert_quiet()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(open_page, scheme):
    opened = open_page(demo_document(), NODE, width=380, scheme=scheme)
    opened.page.locator(".ablations summary").click()
    for fold in opened.page.locator("#curves summary").all():
        fold.click()
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 380
