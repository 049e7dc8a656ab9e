"""A corpus of a few thousand tokens and a run that takes a fraction of a second."""

from __future__ import annotations

import pytest

from sparsecircuits.data.shards import Corpus, DataConfig, build_corpus
from sparsecircuits.model import GPTConfig
from sparsecircuits.train import RunConfig, TrainConfig

# 24 x 16, 64 x 16 and so on: a density of 1/4 gives the 4 of 16 that the floor asks for.
TINY = GPTConfig(vocab_size=300, n_ctx=8, n_layer=1, d_model=16, d_head=8)
RECIPE = TrainConfig(
    steps=8,
    rows=2,
    density=1 / 4,
    embed_density=1 / 2,
    warmup=0.25,
    anneal_start=0.25,
    anneal_stop=0.75,
    eval_every=3,
    eval_tokens=256,
    checkpoint_every=2,
    log_every=1,
)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    data = DataConfig(mix={"idioms": 1.0}, vocab_size=300, train_tokens=4000, val_tokens=600)
    return build_corpus(data, tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def config() -> RunConfig:
    return RunConfig(model=TINY, train=RECIPE)
