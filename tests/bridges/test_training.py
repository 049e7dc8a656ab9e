"""Bridges are trained by the ordinary loop: they learn, go on bit for bit, and are shared by processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparsecircuits.bridges.config import BridgeConfig
from sparsecircuits.bridges.dense import DenseModel
from sparsecircuits.bridges.files import BRIDGE_FILE
from sparsecircuits.bridges.training import Bridged
from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model.checkpoint import load_tensors
from sparsecircuits.train import Machine, Progress, RunConfig, TrainConfig, load_run, train
from sparsecircuits.train.saved import Activations
from tests.processes import Processes
from tests.train.conftest import corpus  # noqa: F401 (a fixture)
from tests.train.test_resume import metrics

DENSE = GPTConfig(vocab_size=300, n_ctx=16, n_layer=1, d_model=24, d_head=8)
CONFIG = RunConfig(
    model=GPTConfig(vocab_size=300, n_ctx=16, n_layer=1, d_model=32, d_head=8),
    train=TrainConfig(
        steps=12, rows=4, density=1 / 4, embed_density=1 / 2, floor=2, anneal_stop=0.5, eval_every=6,
        eval_tokens=256, checkpoint_every=3, log_every=1,
    ),
)  # fmt: skip

BRIDGE = BridgeConfig(mixtures=1, lr=1e-2)


def bridged() -> Bridged:
    return Bridged(DenseModel.of(SparseGPT(DENSE, seed=9)), BRIDGE, CONFIG)


def trained(corpus_folder: Path, folder: Path, machine: Machine, stop: int | None = None) -> str:
    def watch(progress: Progress) -> None:
        if progress.step == stop:
            raise KeyboardInterrupt

    try:
        train(CONFIG, Corpus.open(corpus_folder), folder, watch, machine, method=bridged())
    except KeyboardInterrupt:
        return "stopped"
    return "done"


def assert_same(found: Path, right: Path) -> None:
    for file in (
        "model/model.safetensors",
        f"model/{BRIDGE_FILE}",
        "checkpoints/step_000009/optimizer.safetensors",
    ):
        assert (found / file).read_bytes() == (right / file).read_bytes(), file
    assert metrics(load_run(found)) == metrics(load_run(right))


def test_it_learns_and_goes_on_bit_for_bit(corpus: Corpus, tmp_path: Path):  # noqa: F811
    assert trained(corpus.folder, tmp_path / "straight", Machine()) == "done"
    for stop in (2, 5, 6, 10, 12):
        assert trained(corpus.folder, tmp_path / "resumed", Machine(), stop) == "stopped"
    assert trained(corpus.folder, tmp_path / "resumed", Machine()) == "done"
    assert_same(tmp_path / "resumed", tmp_path / "straight")
    rows = [row for row in load_run(tmp_path / "straight").metrics() if "encode" in row]
    assert len(rows) == 12
    assert len(rows[0]["to_dense"]) == 3
    for kind in ("encode", "decode", "to_sparse", "to_dense"):
        assert sum(rows[-1][kind]) < 0.95 * sum(rows[0][kind]), kind
    written = load_tensors(tmp_path / "straight" / "model" / BRIDGE_FILE)
    first = dict(bridged().bridge.named_parameters())
    assert written.keys() == first.keys()
    assert not any(torch.equal(written[name], first[name]) for name in first)


def test_two_processes_end_with_the_bits_of_one(
    corpus: Corpus,  # noqa: F811
    processes: Processes,
    tmp_path: Path,
):
    assert trained(corpus.folder, tmp_path / "one", Machine(micro_rows=2)) == "done"
    two = processes.run(2, trained, corpus.folder, tmp_path / "two", Machine(parallel="ddp"))
    assert two == ["done", "done"]
    for file in ("model/model.safetensors", f"model/{BRIDGE_FILE}"):
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "one" / file).read_bytes(), file


def test_what_does_not_fit(corpus: Corpus, tmp_path: Path):  # noqa: F811
    for change, message in (
        ({"n_layer": 2}, "has 1 layers, the sparse model 2; .* set model.n_layer=1"),
        ({"vocab_size": 301}, "a vocabulary of 300, the sparse model one of 301"),
        ({"n_ctx": 17}, "room for 16 tokens, training has sequences of 17: set train.context=16"),
    ):
        with pytest.raises(ConfigError, match=message):
            Bridged(
                DenseModel.of(SparseGPT(DENSE)), BRIDGE, CONFIG.replace(model=CONFIG.model.replace(**change))
            )
    with pytest.raises(ConfigError, match="leave --compile out"):
        train(CONFIG, corpus, tmp_path / "run", machine=Machine(compile=True), method=bridged())
    assert not (tmp_path / "run").exists()
    for change in ({"dense_every": 4}, {"sparsity": "hard_concrete"}):
        recipe = TrainConfig.from_dict({**CONFIG.train.to_dict(), **change})
        with pytest.raises(ConfigError, match="trained with train.sparsity=topk and train.dense_every=1"):
            Bridged(DenseModel.of(SparseGPT(DENSE)), BRIDGE, CONFIG.replace(train=recipe))


@pytest.mark.parametrize("activations", ["blocks", "sublayers"])
def test_less_is_saved_for_gradients_with_the_same_result(
    activations: Activations,
    corpus: Corpus,  # noqa: F811
    tmp_path: Path,
):
    saved = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[-1] += tensor.numel()
        return tensor

    for name, machine in (("all", Machine()), ("less", Machine(activations=activations))):
        saved.append(0)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            trained(corpus.folder, tmp_path / name, machine, stop=2)
    assert saved[1] < 0.8 * saved[0]
    losses = [[row["loss"] for row in load_run(tmp_path / name).metrics()] for name in ("all", "less")]
    assert losses[0] == losses[1]
