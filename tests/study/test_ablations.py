"""Ablations: what a trial measures, and the rule that judges differences, on made-up numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from sparsecircuits.data.shards import Corpus, DataConfig, build_corpus
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.study.ablations import (
    Expected,
    Verdict,
    dead_neurons,
    differences,
    judge,
    noise,
    run_trial,
)
from sparsecircuits.train import RunConfig, load_run
from sparsecircuits.train.config import TrainConfig


def test_differences_are_taken_seed_by_seed() -> None:
    assert differences({0: 2.5, 1: 2.25, 2: 9.0}, {1: 2.0, 0: 2.0}) == {0: 0.5, 1: 0.25}
    assert differences({0: math.inf}, {0: 2.0}) == {0: math.inf}


def test_noise_is_the_median_distance_of_two_seeds() -> None:
    # Distances 0.02, 0.02 and 8: the median over 0.6745 sqrt(2) = 0.95388.
    got = noise([{0: 0.01, 1: 0.03}, {0: 0.5, 1: 0.52}, {0: 1.0, 1: 9.0}])
    assert got == pytest.approx(0.02 / 0.95388, rel=1e-4)
    assert noise([{0: 0.1}, {0: 0.1, 1: math.inf}]) is None  # nothing to compare


@pytest.mark.parametrize(
    ("by_seed", "outcome"),
    [
        # Noise 0.01: over two seeds more than 2 x 0.01 / sqrt 2 = 0.01414 counts.
        ({0: 0.015, 1: 0.015}, "worse"),
        ({0: 0.014, 1: 0.014}, "equal"),
        ({0: -0.03, 1: -0.01}, "better"),
        ({0: 0.05, 1: -0.001}, "equal"),  # the mean is large, but the seeds do not agree
        ({0: 0.019}, "equal"),  # one seed: more than 0.02
        ({0: 0.021}, "worse"),
        ({0: math.inf, 1: 0.3}, "worse"),  # diverged
    ],
)
def test_the_outcome_by_the_rule(by_seed: dict[int, float], outcome: str) -> None:
    assert judge(by_seed, 0.01, None).outcome == outcome


@pytest.mark.parametrize(
    ("mean", "expected", "holds"),
    [
        (0.05, "worse", True),
        (0.05, "better", False),
        (0.05, "similar", False),
        (0.05, "not better", True),
        (0.018, "similar", True),  # worse, but by less than 0.02
        (0.018, "worse", True),
        (0.001, "worse", False),
        (0.001, "similar", True),
        (-0.05, "better", True),
        (-0.05, "not better", False),
        (0.05, None, None),
    ],
)
def test_whether_a_finding_holds(mean: float, expected: Expected | None, holds: bool | None) -> None:
    verdict = judge({0: mean, 1: mean}, 0.01, expected)
    assert (verdict.mean, verdict.seeds, verdict.holds) == (pytest.approx(mean), 2, holds)


def test_without_seeds_or_noise_there_is_no_outcome() -> None:
    assert judge({}, 0.01, "worse") == Verdict(None, 0, None, None)
    assert judge({0: 0.5}, None, "worse") == Verdict(0.5, 1, None, None)


def test_dead_neurons_are_those_that_never_fire() -> None:
    model = SparseGPT(GPTConfig(vocab_size=300, n_ctx=8, n_layer=2, d_model=16, topk_fraction=None))
    tokens = torch.arange(65).numpy()
    assert dead_neurons(model, tokens) == 0
    with torch.no_grad():  # GELU of exactly 0 is 0
        for layer, row in ((0, 3), (0, 7), (1, 63)):
            model.blocks[layer].get_submodule("mlp.c_fc").get_parameter("weight")[row] = 0
    assert dead_neurons(model, tokens) == 3


@pytest.fixture(scope="module")
def tiny() -> RunConfig:
    recipe = TrainConfig(steps=4, rows=2, density=1 / 4, eval_tokens=256, checkpoint_every=2, log_every=1)
    return RunConfig(model=GPTConfig(vocab_size=512, n_ctx=64, n_layer=1, d_model=16, d_head=8), train=recipe)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    data = DataConfig(mix={"idioms": 1.0}, vocab_size=512, train_tokens=20_000, val_tokens=2_000)
    return build_corpus(data, tmp_path_factory.mktemp("corpus"))


def test_a_trial_is_trained_measured_and_kept(tiny: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    folder = tmp_path / "no_anneal" / "seed0"
    seen: list[int] = []
    figures = run_trial(tiny, corpus.folder, folder, lambda done, loss, tokens: seen.append(done), pairs=4)
    result = load_run(folder).result()
    assert result is not None
    assert figures["val_loss"] == result["val_loss"]
    # A quarter of 12 x 16² weights, of 2 x 512 x 16 embeddings.
    assert figures["nonzero"] == 12 * 256 // 4 + 2 * 512 * 16 // 4
    assert (figures["neurons"], len(figures["tasks"]), figures["error"]) == (64, 20, None)
    assert seen == [1, 2, 3, 4, 4]
    assert not (folder / "checkpoints").exists()
    assert run_trial(tiny, corpus.folder, folder, lambda done, loss, tokens: seen.append(done)) == figures
    assert seen == [1, 2, 3, 4, 4, 4]  # not trained again


def test_a_training_that_diverges_is_a_result(tiny: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    wild = tiny.replace(train=tiny.train.replace(lr=1e38, warmup=0.0, eps=1e-30, steps=20))
    figures = run_trial(wild, corpus.folder, tmp_path / "wild", lambda done, loss, tokens: None)
    assert figures["val_loss"] is None
    assert "is nan" in figures["error"]
    assert json.loads((tmp_path / "wild" / "figures.json").read_text()) == figures
