"""What the gradients take at their peak is measured, and close to what the model's shape says."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.memory import Case, alone
from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig
from sparsecircuits.train import Machine, RunConfig, estimate, load_run, memory, train
from sparsecircuits.train.estimate import gradient_bytes, saved_bytes
from sparsecircuits.train.memory import require_memory, rows_at_once
from sparsecircuits.train.peak import Peak
from sparsecircuits.train.saved import Activations

peak_module = importlib.import_module("sparsecircuits.train.peak")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is needed")
MIB = 2**20


@linux
def test_the_peak_is_what_was_held_and_freed_again() -> None:
    peak = Peak(torch.device("cpu"))
    assert peak.row() == {}
    for size in (8, 64, 256):  # MiB; the third step is not measured
        with peak.watching(tokens=1024):
            block = torch.ones(size * MIB // 4)
            del block
    row = peak.row()
    assert row["peak_bytes_per_token"] == pytest.approx(64 * MIB / 1024, rel=0.05)
    assert row["peak_bytes"] > 64 * MIB


@linux
def test_it_is_in_the_metrics(config: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    train(config, corpus, tmp_path / "run")
    rows = load_run(tmp_path / "run").metrics()
    assert all(row["peak_bytes"] > row["peak_bytes_per_token"] >= 0 for row in rows)


@linux
@pytest.mark.parametrize("activations", ["sparse", "blocks"])
def test_the_estimate_is_within_30_percent(activations: Activations) -> None:
    case = Case("", d_model=256, n_layer=8, rows=16, density=1 / 32)
    found = alone(case, activations, steps=0).bytes
    assert gradient_bytes(case.model, case.tokens, activations) / case.tokens == pytest.approx(found, rel=0.3)
    # and that is less than half of what one that saves everything holds
    assert found < 0.75 * gradient_bytes(case.model, case.tokens, "all") / estimate.HOLES / case.tokens


def test_what_one_token_saves_by_hand() -> None:
    model = GPTConfig(vocab_size=300, n_layer=1, d_model=64, d_head=16)
    # bits: the read, q, k, v and the write of 64 each; floats: 64 in, 64 read, 3 x 64, 64 out; 4 heads
    attn = 4 * (64 + 64 + 3 * 64 + 64 + 4) + 5 * 64 / 8
    # floats: 64 in, 64 read, 64 of 256 before GELU, 256 behind it; bits: 64, 256, 64
    mlp = 4 * (64 + 64 + 64 + 256) + (64 + 256 + 64) / 8
    assert saved_bytes(model, sparse=False) == (attn, mlp)
    # 48 of each 64 are not there, and 192 of 256; in their place a bit for each
    assert saved_bytes(model, sparse=True) == (
        attn - 4 * 48 * 4 + 4 * 64 / 8,
        mlp - 4 * (48 + 192) + (64 + 256) / 8,
    )


def test_where_peaks_cannot_be_had_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_module, "_CLEAR", tmp_path)  # a folder: it is there and refuses a text
    peak = Peak(torch.device("cpu"))
    with peak.watching(8):
        pass
    assert peak.row() == {}


@pytest.mark.parametrize(
    ("rows", "machine", "said"),
    [
        (8, {}, "; --micro-rows 4 or --activations blocks takes less"),
        (9, {"activations": "blocks"}, "; --micro-rows 3 takes less"),
        (7, {"activations": "sparse"}, "; --micro-rows 1 or --activations blocks takes less"),
        (1, {"activations": "sublayers"}, ""),
    ],
)
def test_what_is_said_to_take_less_can_be_chosen(rows: int, machine: dict[str, Any], said: str) -> None:
    assert memory._less(rows, Machine.from_dict(machine)) == said


@pytest.mark.parametrize(
    ("machine", "rows"),
    [({}, 24), ({"micro_rows": 8}, 8), ({"out_of_memory": "halve"}, 3), ({"activations": "blocks"}, 24)],
)
def test_rows_at_once(machine: dict[str, Any], rows: int) -> None:
    assert rows_at_once(24, Machine.from_dict(machine)) == rows


def test_a_step_that_cannot_fit_is_refused_with_what_takes_less(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config.replace(train=config.train.replace(rows=1024))
    count = config.model.weight_count
    needs = {
        name: int((12 * count + gradient_bytes(config.model, 1024 * 8, name)) / 1.3)
        for name in ("all", "sparse", "blocks")
    }
    assert needs["all"] > needs["sparse"] > needs["blocks"]
    monkeypatch.setattr("sparsecircuits.memory.total_memory", lambda: needs["sparse"])
    require_memory(config, Machine(activations="sparse", device="cpu"))
    message = (
        r"a step on 1024 rows of 8 tokens at once \(about; --micro-rows 512 or --activations blocks .*\)"
    )
    with pytest.raises(ConfigError, match=f"{message} takes {needs['all']:,} bytes"):
        require_memory(config, Machine(device="cpu"))
    require_memory(config, Machine(device="cpu", micro_rows=512))
    require_memory(config, Machine(device="cpu"), processes=2)
    require_memory(config, Machine(device="cuda"))
    assert "--activations blocks" in memory.KNOBS
