"""The page as text: what is embedded, how it is escaped, what the policy names."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import resources

import pytest

from sparsecircuits.viz import PageError, render_page, write_page
from sparsecircuits.viz.page import embed_json
from tests.viz.fixture import HOSTILE, demo_document, hostile_document

EMBEDDED = re.compile(r'<script type="application/json" id="document">(.*?)</script>', re.DOTALL)


def test_embedded_document_is_the_one_given_with_layouts():
    data = demo_document()
    (text,) = EMBEDDED.findall(render_page(data))
    embedded = json.loads(text)
    for circuit in embedded["circuits"]:
        assert len(circuit.pop("layout")["nodes"]) == len(circuit["nodes"])
    assert embedded == data
    assert "layout" not in data["circuits"][0]  # the input is left alone


@pytest.mark.parametrize("text", HOSTILE)
def test_embedded_json_holds_nothing_that_html_or_javascript_reads(text):
    embedded = embed_json([text])
    assert json.loads(embedded) == [text]
    assert embedded.isascii()
    assert not set(embedded) & set("<>&")


def test_policy_names_the_hashes_of_style_and_script():
    page = render_page(demo_document())
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; ")
    for kind, pattern in (("style", r"<style>(.*?)</style>"), ("script", r"<script>(.*?)</script>")):
        (body,) = re.findall(pattern, page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_page_names_no_address_outside():
    page = render_page(demo_document())
    namespace = "http://www.w3.org/2000/svg"  # a name, never fetched
    assert set(re.findall(r"https?://[^\"'\s]+", page)) == {namespace}
    for writer in ("innerHTML", "insertAdjacentHTML", "document.write"):
        assert writer not in page


def test_hostile_title_stays_in_the_title():
    page = render_page(hostile_document())
    assert "<title>&lt;/script&gt;" in page
    assert page.count("<script") == 2  # the document and ours


def test_same_document_same_page_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "page.html"
    write_page(demo_document(), path)
    assert path.read_text(encoding="utf-8") == render_page(demo_document())


def test_what_does_not_fit_is_not_written(tmp_path):
    data = demo_document()
    data["circuits"][0]["edges"][0]["weight"] = float("nan")
    with pytest.raises(PageError, match=r"circuits\[0\]\.edges\[0\]\.weight is nan; it must be finite"):
        write_page(data, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_no_two_parts_of_the_script_declare_one_name():
    # They are joined into one function, where a name declared twice stops everything.
    assets = resources.files("sparsecircuits.viz").joinpath("assets")
    names = [
        name
        for part in assets.iterdir()
        if part.name.endswith(".js") and part.name != "widget.js"  # it stands in page.js's place
        for name in re.findall(r"^(?:const|let|class|function) (\w+)", part.read_text("utf-8"), re.MULTILINE)
    ]
    assert len(names) > 50
    assert sorted(names) == sorted(set(names))
