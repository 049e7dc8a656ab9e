"""The dense models that sparse ones are held against, none of them crippled: three families of any width.

- ``plain``: a GPT as nanoGPT has it, with learned positions and fused AdamW (:mod:`benchmarks.naive`);
- ``twin``: our own model and optimizer with all weights kept (what the preset ``demo_dense`` trains);
- ``free``: the twin without AbsTopK, so that neither weights nor activations are sparse.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

from benchmarks import naive
from sparsecircuits.data import Corpus
from sparsecircuits.data.batches import batch, sequential_batches
from sparsecircuits.model import GPTConfig
from sparsecircuits.train import RunConfig, TrainConfig
from sparsecircuits.train.schedules import lr_at

Family = Literal["plain", "twin", "free"]
FAMILIES: tuple[Family, ...] = ("plain", "twin", "free")
WORDS: dict[Family, str] = {"plain": "plain GPT", "twin": "dense twin", "free": "dense twin without AbsTopK"}


class DenseShape(NamedTuple):
    """A dense model and its batches."""

    family: Family
    width: int
    layers: int = 2
    rows: int = 16
    context: int = 64
    vocab: int = 1024

    @property
    def name(self) -> str:
        """Such as ``twin_64`` or ``plain_64_l1``: what its times and folders go by."""
        return f"{self.family}_{self.width}" + f"_l{self.layers}" * (self.layers != 2)

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.rows * self.context

    def run(self, steps: int, lr: float, seed: int = 0) -> RunConfig:
        """What a twin is trained by; of a plain GPT the schedule of rates alone is used."""
        return RunConfig(
            model=GPTConfig(
                vocab_size=self.vocab, n_ctx=self.context, n_layer=self.layers, d_model=self.width,
                topk_fraction=None if self.family == "free" else 0.25,
            ),
            train=TrainConfig(
                steps=steps, lr=lr, rows=self.rows, seed=seed, density=1.0, floor=0,
                eval_every=steps, checkpoint_every=steps,
            ),
        )  # fmt: skip

    def plain(self, seed: int = 0) -> naive.DenseGPT:
        """A fresh plain GPT."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return naive.DenseGPT(
                vocab_size=self.vocab, n_ctx=self.context, n_layer=self.layers, d_model=self.width,
                d_head=min(64, self.width),
            )  # fmt: skip


def train_plain(shape: DenseShape, config: RunConfig, corpus: Corpus) -> float:
    """Train a plain GPT on the batches and rates of the config; its loss on all validation tokens."""
    recipe = config.train
    model = shape.plain(recipe.seed)
    optimizer = naive.dense_optimizer(model, recipe.lr)
    for step in range(recipe.steps):
        tokens = batch(corpus.train, seed=recipe.seed, step=step, rows=recipe.rows, n_ctx=config.context)
        optimizer.param_groups[0]["lr"] = lr_at(step, recipe)
        naive.dense_step(model, optimizer, tokens)
    return _loss(model, corpus, config)


@torch.no_grad()
def _loss(model: naive.DenseGPT, corpus: Corpus, config: RunConfig) -> float:
    total, count = 0.0, 0
    for window in sequential_batches(corpus.val, rows=32, n_ctx=config.context):
        target = window[:, 1:]
        total += float(model(window[:, :-1], target)) * target.numel()
        count += target.numel()
    return total / count
