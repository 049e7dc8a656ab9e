"""Two processes end with the bits of one that takes their micro-batches one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparsecircuits.data.shards import Corpus
from sparsecircuits.model import GPTConfig
from sparsecircuits.train import Machine, Run, RunConfig, TrainConfig, load_run, train
from tests.processes import Processes
from tests.train.device_jobs import trained
from tests.train.test_resume import metrics

# Wide enough for the sparse kernels to be the faster ones at the end; shapes that two processes cannot halve.
CONFIG = RunConfig(
    model=GPTConfig(vocab_size=300, n_ctx=32, n_layer=2, d_model=66, d_head=11, d_mlp=131, positions="learned"),
    train=TrainConfig(
        steps=12,
        rows=16,
        density=1 / 8,
        embed_density=1 / 6,
        warmup=0.2,
        anneal_start=0.1,
        anneal_stop=0.6,
        biases="sparse",
        eval_every=4,
        eval_tokens=512,
        checkpoint_every=5,
        log_every=1,
    ),
)
HALVES = Machine(micro_rows=8)


@pytest.fixture(scope="module")
def one(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One process that takes the two halves of each batch one after the other."""
    folder = tmp_path_factory.mktemp("one") / "run"
    train(CONFIG, corpus, folder, machine=HALVES)
    return load_run(folder)


def assert_same(run: Run, right: Run) -> None:
    """Weights, zeros among them, moments and metrics, bit for bit."""
    for file in ("model/model.safetensors", "checkpoints/step_000010/optimizer.safetensors"):
        assert (run.folder / file).read_bytes() == (right.folder / file).read_bytes(), file
    assert metrics(run) == metrics(right)
    found, expected = run.result(), right.result()
    assert found is not None
    assert expected is not None
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}


@pytest.mark.parametrize("parallel", ["ddp", "shard"])
def test_two_processes_end_with_the_bits_of_one(
    parallel: str, one: Run, corpus: Corpus, processes: Processes, tmp_path: Path
):
    machine = Machine.from_dict({"parallel": parallel})
    results = processes.run(2, trained, CONFIG, corpus.folder, tmp_path / "run", machine)
    assert results[0] == results[1]
    assert_same(load_run(tmp_path / "run"), one)
