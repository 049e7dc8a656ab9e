"""``sparsecircuits check``: cards of the bundled circuits, printed, saved, loaded, shown on the page."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from sparsecircuits.circuit import load_circuit, save_circuit
from sparsecircuits.cli.check import print_card, print_cards, reasons
from sparsecircuits.examples import example_folder
from sparsecircuits.validate.card import Card
from sparsecircuits.validate.distribution import on_distribution
from sparsecircuits.validate.outcome import Outcome
from tests.cli.conftest import Call
from tests.validate.subjects import subject

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


def card_of(task: str, *opened: str, **words: bool) -> Card:
    """A card with these tests passed or not, and those that are open."""
    found = [Outcome(test=test, estimate=0.5, passed=passed) for test, passed in words.items()]
    found += [Outcome(test=test, estimate=None, passed=None, open=True, note="later") for test in opened]
    return Card(
        task=task,
        level="standard",
        circuit_sha256="",
        thresholds_sha256="",
        about={"nodes": 3, "edges": 2, "target": 0.15, "objective": "task"},
        outcomes=tuple(found),
    )


SUFFICIENT = {"T1": True, "T2": True, "T10": True, "T11": True, "T24": True}


def test_what_stands_against_a_verdict() -> None:
    one = card_of("one", "T6", **SUFFICIENT, T3=True, T4=False, T13=False, T16=True, T5=False)
    assert reasons(one) == {
        "Robust": "fails T4 T13",
        "Controlled": "T8 T9 not run",
        "Faithful": "fails T5, T7 T12 T20 not run, T6 undecided",
        "Verified": "T25 not run",
    }
    assert reasons(one, names=True)["Robust"] == "fails T4 stochastic ablation, T13 internal match"
    without = card_of("two", **{**SUFFICIENT, "T2": False}, T8=True, T9=True, T25=True)
    assert reasons(without)["Sufficient"] == "fails T2"
    assert reasons(without)["Controlled"] == "needs Sufficient"
    assert reasons(without)["Robust"] == "needs Sufficient, T3 T4 T13 T16 not run"
    everything = {**SUFFICIENT, **dict.fromkeys(("T3", "T4", "T5", "T6", "T7", "T8", "T9"), True)}
    assert reasons(card_of("all", **everything, T12=True, T13=True, T16=True, T20=True, T25=True)) == {}


def test_the_table_of_many_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    print_cards([card_of("one", **SUFFICIENT, T4=False), card_of("two", "T2", **{"T1": True})])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith(
        "one: Robust no: fails T4, T3 T13 T16 not run; Controlled open: T8 T9 not run"
    )
    assert lines[-2].startswith("two: Sufficient open: T10 T11 T24 not run, T2 undecided; Robust open: needs")
    assert "T4 stochastic ablation" in lines[-1]
    assert "T12 shifted prompts" in lines[-1]
    assert "T1 sufficiency" not in lines[-1]


def test_many_cards_as_json_say_why(call: Call) -> None:
    found = call("check", "example", "--only", "T1", "--json").json
    rows = found["circuits"]
    assert len(rows) == len(found["cards"]) > 1
    assert rows[0]["why"]["Sufficient"] == "T2 T10 T11 T24 not run"
    assert rows[0]["verdicts"]["Sufficient"] == "open"


def test_a_card_with_its_reports_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    about = subject("bigram", pairs=8)
    text = on_distribution(about, windows=1).to_dict()
    print_card(dataclasses.replace(card_of("one", T1=True), reports={"distribution": text}))
    out = capsys.readouterr().out
    assert f"on training text: {text['removed'][0]:+.3f} nats a token without the circuit (a random" in out
