"""Vital signs of models whose dead neurons, loose ends and tails are known by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecircuits.data.shards import Corpus
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.train import RunConfig, evaluate, load_run, train
from sparsecircuits.train.projection import measured_density
from sparsecircuits.train.run import TIMING
from sparsecircuits.train.vitals import cut_off, nonzeros, token_kurtosis, validate

SMALL = GPTConfig(vocab_size=12, n_ctx=4, n_layer=1, d_model=4, d_head=2, d_mlp=8, topk_fraction=0.5)
TOKENS = np.arange(60) % 12


def model_with_four_living_neurons() -> SparseGPT:
    """Neurons 4 to 7 read nothing and have no bias, so that they are 0 and never among the 4 largest of 8."""
    model = SparseGPT(SMALL)
    with torch.no_grad():
        model.get_parameter("transformer.h.0.mlp.c_fc.weight")[4:] = 0
        model.get_parameter("transformer.h.0.mlp.c_fc.bias")[:4] = 1.0
    return model


def test_neurons_that_never_fire_are_dead() -> None:
    model = model_with_four_living_neurons()
    seen = validate(model, TOKENS, limit=40, sample=40)
    assert seen.vitals.widths == {"0.attn.q": 4, "0.attn.k": 4, "0.attn.v": 4, "0.mlp.post_act": 8}
    assert seen.vitals.dead["0.mlp.post_act"] == 4
    assert seen.vitals.dead_share == 0.5
    assert seen.loss == evaluate(model, TOKENS, limit=40)


def test_one_token_is_enough_to_live_and_what_comes_after_the_sample_does_not_count() -> None:
    model = model_with_four_living_neurons()
    with torch.no_grad():
        # Only token 11 has anything on channel 3: 2 = sqrt(4) after the norm.
        embedding = model.get_parameter("transformer.wte.weight")
        embedding[:, 3], embedding[11] = 0.0, torch.tensor([0.0, 0.0, 0.0, 1.0])
        model.get_parameter("transformer.h.0.attn.c_proj.weight").zero_()
        model.get_parameter("transformer.h.0.mlp.c_fc.weight")[4] = torch.tensor([0.0, 0.0, 0.0, 50.0])
    late = np.concatenate([np.arange(320) % 11, np.full(200, 11)])  # from the 81st window of 4 on
    assert validate(model, late, limit=512, sample=512).vitals.dead["0.mlp.post_act"] == 3
    assert validate(model, late, limit=512, sample=128).vitals.dead["0.mlp.post_act"] == 4
    assert len(model.sites()["0.mlp.post_act"]._forward_hooks) == 0


def test_channels_without_weights_are_cut_off() -> None:
    model = SparseGPT(SMALL)
    assert set(cut_off(model).values()) == {0}
    with torch.no_grad():
        model.get_parameter("transformer.h.0.attn.c_attn.weight")[1] = 0  # q 1
        model.get_parameter("transformer.h.0.attn.c_attn.weight")[4:6] = 0  # k 0 and 1
        model.get_parameter("transformer.h.0.attn.c_proj.weight")[:, 2] = 0  # v 2
        model.get_parameter("transformer.h.0.mlp.c_fc.weight")[6] = 0
        model.get_parameter("transformer.h.0.mlp.c_proj.weight")[:, 6:] = 0
    assert cut_off(model) == {"0.attn.q": 1, "0.attn.k": 2, "0.attn.v": 1, "0.mlp.post_act": 2}


def test_kurtosis_by_hand() -> None:
    # -1, 1, -1, 1: every fourth power is the square. One of four: n - 2 + 1 / (n - 1). A constant: none.
    x = torch.tensor([[[-1.0, 1, -1, 1], [0, 0, 5, 0], [2, 2, 2, 2]]])
    assert token_kurtosis(x).tolist() == pytest.approx([1.0, 4 - 2 + 1 / 3])
    normal = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0))
    assert token_kurtosis(normal).mean().item() == pytest.approx(3, abs=0.05)


def test_nonzeros_are_those_of_the_sparse_matrices() -> None:
    model = SparseGPT(SMALL)
    entries = 12 * 4 + 12 * 4 + 12 * 4 + 4 * 4 + 8 * 4 + 4 * 8  # wte, lm_head, c_attn, c_proj, c_fc, c_proj
    assert nonzeros(model) == entries
    with torch.no_grad():
        model.lm_head.weight[0] = 0
    assert nonzeros(model) == entries - 4


def test_the_metrics_have_them_at_each_validation(config: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    train(config, corpus, tmp_path / "run")
    run = load_run(tmp_path / "run")
    rows, model = run.metrics(), run.model()
    last = rows[-1]
    vitals = validate(model, corpus.val, limit=256, sample=256 // 8).vitals
    assert {key: last[key] for key in vitals.row()} == json.loads(json.dumps(vitals.row()))
    assert [row["step"] for row in rows if "dead" in row] == [3, 6, 8]
    assert last["l0"] == nonzeros(model)
    # 16 x (48 + 16 + 64 + 64) entries of matrices and 2 x 300 x 16 of embeddings, at their densities.
    assert last["l0"] == 16 * 192 // 4 + 2 * 300 * 16 // 2
    assert measured_density(model).matrices == 1 / 4
    assert all(set(TIMING) <= row.keys() for row in rows)
    assert all(0 <= row["data_wait_share"] <= 1 and row["tokens_per_second"] > 0 for row in rows)
