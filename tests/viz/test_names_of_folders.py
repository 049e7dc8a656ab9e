"""Names that are no Unicode text, as a folder's bytes may give, on the page."""

from __future__ import annotations

from tests.viz.fixture import demo_document, quote_circuit
from tests.viz.shown import assert_shown

WRITER = "1.attn.v.11"


def test_half_a_character_in_an_id_and_the_page_still_answers(open_page):
    """As the name of a run's folder gives, whose bytes are no UTF-8; no address can hold it."""
    names = ["a\udcff", "b\ud800"]
    shown = {**quote_circuit(), "samples": []}
    del shown["attention"]
    circuits = [{**shown, "model": name, "id": f"{name}/quotes"} for name in names]
    document = {**demo_document(), "circuits": circuits}
    document["models"] = {name: {**document["models"]["sparse"], "label": name} for name in names}
    opened = open_page(document)
    assert_shown(opened.page, "#chooser .segments a", names)
    opened.page.locator("#chooser .segments a").nth(1).click()
    opened.page.wait_for_function("document.querySelectorAll('.segments a')[1].ariaCurrent === 'true'")
    opened.page.locator(f'[data-node="{WRITER}"]').click()
    assert opened.page.url.endswith(f"#b%EF%BF%BD/quotes/{WRITER}")
    opened.assert_quiet()
