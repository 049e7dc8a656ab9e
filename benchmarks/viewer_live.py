"""How fast the live viewer answers: the server alone, and from a click to the painted odds.

``live_rows(run, circuit)`` starts the server of a run, asks the same prompt with a change that differs each
time, and measures medians of 30: of a question, sent and answered; and in Chromium, from the click (on
*Ablate*, on a slider) to the frame in which the odds stand.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.browser import open_browser

REPEATS = 30
# From an event to the frame after the odds were drawn anew. The clock is that of the page.
_TIMED = """async (change) => {
    const odds = document.querySelector("#live-odds");
    const begun = performance.now();
    const drawn = new Promise((done) => new MutationObserver(done).observe(odds, { childList: true }));
    const slider = document.querySelector("#live-scale");
    if (change === "ablate") document.querySelector("#live-ablate").click();
    else { slider.value = change; slider.dispatchEvent(new Event("input")); }
    await drawn;
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - begun;
}"""


def live_rows(run: str, circuit: str, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """One row for each thing that is measured: its name, and milliseconds, median and worst."""
    command = [sys.executable, "-m", "sparsecircuits", "view", run, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            return _measured(process.stdout.readline().strip(), circuit, repeats)
        finally:
            process.terminate()


def _measured(address: str, circuit: str, repeats: int) -> list[dict[str, Any]]:
    with open_browser() as browser:
        page = browser.new_page()
        page.goto(address)
        key = page.locator(f'a[href$="/{circuit}"]').first.get_attribute("href") or ""
        page.goto(address.rstrip("/") + key)
        page.wait_for_selector("#graph [data-node]", timeout=600_000)
        page.wait_for_selector(".odds-of")
        node = page.locator("#panel .node-link").first.inner_text()
        page.locator(f'[data-node="{node}"]').click()
        page.wait_for_selector("#live-ablate")
        token = page.locator("meta[name=session]").get_attribute("content") or ""
        prompt = page.locator("#live-text").input_value()
        asked = {"run": key.split("/")[2], "circuit": circuit, "text": prompt}
        changes = [{"node": node, "kind": "scale", "value": 0.01 * i} for i in range(repeats)]
        rows = [
            _row("question answered", [_answered(address, token, {**asked, "changes": [c]}) for c in changes])
        ]
        ablations = []
        for _ in range(repeats):
            ablations.append(page.evaluate(_TIMED, "ablate"))
            page.evaluate(_TIMED, 1)
        rows.append(_row("ablate, click to painted", ablations))
        rows.append(
            _row("slider, input to painted", [page.evaluate(_TIMED, 0.01 * i) for i in range(repeats)])
        )
    return rows


def _answered(address: str, token: str, asked: dict[str, Any]) -> float:
    headers = {
        "x-sparsecircuits-token": token,
        "content-type": "application/json",
        "origin": address.rstrip("/"),
    }
    request = urllib.request.Request(f"{address}api/ask", json.dumps(asked).encode(), headers)
    begun = time.perf_counter()
    with urllib.request.urlopen(request) as answer:
        answer.read()
    return 1000 * (time.perf_counter() - begun)


def _row(name: str, milliseconds: list[float]) -> dict[str, Any]:
    median, worst = statistics.median(milliseconds), max(milliseconds)
    return {
        "name": name,
        "median_ms": round(median, 1),
        "worst_ms": round(worst, 1),
        "repeats": len(milliseconds),
    }


if __name__ == "__main__":
    print(json.dumps(live_rows(sys.argv[1], sys.argv[2]), indent=2))
