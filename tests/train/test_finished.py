"""A finished model that is damaged is noticed by whoever reads it, and can be had again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import Run, RunConfig, load_run, train

WEIGHTS = Path("model/model.safetensors")


@pytest.fixture
def run(config: RunConfig, corpus: Corpus, tmp_path: Path) -> Run:
    train(config, corpus, tmp_path / "run")
    return load_run(tmp_path / "run")


def flip(path: Path) -> None:
    """Change one bit of a weight, which is as good a number as before."""
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    values = next(entry for name, entry in header.items() if name.endswith("/values"))
    data[begin + values["data_offsets"][0]] ^= 1
    path.write_bytes(data)


def test_damage_is_named_with_the_way_out_and_the_way_out_works(run: Run, config: RunConfig, corpus: Corpus):
    path, result = run.folder / WEIGHTS, run.folder / "result.json"
    before, done = path.read_bytes(), run.result()
    flip(path)
    said = rf"{re.escape(str(path))}: damaged: .*; remove {re.escape(str(result))} and give the command"
    for read in (
        run.model,
        lambda: SparseGPT.from_pretrained(run.folder),
        lambda: train(config, corpus, run.folder),
    ):
        with pytest.raises(CheckpointError, match=said):
            read()
    result.unlink()
    again = train(config, corpus, run.folder)
    assert path.read_bytes() == before
    assert done is not None
    assert (again.val_loss, again.steps) == (done["val_loss"], 8)


def test_cut_or_gone_it_is_not_a_finished_run_either(run: Run, config: RunConfig, corpus: Corpus):
    path = run.folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="not a readable safetensors file: .*; remove"):
        train(config, corpus, run.folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="not a readable safetensors file: .*; remove"):
        train(config, corpus, run.folder)


def test_without_checkpoints_another_copy_is_asked_for(run: Run):
    shutil.rmtree(run.checkpoints)
    flip(run.folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="does not match .*; copy or fetch the run again"):
        run.model()


def test_a_run_that_has_not_finished_says_how_to_go_on(run: Run):
    shutil.rmtree(run.folder / "model")
    words = f"to go on: sparsecircuits train {run.folder}, with the options that it began with"
    with pytest.raises(CheckpointError, match=re.escape(words) + "; --checkpoint latest"):
        run.model()
    shutil.rmtree(run.checkpoints)
    with pytest.raises(CheckpointError, match=re.escape(words) + "$"):
        run.model()
