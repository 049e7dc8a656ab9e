"""figure: every kind is drawn, with its points; what cannot be drawn is said."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.circuit import save_circuit
from sparsecircuits.circuit.files import circuit_hash, load_circuit
from sparsecircuits.cli.figure import write_csv
from sparsecircuits.examples import example_folder
from sparsecircuits.train import load_run
from sparsecircuits.validate.card import Card
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.thresholds import THRESHOLDS

TASK = "set_or_string_fixedvarname"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A copy of the bundled run to write into."""
    return Path(shutil.copytree(example_folder(), tmp_path / "mine"))


def test_training(call, mine: Path, tmp_path: Path) -> None:
    out, points = tmp_path / "a" / "training.svg", tmp_path / "points.csv"
    metrics = [
        {"step": 5, "tokens": 40, "loss": 3.5, "density": 0.5, "lr": 0.1},
        {"step": 10, "tokens": 80, "loss": 3.25, "density": 0.25, "val_loss": 3.0, "lr": 0.1},
    ]
    (mine / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    done = call("figure", "training", mine, "--out", out, "--csv", points)
    assert (done.code, done.out) == (0, f"{out}\n")
    assert out.read_bytes().startswith(b"<?xml")
    few = load_run(mine).config.train.eval_tokens // 8  # what all but the last validation are measured on
    assert points.read_text().splitlines() == [
        "run,step,tokens,loss,val_loss,val_tokens,density,l0,lr,grad_rms,dead_neurons,kurtosis,tokens_per_second,"
        "data_wait_share",
        "mine,5,40,3.5,,,0.5,,0.1,,,,,",
        f"mine,10,80,3.25,3.0,{few},0.25,,0.1,,,,,",
    ]


def test_size_against_loss(call, tmp_path: Path) -> None:
    row: dict[str, Any] = {"run": "x", "task": "a", "target": 0.15, "nodes": 9, "edges": 8, "met": True}
    file = tmp_path / "results.jsonl"
    file.write_text(json.dumps({**row, "loss": 0.1}) + "\n")
    done = call("figure", "size-loss", file, "--out", tmp_path / "size.pdf", "--json")
    assert done.json == {
        "figure": str(tmp_path / "size.pdf"),
        "points": [{**row, "loss": 0.1, "seeds": 1}],
    }
    run = call("figure", "size-loss", "example", "--out", tmp_path / "size.png", "--json").json["points"]
    assert [point["edges"] for point in run if point["task"] == TASK] == [10]
    assert len(run) == 5


def test_pruning(call, mine: Path, tmp_path: Path) -> None:
    folder = mine / "circuits" / TASK
    missing = call("figure", "pruning", mine, TASK, "--out", tmp_path / "p.png")
    assert missing.code == 2
    assert f"the circuit for {TASK} keeps no curve of its pruning" in missing.err
    circuit = load_circuit(folder)
    curve = {"step": [1, 9], "loss": [0.7, 0.1], "nodes": [90, 12]}
    save_circuit(dataclasses.replace(circuit, info={**circuit.info, "curve": curve}), folder)
    done = call("figure", "pruning", mine, TASK, "--out", tmp_path / "p.png", "--json")
    assert done.json["points"] == [
        {"step": 1, "loss": 0.7, "nodes": 90},
        {"step": 9, "loss": 0.1, "nodes": 12},
    ]


def test_circuit(call, tmp_path: Path) -> None:
    done = call("figure", "circuit", "example", TASK, "--out", tmp_path / "c.png", "--json")
    assert len(done.json["points"]) == 10
    assert set(done.json["points"][0]) == {"source", "target", "weight"}
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_drawing_is_that_of_view(call, tmp_path: Path) -> None:
    by_figure, by_view, points = (tmp_path / name for name in ("a.svg", "b.svg", "points.csv"))
    prompt = ("--prompt", "current = set()\nfor x in y:\n    current")
    done = call("figure", "drawing", "example", TASK, "--out", by_figure, "--csv", points, *prompt)
    assert done.out == f"{by_figure}\n"
    assert call("view", "example", TASK, "--drawing", by_view, *prompt).out == f"{by_view}\n"
    assert by_figure.read_bytes() == by_view.read_bytes()
    rows = table(points)
    assert {row["target"] for row in rows} > {"answer"}
    assert "token" in {row["source"] for row in rows}
    more = call("figure", "drawing", "example", TASK, "--out", by_figure, "--least", "0", "--json", *prompt)
    assert len(more.json["points"]) > len(rows)


def test_view_drawing_opens_and_refuses(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) is None)
    out = tmp_path / "a.pdf"
    call("view", "example", TASK, "--drawing", out, "--open")
    assert opened == [out.as_uri()]
    for words, message in (
        (("--drawing", "a.jpg"), "--drawing is a.jpg; it must end in .png, .svg, .pdf"),
        (("--drawing", "a.svg", "--png", "b.png"), "--png and --drawing: give one of them"),
        (("--prompt", "x"), "--prompt is for --drawing; give both"),
    ):
        assert call("view", "example", TASK, *words).err == f"error: {message}\n"
    several = call("view", "example", "--drawing", out)
    assert several.err.startswith("error: --drawing draws one circuit; name one of single_double_quote")


