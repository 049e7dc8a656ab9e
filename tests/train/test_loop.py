"""The loop: its result, its start from counts, its dense twin, and how it fails."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError, DataError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import Progress, RunConfig, evaluate, load_run, train
from sparsecircuits.train.bigram import bigram_log_frequencies
from sparsecircuits.train.guard import TrainingDiverged
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.projection import measured_density
from tests.train.steps import one_step


def test_a_run_ends_as_it_says(config: RunConfig, corpus: Corpus, tmp_path: Path):
    seen: list[Progress] = []
    result = train(config, corpus, tmp_path / "run", seen.append)
    model = load_run(tmp_path / "run").model()
    assert [progress.step for progress in seen] == list(range(1, 9))
    assert (result.steps, result.tokens) == (8, 8 * 2 * 8)
    assert result.density == measured_density(model).matrices == 1 / 4
    assert result.val_loss == seen[-1].val_loss == evaluate(model, corpus.val, limit=256)
    assert [progress.step for progress in seen if progress.val_loss is not None] == [3, 6, 8]
    assert [progress.density for progress in seen[-2:]] == [1 / 4, 1 / 4]


def test_training_lowers_the_loss(config: RunConfig, corpus: Corpus, tmp_path: Path):
    recipe = config.train.replace(steps=60, rows=8, bigram_init="uniform", log_every=20)
    result = train(RunConfig(model=config.model, train=recipe), corpus, tmp_path / "run")
    assert result.val_loss < math.log(300) - 0.5


@pytest.mark.parametrize("init", ["counts", "uniform"])
def test_the_table_starts_from_counts_or_uniform(
    init: str, config: RunConfig, corpus: Corpus, tmp_path: Path
):
    # One step, whose rate is 0: what is left is the start.
    recipe = config.train.from_dict({**config.train.to_dict(), "steps": 1, "bigram_init": init})
    train(RunConfig(model=config.model, train=recipe), corpus, tmp_path / "run")
    table = load_run(tmp_path / "run").model().bigram_table
    start = SparseGPT(config.model).bigram_table
    assert table is not None
    assert start is not None
    expected = bigram_log_frequencies(corpus.train, 300) if init == "counts" else start
    assert torch.equal(table, expected)


def test_the_dense_twin_stays_dense(config: RunConfig, corpus: Corpus, tmp_path: Path):
    dense = config.replace(train=config.train.replace(density=1.0, embed_density=None))
    result = train(dense, corpus, tmp_path / "run")
    assert result.density == 1.0
    model = load_run(tmp_path / "run").model()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and name != "bigram_table":
            assert parameter.count_nonzero() == parameter.numel(), name


def test_every_way_to_train_runs(config: RunConfig, corpus: Corpus, tmp_path: Path):
    model = config.model.replace(positions="concat", d_pos=4, sink=False, bias=False, bigram=False)
    recipe = config.train.replace(
        grad_rms="clip", decay="constant", embed_schedule="late", sharkfin=False, floor=0, eval_tokens=4
    )
    assert train(RunConfig(model=model, train=recipe), corpus, tmp_path / "run").density < 0.251


def test_a_corpus_too_small_for_the_context_is_told_both_sizes(
    config: RunConfig, corpus: Corpus, tmp_path: Path
):
    small = dataclasses.replace(corpus, train=corpus.train[:8])
    with pytest.raises(DataError, match="the training split: 8 tokens; a context of 8 needs at least 9"):
        train(config, small, tmp_path / "run")
    small = dataclasses.replace(corpus, val=corpus.val[:5])
    with pytest.raises(DataError, match="the validation split: 5 tokens; a context of 8 needs at least 9"):
        train(config, small, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_density_below_the_floor_leaves_no_run_behind(config: RunConfig, corpus: Corpus, tmp_path: Path):
    below = config.replace(train=config.train.replace(density=1 / 8))
    with pytest.raises(ConfigError, match=r"c_attn.* may keep 96 weights, .* need 192"):
        train(below, corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(config, corpus, tmp_path / "run")  # the same name is free for what can be


def test_a_loss_that_is_not_finite_stops_the_run(
    config: RunConfig, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = SparseOptimizer.step

    def explode(self: SparseOptimizer, step: int) -> float:
        rms = real(self, step)
        if step == 4:
            with torch.no_grad():
                self.parameters[0][0] = torch.nan
                self.parameters[0][1:] = torch.inf
        return rms

    monkeypatch.setattr(SparseOptimizer, "step", explode)
    message = r"step 6: bigram_table is nan, and with it the loss nan; .*\(train\.lr, now 0\.0128\)"
    with pytest.raises(TrainingDiverged, match=message):
        train(config, corpus, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step_000003", "step_000004"]
    assert run.result() is None


def test_gradients_that_are_not_finite_stop_the_run(config: RunConfig, corpus: Corpus):
    model = SparseGPT(config.model)
    model.lm_head.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(TrainingDiverged, match=r"step 4: lm_head\.weight\.grad is (nan|-?inf)"):
        one_step(model, SparseOptimizer(model, config.train), corpus, 3, config)


def test_the_loss_of_a_step_is_the_cross_entropy_of_its_batch(config: RunConfig, corpus: Corpus):
    model = SparseGPT(config.model)
    assert model.bigram_table is not None
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.bigram_table.zero_()
    loss, rms, _ = one_step(model, SparseOptimizer(model, config.train), corpus, 0, config)
    assert loss == pytest.approx(math.log(300), rel=1e-6)
    assert np.isfinite(rms)
    assert rms > 0
