"""Measure the viewer and take its pictures; write ``docs/results/viewer.json`` and the tables of the docs.

Large drawings, the live server's answers, the attacks of the tests, what the three circuits of
``docs/circuits.md`` say of prompts of our own, and pictures of pages and prompts in ``docs/images``. A few
minutes on two cores; needs the system's Chromium::

    python benchmarks/viewer.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from playwright.sync_api import Browser, Page

from benchmarks.browser import open_browser
from benchmarks.report import figure, fill, goals, markdown, save, short, source
from benchmarks.viewer_large import large_rows
from benchmarks.viewer_live import live_rows
from sparsecircuits import load_circuit, load_run
from sparsecircuits.examples import example_folder
from tests.viz.payloads import PAYLOADS
from tests.viz.server.test_hosts import HOSTS
from tests.viz.server.test_paths import FORMS

SCRIPT = "benchmarks/viewer.py"
RESULT = Path("docs/results/viewer.json")
PAGES = {"viewer": Path("docs/viewer.md"), "circuits": Path("docs/circuits.md")}
IMAGES = Path("docs/images")
RUN = "example-small"


class Attack(NamedTuple):
    """Tests that attack: what it is, how many ways, which tests they are."""

    name: str
    count: int
    tests: tuple[str, ...]


_SERVER = "tests/viz/server"
ATTACKS = (
    Attack("addresses to listen at", 3, (f"{_SERVER}/test_bind.py",)),
    Attack("Host headers", len(HOSTS), (f"{_SERVER}/test_hosts.py",)),
    Attack(
        "hostile texts, in 7 slots each",
        7 * len(PAYLOADS),
        ("tests/viz/test_escaping.py", "tests/viz/test_hostile_cells.py"),
    ),
    Attack("paths", len(FORMS), (f"{_SERVER}/test_paths.py",)),
    Attack("methods, bodies, headers, slow and many clients", 8, (f"{_SERVER}/test_load.py",)),
    Attack(
        "exported files: offline, hostile card, 20,000 nodes",
        3,
        ("tests/viz/test_escaping.py", "tests/viz/test_large.py", "tests/viz/test_names_of_folders.py"),
    ),
)


class Probe(NamedTuple):
    """A prompt of our own: of which task, and its two answers."""

    task: str
    prompt: str
    answer: str
    other: str


_ADD, _PLUS, _TWO, _ONE, _DOUBLE, _SINGLE = ".add", " +=", "]]\n", "]\n", '")\n', "')\n"
_LOOP = "\nfor v in point.group:\n    total"
PROBES = (
    Probe("single_double_quote", 'color = move("group score', _DOUBLE, _SINGLE),
    Probe("single_double_quote", "color = move('group score", _SINGLE, _DOUBLE),
    Probe("single_double_quote", "test('group')\ncolor = move(\"group score", _DOUBLE, _SINGLE),
    Probe("single_double_quote", 'test("group")\ncolor = move(\'group score', _SINGLE, _DOUBLE),
    Probe("bracket_counting", "draw(color, price)\nimage = [event, point, value", _ONE, _TWO),
    Probe("bracket_counting", "draw(color, price)\nimage = [[event, point, value", _TWO, _ONE),
    Probe("bracket_counting", "image = [event]\ncolor = [[event, point, value", _TWO, _ONE),
    Probe("bracket_counting", "image = [[event, point]]\ncolor = [event, point, value", _ONE, _TWO),
    Probe("bracket_counting", "draw(color, price)\nimage = [[event, point], [value", _TWO, _ONE),
    Probe("set_or_string", f"score = draw()\ntotal = set(){_LOOP}", _ADD, _PLUS),
    Probe("set_or_string", f'score = draw()\ntotal = ""{_LOOP}', _PLUS, _ADD),
    Probe("set_or_string", f'value = set()\ntotal = ""{_LOOP}', _PLUS, _ADD),
    Probe("set_or_string", f'total = ""\nvalue = set(){_LOOP}', _PLUS, _ADD),
    Probe("set_or_string", f'total = set()\nvalue = ""{_LOOP}', _ADD, _PLUS),
)


def main() -> None:
    """Measure, and write."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    rows = [*large_rows(), *_live(), *map(_attacked, ATTACKS)]
    with open_browser() as browser:
        _pictures(browser)
    probes = [_probe(probe) for probe in PROBES]
    result = save(RESULT, f"python {SCRIPT}", rows, probes=probes)
    blocks = {
        "viewer": "\n\n".join([source(result), goals(rows), short(result)]),
        "circuits": "\n\n".join([source(result), _probe_table(probes)]),
    }
    for name, path in PAGES.items():
        path.write_text(fill(path.read_text(encoding="utf-8"), SCRIPT, blocks[name]), encoding="utf-8")
    print(short(result), RESULT, *PAGES.values(), sep="\n")


