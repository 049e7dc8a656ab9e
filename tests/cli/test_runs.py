"""runs: the table, its order, and what is said where there is nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from sparsecircuits.cli.runs import ordered
from sparsecircuits.examples import example_folder
from sparsecircuits.study.overview import RunRow
from sparsecircuits.train import load_run


def test_the_command(call, tmp_path: Path) -> None:
    shutil.copytree(example_folder(), tmp_path / "group" / "mine")
    done = call("runs", tmp_path, "--json")
    (row,) = done.json
    assert (done.code, row["run"], row["state"], row["circuits"]) == (0, "group/mine", "finished", 5)
    table = call("runs", tmp_path).out
    assert "group/mine" in table
    assert f"{row['val_loss']:.4f}" in table
    assert "note" not in table  # a column in which nothing would stand
    (tmp_path / "group" / "mine" / "result.json").unlink()
    (tmp_path / "group" / "mine" / "metrics.jsonl").write_text('{"step": 550}\n')
    assert "550 of 2,200 (25%)" in call("runs", tmp_path).out


def test_nothing_there(call, tmp_path: Path) -> None:
    assert call("runs", tmp_path / "none").err == f"error: {tmp_path / 'none'}: no such folder\n"
    assert call("runs", tmp_path).out == f"no runs in {tmp_path}; sparsecircuits train NAME makes one\n"


def test_what_a_run_does_not_say_comes_last_and_the_latest_first() -> None:
    rows = [
        RunRow("a", "stopped", when="2026-01-01 10:00"),
        RunRow("b", "finished", val_loss=2.5, when="2026-01-03 10:00"),
        RunRow("c", "finished", val_loss=1.5, when="2026-01-02 10:00"),
    ]
    assert [row.run for row in ordered(rows, "val_loss")] == ["c", "b", "a"]
    interim = RunRow("d", "stopped", val_loss=1.0, val_tokens=8)
    whole = RunRow("e", "finished", val_loss=3.0, val_tokens=64)
    assert [row.run for row in ordered([interim, whole], "val_loss")] == ["e", "d"]
    assert [row.run for row in ordered(rows, "when")] == ["b", "c", "a"]


def test_losses_on_unlike_numbers_of_tokens_are_marked(call, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(example_folder(), tmp_path / name)
    assert "on tokens" not in call("runs", tmp_path).out
    (tmp_path / "two" / "result.json").unlink()
    (tmp_path / "two" / "metrics.jsonl").write_text('{"step": 100, "val_loss": 0.5}\n')
    limit = load_run(tmp_path / "one").config.train.eval_tokens
    told = call("runs", tmp_path, "--sort", "val_loss")
    assert "on tokens" in told.out
    assert f"{limit // 8:,}" in told.out
    rows = call("runs", tmp_path, "--sort", "val_loss", "--json").json
    assert [(row["run"], row["val_tokens"]) for row in rows] == [("one", limit), ("two", limit // 8)]
