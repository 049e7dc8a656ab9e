"""``sparsecircuits check``: cards of the bundled circuits, printed, saved, loaded, shown on the page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sparsecircuits.circuit import load_circuit, save_circuit
from sparsecircuits.examples import example_folder
from tests.cli.conftest import Call

TASK = "set_or_string_fixedvarname"
QUICK = ["T1", "T2", "T3", "T4", "T10", "T11", "T24"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the bundled run with one circuit, without its corpus."""
    folder = tmp_path / "mine"
    shutil.copytree(example_folder("example"), folder)
    for circuit in (folder / "circuits").iterdir():
        if circuit.is_dir() and circuit.name != TASK:
            shutil.rmtree(circuit)
    return folder


def test_a_quick_card_is_saved_and_shown_again(call: Call, run: Path) -> None:
    found = call("check", run, "--level", "quick", "--json")
    assert found.code == 0
    (card,) = found.json["cards"]
    assert [test["test"] for test in card["tests"]] == QUICK
    assert (card["task"], card["level"], card["about"]["nodes"]) == (TASK, "quick", 12)
    assert [verdict["name"] for verdict in card["verdicts"]][:2] == ["Sufficient", "Robust"]
    path = run / "circuits" / TASK / "card.json"
    assert json.loads(path.read_text()) == card
    page = (run / "circuits" / "index.html").read_text()
    assert "held-out templates" in page
    written = path.stat().st_mtime_ns
    shown = call("check", run, TASK, "--level", "quick")
    assert path.stat().st_mtime_ns == written  # loaded, not made again
    assert "T24" in shown.out
    assert "Robust:" in shown.out
    assert "page:" in shown.out


def test_a_card_of_another_circuit_is_made_anew(call: Call, run: Path) -> None:
    path = run / "circuits" / TASK / "card.json"
    first = call("check", run, TASK, "--only", "T1", "T3", "--out", run / "cards", "--json").json["cards"][0]
    assert [test["test"] for test in first["tests"]] == ["T1", "T3"]
    assert not path.exists()  # single tests are no card
    circuit = load_circuit(run / "circuits" / TASK)
    lame = circuit.without([node for node in circuit.nodes if node.site == "attn.v"])
    save_circuit(lame, run / "circuits" / TASK)
    again = call("check", run, TASK, "--only", "T1", "T3", "--out", run / "cards", "--json")
    (second,) = again.json["cards"]
    assert second["circuit_sha256"] != first["circuit_sha256"]
    assert second["about"]["nodes"] == len(lame) < 12
    assert again.code == 1  # without values it does not do the task
    assert second["tests"][0]["word"] == "FAIL"


def test_a_saved_circuit_elsewhere_is_checked_by_its_folder(call: Call, run: Path, tmp_path: Path) -> None:
    shutil.move(run / "circuits" / TASK, tmp_path / "other")
    found = call("check", run, tmp_path / "other", "--only", "T1", "--json").json
    assert found["cards"][0]["task"] == TASK


def test_what_needs_the_corpus_says_so(call: Call, run: Path) -> None:
    (card,) = call("check", run, "--only", "T6", "--json").json["cards"]
    (test,) = card["tests"]
    assert test["word"] == "open"
    assert "text" in test["note"]


def test_nothing_is_written_into_a_bundled_run(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(example_folder("example").rglob("*"))
    assert call("check", "example", TASK, "--only", "T1", "T11").code == 0
    assert sorted(example_folder("example").rglob("*")) == before
    refused = call("check", "example", TASK, "--level", "full")
    assert refused.code == 2
    assert "nothing is written into a bundled run" in refused.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--only", "T99"), "no test 'T99'"),
        (("nowhere",), "no circuit 'nowhere'"),
        (("--weights", "0"), "--weights is at least 1"),
    ],
)
def test_mistakes_are_named(call: Call, words: tuple[str, ...], says: str) -> None:
    found = call("check", "example", *words)
    assert found.code == 2
    assert says in found.err
