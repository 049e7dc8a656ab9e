"""The dense model of a bridge is found, told from others, and must read the same tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from sparsecircuits.bridges.dense import DenseModel, corpus_of, load_dense
from sparsecircuits.bridges.sides import GPT2, Ours, traced
from sparsecircuits.data import Corpus
from sparsecircuits.data.tokenizer import train_tokenizer
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.train import RunConfig, TrainConfig, train
from tests.train.conftest import corpus  # noqa: F401 (a fixture)

SHAPE = GPTConfig(vocab_size=300, n_ctx=16, n_layer=1, d_model=24, d_head=8)


def saved_gpt2(folder: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=300, n_positions=16, n_embd=24, n_layer=2, n_head=3)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_a_model_of_ours(tmp_path: Path):
    model = SparseGPT(SHAPE, seed=3)
    model.save_pretrained(tmp_path / "model")
    found = load_dense(tmp_path / "model")
    assert isinstance(found.side, Ours)
    assert found.sha256 == DenseModel.of(model).sha256
    assert corpus_of(found) is None
    with torch.no_grad():
        model.get_parameter("transformer.wte.weight")[5, 5] += 1e-6
    assert found.sha256 != DenseModel.of(model).sha256


def test_a_run_has_its_corpus(corpus: Corpus, tmp_path: Path):  # noqa: F811
    config = RunConfig(model=SHAPE, train=TrainConfig(steps=2, rows=2, density=1.0, eval_tokens=64))
    train(config, corpus, tmp_path / "run")
    found = load_dense(tmp_path / "run")
    assert corpus_of(found) == corpus.folder.resolve()
    found.require_vocabulary(corpus.tokenizer, "the corpus")
    others = train_tokenizer(["another text altogether, again and again\n"] * 40, vocab_size=300)
    others.save(tmp_path / "run" / "tokenizer.json")
    if others.vocab_size == 300:
        with pytest.raises(
            ConfigError, match=r"run/tokenizer\.json is another tokenizer than that of the corpus"
        ):
            found.require_vocabulary(corpus.tokenizer, "the corpus")
    smaller = train_tokenizer(["ab"] * 9, vocab_size=258)
    with pytest.raises(ConfigError, match=f"has 300 entries in its vocabulary, .* {smaller.vocab_size}"):
        found.require_vocabulary(smaller, "the corpus")


def test_a_gpt2_in_a_folder(tmp_path: Path):
    folder = saved_gpt2(tmp_path / "gpt2")
    found = load_dense(folder)
    assert isinstance(found.side, GPT2)
    assert (found.side.n_layer, found.side.d_model, found.folder) == (2, 24, folder)
    assert load_dense(folder).sha256 == found.sha256
    assert load_dense(f"transformers:{folder}").sha256 == found.sha256
    assert not found.side.module.training


def test_what_is_no_dense_model(tmp_path: Path):
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path}: no model here")):
        load_dense(tmp_path)
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(CheckpointError, match="transformers cannot read it"):
        load_dense(tmp_path)


@torch.no_grad()
def test_eager_attention_is_causal_too():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=60, n_positions=16, n_embd=24, n_layer=2, n_head=3)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel._from_config(config, attn_implementation="eager").eval()
    ids = torch.randint(60, (2, 9))
    right = model(ids).logits
    torch.testing.assert_close(traced(DenseModel.of(model).side, ids).logits, right, rtol=1e-4, atol=1e-5)


def test_gpt_neo_has_other_names(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPTNeoConfig(
        vocab_size=30, hidden_size=16, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]]
    )
    with pytest.raises(ConfigError, match="not built like GPT-2: its config lacks n_embd"):
        GPT2(transformers.GPTNeoForCausalLM(config))


def test_another_architecture_of_transformers(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=30, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(
        ConfigError, match="LlamaForCausalLM is not built like GPT-2: it lacks transformer.wte"
    ):
        load_dense(tmp_path)
