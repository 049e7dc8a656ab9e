"""Ablations: what a trial measures, and the rule that judges differences, on made-up numbers."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from sparsecircuits.data.shards import Corpus, DataConfig, build_corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.study.ablations import (
    Expected,
    Verdict,
    dead_neurons,
    differences,
    judge,
    run_trial,
    seed_spread,
)
from sparsecircuits.train import RunConfig, load_run
from sparsecircuits.train.config import TrainConfig


def test_differences_are_taken_from_the_references_mean() -> None:
    assert differences({0: 2.5, 1: 2.25}, {1: 2.0, 0: 2.0, 2: 2.75}) == {0: 0.25, 1: 0.0}
    assert differences({0: math.inf}, {0: 2.0}) == {0: math.inf}
    assert differences({0: 2.0, 1: 2.0}, {0: math.inf, 1: 2.0}) == {}


def test_the_spread_of_seeds_is_pooled_within_settings() -> None:
    # Squares about each mean: 2 x 0.01², and 1 + 0 + 1; of 1 + 2 degrees of freedom.
    got = seed_spread([{0: 5.00, 1: 5.02}, {0: 1.0, 1: 2.0, 2: 3.0}, {0: 9.0}])
    assert got == pytest.approx(math.sqrt(2.0002 / 3))
    assert seed_spread([{0: 0.1}, {0: 0.1, 1: math.inf}]) is None  # nothing to compare


#: With a spread of 0.03, two seeds against six: SE 0.03 sqrt(1/2 + 1/6) = 0.02449, twice that 0.04899.
SIX = dict.fromkeys(range(6), 2.0)


def at(mean: float) -> dict[int, float]:
    """Two seeds."""
    return {0: 2.0 + mean - 0.01, 1: 2.0 + mean + 0.01}


@pytest.mark.parametrize(
    ("mean", "expected", "outcome", "holds"),
    [
        (0.050, "worse", "worse", "yes"),
        (0.048, "worse", "not seen", "not seen"),
        (-0.050, "worse", "better", "opposite"),
        (-0.050, "better", "better", "yes"),
        (0.050, "better", "worse", "opposite"),
        (0.001, "similar", "not seen", "undecided"),  # no evidence is none for being alike
        (0.070, "similar", "worse", "no"),
        (0.068, "similar", "worse", "undecided"),
        (0.030, "not better", "not seen", "yes"),  # 0.030 - 0.049 is at least -0.02
        (0.028, "not better", "not seen", "undecided"),
        (-0.070, "not better", "better", "no"),
        (0.050, None, "worse", None),
    ],
)
def test_the_verdict_by_the_rule(
    mean: float, expected: Expected | None, outcome: str, holds: str | None
) -> None:
    verdict = judge(at(mean), SIX, 0.03, expected)
    assert (verdict.mean, verdict.seeds) == (pytest.approx(mean), 2)
    assert verdict.error == pytest.approx(0.0244949)
    assert (verdict.outcome, verdict.holds) == (outcome, holds)


def test_similar_holds_only_where_the_error_is_small_enough() -> None:
    # SE 0.008 x 0.8165 = 0.00653: 0.006 + 0.01306 is at most 0.02, 0.007 + 0.01306 is not.
    assert judge(at(0.006), SIX, 0.008, "similar").holds == "yes"
    assert judge(at(0.007), SIX, 0.008, "similar").holds == "undecided"


def test_more_seeds_of_the_reference_make_the_error_smaller() -> None:
    two = {seed: SIX[seed] for seed in (0, 1)}
    assert judge(at(0.055), two, 0.03, "worse").holds == "not seen"  # twice 0.03
    assert judge(at(0.055), SIX, 0.03, "worse").holds == "yes"


def test_what_diverged() -> None:
    wild = {0: math.inf, 1: 2.0}
    assert judge(wild, SIX, 0.03, "worse")[3:] == ("worse", "yes")
    assert judge(wild, SIX, 0.03, "better")[3:] == ("worse", "opposite")
    assert judge(wild, SIX, 0.03, "similar").holds == "no"
    assert judge(at(0.1), wild, 0.03, "worse") == Verdict(None, 2, None, None, None)
    assert judge(wild, wild, 0.03, "worse") == Verdict(None, 2, None, None, None)


def test_without_two_seeds_or_a_spread_there_is_no_verdict() -> None:
    assert judge({}, SIX, 0.01, "worse") == Verdict(None, 0, None, None, None)
    assert judge({0: 2.5}, SIX, 0.01, "worse") == Verdict(0.5, 1, None, None, None)
    assert judge({0: 2.5, 1: 2.5}, {0: 2.0}, 0.01, "worse") == Verdict(0.5, 2, None, None, None)
    assert judge({0: 2.5, 1: 2.5}, SIX, None, "worse") == Verdict(0.5, 2, None, None, None)


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


def test_figures_of_other_settings_are_refused(tiny: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    folder = tmp_path / "seed0"
    figures = run_trial(tiny, corpus.folder, folder, lambda done, loss, tokens: None, pairs=4)
    other = tiny.replace(train=tiny.train.replace(lr=0.5))
    message = rf"figures\.json: .*train\.lr {tiny.train.lr} there, 0\.5 asked for"
    with pytest.raises(ConfigError, match=message):
        run_trial(other, corpus.folder, folder, lambda done, loss, tokens: None)
    elsewhere = shutil.copytree(corpus.folder, tmp_path / "corpus")
    manifest = json.loads((elsewhere / "manifest.json").read_text())
    manifest["files"]["train.bin"]["sha256"] = "0" * 64
    (elsewhere / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="corpus '.*' there, '000000000000' asked for"):
        run_trial(tiny, elsewhere, folder, lambda done, loss, tokens: None)
    # Figures from before this was kept: the run's own config says it.
    kept = {key: value for key, value in figures.items() if key not in ("config", "tokens_sha256")}
    (folder / "figures.json").write_text(json.dumps(kept))
    assert run_trial(tiny, corpus.folder, folder, lambda done, loss, tokens: None) == kept
    with pytest.raises(ConfigError, match=message):
        run_trial(other, corpus.folder, folder, lambda done, loss, tokens: None)


def test_a_training_that_diverges_is_a_result(tiny: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    wild = tiny.replace(train=tiny.train.replace(lr=1e38, warmup=0.0, eps=1e-30, steps=20))
    figures = run_trial(wild, corpus.folder, tmp_path / "wild", lambda done, loss, tokens: None)
    assert figures["val_loss"] is None
    assert "is nan" in figures["error"]
    assert json.loads((tmp_path / "wild" / "figures.json").read_text()) == figures
