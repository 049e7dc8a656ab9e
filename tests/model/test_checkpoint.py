"""A saved model comes back bit for bit; a damaged one is an error that names the file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model.checkpoint import load_model
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
    assert (header["format"], header["format_version"]) == ("sparsecircuits.model", 1)


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


def edit(saved: Path, **changes: Any) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format version 2, this release reads 1"),
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


def test_nothing_there(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"nowhere: no model here: it is not a folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no model here: it holds no config\.json"):
        SparseGPT.from_pretrained(tmp_path)
