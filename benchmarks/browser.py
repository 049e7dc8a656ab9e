"""The system's Chromium, headless and without a GPU, for what is measured in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A running browser.

    Raises:
        FileNotFoundError: there is none.
    """
    executable = next((found for name in NAMES if (found := shutil.which(name))), None)
    if executable is None:
        raise FileNotFoundError(f"no Chromium found (looked for {', '.join(NAMES)})")
    with sync_playwright() as playwright:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()
