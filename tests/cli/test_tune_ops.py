"""The command tune-ops, on products that take microseconds."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from sparsecircuits.cli.tune_ops import SHOWN
from sparsecircuits.ops import choice, native, tuning

compiled = pytest.mark.skipif(native.available() == [native.OFF], reason="the kernels were not compiled")


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    monkeypatch.setenv(choice.VARIABLE, str(tmp_path))
    monkeypatch.setattr(tuning, "SHAPES", ((32, 32), (64, 16)))
    monkeypatch.setattr(tuning, "DENSITIES", (0.1,))
    monkeypatch.setattr(tuning, "TOKENS", 16)
    monkeypatch.setattr(tuning, "REPEATS", 1)
    monkeypatch.setattr(tuning, "STEPS", 10)
    choice._table.cache_clear()
    yield tmp_path / "ops.json"
    choice._table.cache_clear()


@compiled
def test_it_measures_and_keeps_the_constants(call, file: Path) -> None:
    done = call("tune-ops", "--threads", "1", "2", "--json")
    assert done.code == 0
    assert "products  20/20 (100%)" in done.err  # of ten for each number of threads
    assert done.json["file"] == str(file)
    assert done.json["kernels"] == native.kernels()
    assert json.loads(file.read_text()) == done.json["costs"]
    assert list(done.json["costs"]) == ["1", "2"]
    assert len(done.json["crossovers"]) == 2 * len(SHOWN)
    assert choice.costs(2).to_dict() == done.json["costs"]["2"]


@compiled
def test_a_table_says_where_the_paths_cross_and_which_file(call, file: Path) -> None:
    done = call("tune-ops", "--threads", "1")
    assert done.code == 0
    assert "1024 x 1024" in done.out
    assert f"kernels: {native.kernels()}; constants: {file}" in done.out


def test_show_measures_nothing(call, file: Path) -> None:
    done = call("tune-ops", "--show", "--threads", "1", "--json")
    assert done.json["file"] == "the constants that ship"
    assert done.json["costs"] == {"1": choice.DEFAULT[1].to_dict()}
    assert not file.exists()
    choice.store({1: choice.DEFAULT[2]})
    again = call("tune-ops", "--show", "--threads", "1")
    assert again.code == 0
    assert f"constants: {file}" in again.out


def test_mistakes(call, file: Path) -> None:
    done = call("tune-ops", "--threads", "0")
    assert done.code == 2
    assert done.err.startswith("error: --threads is (0,)")
    with native.using(native.OFF):
        done = call("tune-ops")
    assert done.code == 2
    assert "no sparse kernels to measure" in done.err
    assert not file.exists()
