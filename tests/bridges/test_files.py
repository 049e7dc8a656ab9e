"""A finished bridge comes back as it was, and only with the dense model that it was trained to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.config import BridgeConfig
from sparsecircuits.bridges.dense import load_dense
from sparsecircuits.bridges.files import BRIDGE_FILE, load_bridge, load_pair, save_bridge
from sparsecircuits.bridges.training import Bridged
from sparsecircuits.data import Corpus
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import Run, load_run, train
from tests.bridges.test_training import BRIDGE, CONFIG, DENSE
from tests.train.conftest import corpus  # noqa: F401 (a fixture)


def test_a_bridge_comes_back(tmp_path: Path):
    bridge = Bridge(6, 10, 3, 0.3, seed=4)
    save_bridge(bridge, tmp_path)
    again = load_bridge(tmp_path)
    x, y = torch.randn(2, 5, 6), torch.randn(2, 5, 10)
    for location in range(3):
        assert torch.equal(again.encode(x, location), bridge.encode(x, location))
        assert torch.equal(again.decode(y, location), bridge.decode(y, location))
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_a_flipped_bit_is_noticed(tmp_path: Path):
    save_bridge(Bridge(6, 10, 3, 0.3), tmp_path)
    path = tmp_path / BRIDGE_FILE
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bridge\.safetensors: damaged: its content does not match"):
        load_bridge(tmp_path)
    path.write_bytes(content[:-40])
    with pytest.raises(CheckpointError, match=r"bridge\.safetensors: not a readable safetensors file"):
        load_bridge(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"no bridge here"):
        load_bridge(tmp_path)


@pytest.fixture(scope="module")
def trained(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Run:  # noqa: F811
    root = tmp_path_factory.mktemp("pair")
    SparseGPT(DENSE, seed=9).save_pretrained(root / "dense")
    train(CONFIG, corpus, root / "run", method=Bridged(load_dense(root / "dense"), BRIDGE, CONFIG))
    return load_run(root / "run")


def test_the_pair_of_a_run(trained: Run):
    pair = load_pair(trained)
    assert pair.settings == BRIDGE
    assert (pair.dense.side.d_model, pair.sparse.d_model, len(pair.bridge)) == (24, 32, 3)
    assert trained.beside is not None
    assert trained.beside.source == "../dense"
    for module in (pair.dense.side.module, pair.sparse.module, pair.bridge):
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_a_dense_model_that_was_moved_or_changed(trained: Run, tmp_path: Path):
    shutil.copytree(trained.folder, tmp_path / "run")
    shutil.copytree(trained.folder.parent / "dense", tmp_path / "elsewhere")
    moved = load_run(tmp_path / "run")
    with pytest.raises(CheckpointError, match="its dense model is not there any more .* --dense"):
        load_pair(moved)
    assert load_pair(moved, tmp_path / "elsewhere").dense.sha256 == load_pair(trained).dense.sha256
    SparseGPT(DENSE, seed=8).save_pretrained(tmp_path / "dense")
    with pytest.raises(CheckpointError, match="not the dense model that .*/run has a bridge to"):
        load_pair(moved)


def test_a_finished_run_with_a_damaged_bridge_is_not_done(trained: Run, corpus: Corpus, tmp_path: Path):  # noqa: F811
    shutil.copytree(trained.folder.parent, tmp_path / "both")
    folder, dense = tmp_path / "both" / "run", load_dense(tmp_path / "both" / "dense")
    path = folder / "model" / BRIDGE_FILE
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"safetensors: damaged.*; remove .*result\.json and give"):
        train(CONFIG, corpus, folder, method=Bridged(dense, BRIDGE, CONFIG))
    (folder / "result.json").unlink()
    train(CONFIG, corpus, folder, method=Bridged(dense, BRIDGE, CONFIG))
    assert path.read_bytes() == (trained.folder / "model" / BRIDGE_FILE).read_bytes()


def test_a_run_goes_on_as_it_began(trained: Run, corpus: Corpus):  # noqa: F811
    dense, folder = load_dense(trained.folder.parent / "dense"), trained.folder
    before = (folder / "run.json").read_bytes()
    train(CONFIG, corpus, folder, method=Bridged(dense, BRIDGE, CONFIG))  # it is finished: nothing happens
    for method, message in (
        (None, "with a bridge to .*/dense there, alone here"),
        (Bridged(dense, BRIDGE.replace(lr=0.5), CONFIG), "bridge.lr: 0.01 there, 0.5 here"),
        (Bridged(dense, BridgeConfig(), CONFIG), "bridge.mixtures: 1 there, 0 here; bridge.lr"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(CONFIG, corpus, folder, method=method)
    assert (folder / "run.json").read_bytes() == before


def test_a_run_without_a_bridge(corpus: Corpus, tmp_path: Path):  # noqa: F811
    train(CONFIG, corpus, tmp_path / "alone")
    run = load_run(tmp_path / "alone")
    assert run.beside is None
    with pytest.raises(CheckpointError, match="trained without a bridge; sparsecircuits train NAME --bridge"):
        load_pair(run)
    SparseGPT(DENSE, seed=9).save_pretrained(tmp_path / "dense")
    with pytest.raises(ConfigError, match="it is trained alone there, with a bridge to"):
        train(CONFIG, corpus, run.folder, method=Bridged(load_dense(tmp_path / "dense"), BRIDGE, CONFIG))
