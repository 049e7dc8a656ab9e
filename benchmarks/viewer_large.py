"""Measure the page with large circuits: how soon it is open, how fast the slider answers, how big it is.

Each time is a median of several, of the page opened from disk in headless Chromium without a GPU. A page is
open when every edge is painted. The slider's time is the browser's own, from the key press to the next
painted frame (Event Timing, in steps of 8 ms; below 16 ms it reports nothing, and 16 is counted)::

    python benchmarks/viewer_large.py
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Browser, Page

from benchmarks.browser import open_browser
from benchmarks.report import figure, goals
from sparsecircuits.viz import write_page
from sparsecircuits.viz.layout import lay_out
from tests.viz.fixture import demo_document
from tests.viz.large import full_document, large_circuit

_PAINTED = """() => new Promise((resolve) => {
  const look = () => {
    if (document.querySelector(".stage")?.getAttribute("aria-busy") === "false") resolve(performance.now());
    else requestAnimationFrame(look);
  };
  look();
})"""
_WATCH = """() => {
  window.slow = [];
  const note = (list) => window.slow.push(...list.getEntries().map((event) => event.duration));
  new PerformanceObserver(note).observe({ type: "event", durationThreshold: 16 });
}"""
_KEYS = ("ArrowRight", "PageUp", "End", "ArrowLeft", "PageDown", "Home", "PageUp", "ArrowLeft", "Home")


def large_rows(repeats: int = 5) -> list[dict[str, Any]]:
    """The figures of the result file: 2,000 nodes with all that a page can hold, then 20,000 nodes."""
    full, huge = full_document(), large_circuit(20_000, 100_000)
    pages = (
        (full, 3.0, 100.0, 5.0),
        ({**demo_document(), "summary": None, "circuits": [huge]}, None, None, None),
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        for document, soon, quick, size in pages:
            (circuit,) = document["circuits"]
            what = f"{len(circuit['nodes']):,} nodes, {len(circuit['edges']):,} edges"
            start = time.perf_counter()
            lay_out(circuit)
            laid_out = time.perf_counter() - start
            path = Path(folder) / f"{len(rows)}.html"
            write_page(document, path)
            slider = slider_times(browser, path, repeats)
            rows += [
                figure(f"{what}: seconds until open", opening_time(browser, path, repeats), soon, "min"),
                figure(f"{what}: slider, ms, median", statistics.median(slider), quick, "min"),
                figure(f"{what}: slider, ms, slowest of {len(slider)}", max(slider), None, "min"),
                figure(f"{what}: file, MB", path.stat().st_size / 1e6, size, "min"),
                figure(f"{what}: layout, seconds", laid_out, 30.0, "min"),
            ]
    return rows


def opening_time(browser: Browser, path: Path, repeats: int) -> float:
    """Median seconds from asking for the page until all of it is painted."""
    times = []
    for _ in range(repeats):
        page = _opened(browser, path)
        times.append(page.evaluate(_PAINTED) / 1000)
        page.context.close()
    return statistics.median(times)


def slider_times(browser: Browser, path: Path, repeats: int, keys: Sequence[str] = _KEYS) -> list[float]:
    """Milliseconds from each press of a key on the slider to the next painted frame."""
    page = _opened(browser, path)
    page.evaluate(_PAINTED)
    page.locator("#strength").focus()
    page.evaluate(_WATCH)
    times = []
    for key in list(keys) * repeats:
        page.evaluate("() => { window.slow = []; }")
        page.keyboard.press(key)
        page.wait_for_timeout(350)  # the browser reports an event some time after it
        times.append(max([16.0, *(duration for duration in page.evaluate("window.slow"))]))
    page.context.close()
    return times


def _opened(browser: Browser, path: Path) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(path.as_uri())
    return page


if __name__ == "__main__":
    print(goals(large_rows()))
