"""A saved model comes back bit for bit; a damaged one is an error that names the file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model.checkpoint import glance, load_model, verify_weights
from tests.model.conftest import TINY


@pytest.fixture
def saved(model: SparseGPT, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"positions": "concat", "d_pos": 3},
        {"positions": "learned", "sink": False, "bias": False, "bigram": False, "activation": "relu"},
        {"n_head": 3, "d_mlp": 5, "topk_fraction": 0.5, "topk_sites": ["attn.q"], "norm_eps": 1e-5},
    ],
)
def test_comes_back_bit_for_bit(changes: dict[str, Any], tmp_path: Path, tokens: Tensor):
    model = SparseGPT(GPTConfig.from_dict({**TINY.to_dict(), **changes}), seed=8)
    model.save_pretrained(tmp_path / "model")
    again = SparseGPT.from_pretrained(tmp_path / "model")
    assert again.config == model.config
    before, after = model.state_dict(), again.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(model(tokens), again(tokens))
    assert not again.training


def test_a_folder_holds_two_files_and_may_be_written_again(saved: Path, model: SparseGPT):
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    model.save_pretrained(saved)
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]
    assert torch.equal(load_model(saved).lm_head.weight, model.lm_head.weight)
    header = json.loads((saved / "config.json").read_text())
    assert (header["format"], header["format_version"]) == ("sparsecircuits.model", 2)


def thinned(model: SparseGPT, every: int) -> SparseGPT:
    """Keep one weight of so many in each matrix."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.flatten()[torch.arange(parameter.numel()) % every != 0] = 0.0
    return model


def test_a_sparse_model_comes_back_bit_for_bit(model: SparseGPT, tmp_path: Path, tokens: Tensor):
    thinned(model, every=4)
    with torch.no_grad():
        model.lm_head.weight[0, :3] = torch.tensor([-0.0, 1e-45, -1e-40])  # 1e-45: the smallest denormal
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    before, after = model.state_dict(), again.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[n].view(torch.int32), after[n].view(torch.int32)) for n in before)
    assert torch.equal(model(tokens), again(tokens))