def _live() -> list[dict[str, Any]]:
    rows = []
    for row in live_rows("example", "single_double_quote"):
        goal = 100 if "painted" in row["name"] else None
        rows.append(figure(f"live, demo model: {row['name']}, ms, median", row["median_ms"], goal, "min"))
        rows.append(figure(f"live, demo model: {row['name']}, ms, worst", row["worst_ms"], None, "min"))
    return rows


def _attacked(attack: Attack) -> dict[str, Any]:
    """Run the tests of an attack; what failed got through.

    Raises:
        RuntimeError: none of them ran, or some were skipped, so that nothing is known.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", f"--junitxml={report}", *attack.tests]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    ran, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    if not ran or skipped:
        raise RuntimeError(f"{attack.name}: {ran} tests, {skipped} skipped")
    through = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    return figure(f"attacks, {attack.count} {attack.name}: tests that let one through", through, 0, "min")


@torch.no_grad()
def _probe(probe: Probe) -> dict[str, Any]:
    """Probability of the answer against the other one, in the circuit and in the model."""
    run = load_run(example_folder(RUN))
    model, tokenizer, circuit = run.model(), run.tokenizer(), load_circuit(run.circuits / probe.task)
    tokens = torch.tensor([[tokenizer.eot_id, *tokenizer.encode(probe.prompt)]])
    (answer,), (other,) = tokenizer.encode(probe.answer), tokenizer.encode(probe.other)

    def share(logits: torch.Tensor, scale: float) -> float:
        return float(torch.sigmoid(scale * (logits[answer] - logits[other])))

    with circuit.installed(model):
        alone = model(tokens)[0, -1]
    scale = circuit.info["full_scale"]
    return {
        **probe._asdict(),
        "circuit": share(alone, circuit.scale),
        "model": share(model(tokens)[0, -1], scale),
    }


def _probe_table(probes: list[dict[str, Any]]) -> str:
    lines = [["prompt", "right answer", "circuit says it", "model says it"]]
    for probe in probes:
        shown = " ⏎ ".join(f"`{line.strip()}`" for line in probe["prompt"].split("\n"))
        odds = [f"{probe[key]:.1%}" for key in ("circuit", "model")]
        wrong = [
            text if probe[key] > 0.5 else f"**{text}**"
            for text, key in zip(odds, ("circuit", "model"), strict=True)
        ]
        lines.append([shown, f"`{probe['answer'].strip()}`", *wrong])
    return markdown(lines)


def _pictures(browser: Browser) -> None:
    """The page, the live server and one drawing of each circuit."""
    for probe in (PROBES[0], PROBES[5], PROBES[9]):
        words = (RUN, probe.task, "--prompt", probe.prompt, "--drawing", IMAGES / f"path_{probe.task}.png")
        _sparsecircuits("view", *words)
    with tempfile.TemporaryDirectory() as folder:
        page_file = Path(folder) / "page.html"
        _sparsecircuits("view", RUN, "--export", page_file)
        address = f"{page_file.as_uri()}#{RUN}/bracket_counting/0.attn.v.105"
        _shot(browser, address, "viewer_page", 1280, 1000)
        _shot(browser, address, "viewer_page_dark", 1280, 1000, scheme="dark")
        _shot(browser, address, "viewer_page_phone", 380, 800)
    command = [sys.executable, "-m", "sparsecircuits", "view", RUN, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip().rstrip("/")
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.goto(address)
            key = page.locator('a[href$="/bracket_counting"]').first.get_attribute("href")
            page.goto(f"{address}{key}")
            _ablate(page, "0.attn.v.105")
            page.locator("#live").screenshot(path=IMAGES / "viewer_live.png")
            page.close()
        finally:
            server.terminate()


def _ablate(page: Page, node: str) -> None:
    page.wait_for_selector("#graph [data-node]", timeout=600_000)
    page.wait_for_selector(".odds-of")
    page.locator(f'[data-node="{node}"]').click()
    page.locator("#live-ablate").click()
    page.wait_for_timeout(1000)


def _shot(browser: Browser, address: str, name: str, width: int, height: int, scheme: str = "light") -> None:
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(address)
    page.wait_for_selector("#node-name")
    page.locator("#explorer").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('#explorer').scrollIntoView()")
    page.screenshot(path=IMAGES / f"{name}.png")
    page.close()


def _sparsecircuits(*words: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "sparsecircuits", *map(str, words)], check=True, stdout=subprocess.DEVNULL
    )


if __name__ == "__main__":
    main()
