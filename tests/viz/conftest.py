"""Headless Chromium for the tests of the page; without one they are skipped, saying so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.viz import write_page

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running browser, shared by the session."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"no Chromium found (looked for {', '.join(_NAMES)})")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_ARGS)
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page on screen, with everything that it asked for or complained of."""

    page: Any
    url: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def assert_quiet(self) -> None:
        """Nothing was requested but the file itself, and nothing went wrong."""
        assert {request.partition("#")[0] for request in self.requests} == {self.url}
        assert self.complaints == []

    def wait_for_nodes(self, where: str, count: int) -> None:
        """Wait until so many nodes are drawn inside ``where``: a page follows its address some time later.

        Raises:
            playwright.sync_api.TimeoutError: it has not after half a minute.
        """
        self.page.wait_for_function(
            "([where, count]) => document.querySelectorAll(`${where} [data-node]`).length === count",
            arg=[where, count],
        )


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    """A function that writes a document (or text of HTML) as a page and opens it from disk."""
    contexts = []

    def open_it(
        document: dict[str, Any] | str, fragment: str = "", width: int = 1280, scheme: str = "light"
    ) -> Opened:
        path = tmp_path / "page.html"
        if isinstance(document, str):
            path.write_text(document, encoding="utf-8")
        else:
            write_page(document, path)
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        opened = Opened(context.new_page(), path.as_uri())
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("console", lambda message: opened.complaints.append(f"console: {message.text}"))
        opened.page.on("pageerror", lambda error: opened.complaints.append(f"error: {error}"))
        opened.page.on("dialog", lambda dialog: (opened.complaints.append("dialog"), dialog.dismiss()))
        opened.page.goto(opened.url + fragment)
        return opened

    yield open_it
    for context in contexts:
        context.close()