def test_at_one_percent_the_matrices_take_a_tenth_and_less(tmp_path: Path):
    config = GPTConfig(vocab_size=256, n_layer=2, d_model=128, n_ctx=8, bigram=False)
    model = thinned(SparseGPT(config), every=100)
    model.save_pretrained(tmp_path)
    matrices = [tensor for tensor in model.state_dict().values() if tensor.ndim == 2]
    dense = sum(tensor.nbytes for tensor in matrices)
    assert dense == 4 * (2 * 12 * 128**2 + 2 * 256 * 128)  # float32; a layer has 12 d_model², both embeddings
    stored = load_file(tmp_path / "model.safetensors")
    sparse = sum(tensor.nbytes for name, tensor in stored.items() if "/" in name)
    # An entry takes 2 + 4 bytes, a row 2; no matrix is left as it is.
    entries = sum(-(-tensor.numel() // 100) for tensor in matrices)
    assert sparse == 6 * entries + 2 * sum(len(tensor) for tensor in matrices)
    assert sum(name.endswith("/values") for name in stored) == len(matrices)
    assert dense > 35 * sparse
    assert (
        dense > 10 * (tmp_path / "model.safetensors").stat().st_size
    )  # biases, norms and the header with it


def test_files_of_version_1_are_all_dense_and_still_read(model: SparseGPT, tmp_path: Path):
    thinned(model, every=10).save_pretrained(tmp_path)
    edit(tmp_path, format_version=1, weights_sha256=None)  # which had none
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    again = load_model(tmp_path)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())


def fails(saved: Path, file: str, message: str) -> None:
    """Loading names the file, then says what is wrong."""
    with pytest.raises(CheckpointError, match=re.escape(str(saved / file)) + ".*" + message):
        load_model(saved)


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_truncated_weights(saved: Path, keep: int):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    fails(saved, "model.safetensors", "not a readable safetensors file")


def test_missing_weights(saved: Path):
    (saved / "model.safetensors").unlink()
    fails(saved, "model.safetensors", "not a readable safetensors file")


NAME = "transformer.h.1.mlp.c_fc.weight"


def without(tensors: dict[str, Tensor]) -> None:
    del tensors[NAME]


def additional(tensors: dict[str, Tensor]) -> None:
    tensors["transformer.h.9.ln_1.weight"] = torch.zeros(8)


def transposed(tensors: dict[str, Tensor]) -> None:
    tensors[NAME] = tensors[NAME].T.contiguous()


def nan(tensors: dict[str, Tensor]) -> None:
    tensors[NAME][3, 4] = torch.nan


def infinite(tensors: dict[str, Tensor]) -> None:
    tensors["lm_head.weight"][0, 0] = -torch.inf


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without, f"missing {NAME}"),
        (additional, r"unknown transformer\.h\.9\.ln_1\.weight"),
        (transposed, rf"{NAME} is \(8, 32\), expected \(32, 8\)"),
        (nan, f"{NAME} holds NaN or infinity"),
        (infinite, "lm_head.weight holds NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit(saved: Path, damage: Callable[[dict[str, Tensor]], None], message: str):
    path = saved / "model.safetensors"
    tensors = load_file(path)
    damage(tensors)
    save_file(tensors, path)
    fails(saved, "model.safetensors", message)


def test_a_damaged_sparse_matrix_names_file_and_tensor(model: SparseGPT, saved: Path):
    thinned(model, every=8).save_pretrained(saved)
    path = saved / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors[f"{NAME}/columns"][0] = 8  # the matrix has columns 0 to 7
    save_file(tensors, path, metadata)
    fails(saved, "model.safetensors", f"{NAME}: a column lies outside of 0 to 7")


def test_infinity_in_a_sparse_matrix_is_refused(model: SparseGPT, saved: Path):
    thinned(model, every=8)
    with torch.no_grad():
        model.lm_head.weight[0, 0] = torch.inf
    model.save_pretrained(saved)
    fails(saved, "model.safetensors", "lm_head.weight holds NaN or infinity")


def edit(saved: Path, **changes: Any) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 3}, "format version 3, this release reads 1 and 2"),
        ({"format_version": None}, "format version None"),
        ({"format": "gpt2"}, 'its "format" is not'),
        ({"n_layers": 2}, "unknown key 'n_layers'; did you mean 'n_layer'"),
        ({"n_layer": "2"}, "n_layer is '2'"),
        ({"n_layer": 0}, "n_layer is 0"),
    ],
)
def test_a_config_that_is_not_ours(saved: Path, changes: dict[str, Any], message: str):
    edit(saved, **changes)
    fails(saved, "config.json", message)


@pytest.mark.parametrize("text", ["", '{"format": "sparsecirc', "[]", "\udcff"])
def test_a_damaged_config(saved: Path, text: str):
    (saved / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    fails(saved, "config.json", "not a readable config|not the config")


def test_a_config_of_another_size(saved: Path):
    edit(saved, d_mlp=16)
    fails(saved, "model.safetensors", r"c_fc\.weight is \(32, 8\), expected \(16, 8\)")


def test_a_config_of_a_size_that_no_machine_has_is_refused_before_the_model_is_made(saved: Path):
    edit(saved, d_mlp=10**12)
    fails(saved, "config.json", r"takes 136,000,000,003,732 bytes")


def test_nothing_there(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"nowhere: no model here: it is not a folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no model here: it holds no config\.json"):
        SparseGPT.from_pretrained(tmp_path)


def flip(path: Path, byte: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)


def test_one_flipped_bit_of_the_weights_is_noticed_unless_they_have_no_hash(saved: Path, model: SparseGPT):
    path = saved / "model.safetensors"
    flip(path, -5)  # of a value, which is as good a number as before
    fails(saved, "model.safetensors", r"damaged: its content does not match the hash in config\.json")
    with pytest.raises(CheckpointError, match="does not match the hash"):
        verify_weights(saved)
    edit(saved, weights_sha256=None)
    changed = load_model(saved).state_dict()
    same = [torch.equal(tensor, changed[name]) for name, tensor in model.state_dict().items()]
    assert same.count(False) == 1
    verify_weights(saved)


def test_the_hash_is_the_files(saved: Path):
    header = json.loads((saved / "config.json").read_text())
    assert header["weights_sha256"] == hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()


def test_a_glance_sees_what_is_cut_or_something_else(saved: Path):
    path = saved / "model.safetensors"
    glance(path)
    whole = path.read_bytes()
    flip(path, -5)
    glance(path)  # it reads no tensor
    for damaged in (whole[:1000], whole[:-1], b"", b"garbage" * 100):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="model.safetensors: not a readable safetensors file"):
            glance(path)
