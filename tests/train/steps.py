"""One training step on the batch that the loop would take."""

from __future__ import annotations

from sparsecircuits.data.batches import batch
from sparsecircuits.data.shards import Corpus
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import Machine, RunConfig
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.step import Step, train_step


def one_step(
    model: SparseGPT, optimizer: SparseOptimizer, corpus: Corpus, step: int, config: RunConfig
) -> Step:
    recipe = config.train
    tokens = batch(corpus.train, seed=recipe.seed, step=step, rows=recipe.rows, n_ctx=config.model.n_ctx)
    return train_step(model, optimizer, tokens, step, recipe, Machine())