def test_card(call, mine: Path, tmp_path: Path) -> None:
    folder = mine / "circuits" / TASK
    out = tmp_path / "card.svg"
    none = call("figure", "card", mine, "--out", out)
    assert none.err == f"error: {mine / 'circuits'}: no report cards; sparsecircuits check {mine}\n"
    missing = call("figure", "card", mine, TASK, "--out", out)
    assert f"no report card of this circuit; sparsecircuits check {mine} {TASK}" in missing.err
    circuit = load_circuit(folder)
    card = Card(
        task=TASK,
        level="quick",
        circuit_sha256=circuit_hash(circuit),
        thresholds_sha256=THRESHOLDS.sha256,
        about={},
        outcomes=(
            Outcome(test="T1", estimate=0.12, passed=True),
            Outcome(test="T4", estimate=0.7, passed=False),
        ),
    )
    card.save(folder / "card.json")
    done = call("figure", "card", mine, "--out", out, "--json")
    points = [(row["task"], row["test"], row["word"], row["estimate"]) for row in done.json["points"]]
    assert points == [(TASK, "T1", "pass", 0.12), (TASK, "T4", "FAIL", 0.7)]
    assert out.read_bytes().startswith(b"<?xml")
    save_circuit(circuit.without([min(circuit.nodes)]), folder)
    assert "no report card of this circuit" in call("figure", "card", mine, TASK, "--out", out).err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("training", "example", "--out", "a.jpg"), "--out is a.jpg; it must end in .png, .svg, .pdf"),
        (("training", "--out", "a.svg"), "figure training needs one RUN or more"),
        (("circuit", "example", "--out", "a.svg"), "figure circuit needs RUN TASK, got example"),
        (
            ("card", "example", "--out", "a.svg", "--prompt", "x"),
            "--prompt and --least are for figure drawing",
        ),
        (("training", "example", "--out", "a.svg"), "example: the run keeps no metrics.jsonl"),
        (("size-loss", "nowhere", "--out", "a.svg"), "no run 'nowhere'"),
        (("drawing", "example", TASK, "--least", "2", "--out", "a.svg"), "least is 2.0; it is a share"),
    ],
)
def test_what_it_refuses(call, words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = call("figure", *words)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")


def test_a_table_has_all_keys(tmp_path: Path) -> None:
    write_csv(tmp_path / "deep" / "a.csv", [{"a": 1}, {"a": None, "b": 'x,"y'}])
    assert table(tmp_path / "deep" / "a.csv") == [{"a": "1", "b": ""}, {"a": "", "b": 'x,"y'}]
