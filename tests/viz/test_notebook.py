"""The page in a notebook's cell: its frame holds the page, lets nothing out, and its links stay inside."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.examples import example_folder
from sparsecircuits.train import load_run
from sparsecircuits.viz import PageView, render_page, show
from tests.viz.fixture import demo_document
from tests.viz.payloads import Watched

TASK = "set_or_string_fixedvarname"


def notebook(*cells: str) -> str:
    """A page around some cells, in no particular encoding."""
    return f"<!doctype html><title>notebook</title><body><h1>cells</h1>{''.join(cells)}</body>"


def test_the_frame_holds_the_page_to_the_letter():
    page = render_page({**demo_document(), "title": "Ünïcode \u2028 \"'<&>"})
    told = PageView(page, height=500, width="80%")._repr_html_()
    assert told.isascii()
    (inside,) = re.findall(r'srcdoc="([^"]*)"', told)
    assert html.unescape(inside) == page
    assert 'sandbox="allow-scripts allow-downloads"' in told
    assert "width:80%;height:500px" in told


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ({"height": 0}, "height is 0"),
        ({"height": "600px"}, "height is '600px'"),
        ({"height": True}, "height is True"),
        ({"width": "wide"}, "width is 'wide'"),
        ({"width": '1px" onload="alert(1)'}, "width is"),
        ({"width": 900}, "width is 900"),
    ],
)
def test_sizes_that_are_none(size: dict[str, Any], why: str):
    with pytest.raises(ConfigError, match=why):
        PageView("", **size)


def test_the_page_works_in_the_cell_and_stays_there(chromium: Any, tmp_path: Path):
    view = PageView(render_page(demo_document()))
    path = tmp_path / "notebook.html"
    path.write_text(notebook(view._repr_html_()), encoding="latin-1")  # not what the page is written in
    page = chromium.new_page()
    seen = Watched.over(page)
    page.goto(path.as_uri())
    (frame,) = page.main_frame.child_frames
    frame.locator('[data-node="1.attn.v.11"]').click()
    assert frame.locator("#node-name").inner_text() == "1.attn.v.11"
    frame.locator(".tasks a", has_text="75 / 669").click()
    frame.locator("#graph svg.compact").wait_for()
    assert frame.locator("[data-node]").count() == 75
    frame.locator("#task").select_option(label="for while")
    frame.wait_for_function("document.querySelectorAll('[data-node]').length === 110")
    assert page.url == path.as_uri()
    assert frame.url.startswith("about:srcdoc")
    # It can reach neither the notebook nor what is stored for it, nor anything else.
    for reach in ("parent.document.title", "localStorage.length"):
        with pytest.raises(Exception, match="SecurityError|cross-origin|sandboxed"):
            frame.evaluate(reach)
    assert seen.complaints == []
    told = frame.evaluate("fetch('http://foreign.invalid/').then(() => 'came', (error) => error.name)")
    assert told == "TypeError"
    assert "Content Security Policy" in " ".join(seen.complaints)
    assert [url for url in seen.requests if "foreign" in url] == []
    page.close()


def test_show_is_the_page_of_a_runs_circuits(tmp_path: Path):
    run = load_run(example_folder())
    view = show(run, TASK, height=400, title="In a notebook", effect_pairs=0)
    assert "<title>In a notebook</title>" in view.page
    assert f'/{TASK}"' in view.page
    assert view.height == 400
    view.save(tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8") == view.page
    with pytest.raises(CheckpointError, match=r"no circuit 'set_or_string_fixedvarnam'; did you mean"):
        show(run, "set_or_string_fixedvarnam")
    with pytest.raises(ConfigError, match="width is 'wide'"):
        show(run, TASK, width="wide")


def test_show_says_when_there_are_no_circuits(tmp_path: Path):
    shutil.copytree(example_folder(), tmp_path / "run", ignore=shutil.ignore_patterns("circuits"))
    with pytest.raises(CheckpointError, match="no circuits yet"):
        show(load_run(tmp_path / "run"))


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ("runs/mine", r"^run is 'runs/mine', str; expected a Run; load_run\('runs/mine'\) opens one$"),
        (3, "^run is 3, int; expected a Run$"),
    ],
)
def test_show_wants_a_run_and_not_its_name(run: Any, why: str):
    with pytest.raises(ConfigError, match=why):
        show(run)
