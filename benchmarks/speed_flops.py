"""How many floating-point operations a training takes, counted from shapes: 2 for each multiply-add.

A token's training step multiplies each weight of a matrix three times: forward, for the gradient of its
input, and for its own gradient, so that a dense model takes 6 FLOPs a weight and token. Of a sparse one,
the first two are of nonzero weights alone. The third is

- in the exact step, of all weights: any of them may come back;
- in an amortised one with M, of all in every M-th step, and of nonzero ones in between.

Causal attention takes, for each layer, 2 x channels x context a token forward and twice that backward (half
of all pairs). Not counted, on either side: the embedding's look-up, the bigram table, norms, AbsTopK,
softmax, projection and optimizer.
"""

from __future__ import annotations

from typing import NamedTuple

from sparsecircuits.model import GPTConfig
from sparsecircuits.train import RunConfig
from sparsecircuits.train.optimizer import PATTERNS_BELOW
from sparsecircuits.train.schedules import Densities, densities_at


class Weights(NamedTuple):
    """Entries of the matrices that tokens are multiplied with."""

    blocks: int
    """Of attention and MLP."""
    unembedding: int

    @property
    def all(self) -> int:
        return self.blocks + self.unembedding

    def kept(self, densities: Densities) -> float:
        """How many of them are not zero."""
        return self.blocks * densities.matrices + self.unembedding * densities.embeddings


def weights_of(model: GPTConfig) -> Weights:
    """Of a model of this shape."""
    channels = model.heads * model.d_head
    attention = model.d_model * 4 * channels
    mlp = 2 * model.d_model * model.mlp_width
    return Weights(model.n_layer * (attention + mlp), model.vocab_size * model.d_model)


def attention_flops(model: GPTConfig, context: int) -> int:
    """Of a token's training step, on average over the places of a context."""
    return 6 * model.n_layer * model.heads * model.d_head * context


def dense_flops(config: RunConfig) -> float:
    """Of a dense training of this shape and so many steps, whichever its family."""
    token = 6 * weights_of(config.model).all + attention_flops(config.model, config.context)
    return float(_tokens(config)) * token


def sparse_flops(config: RunConfig) -> float:
    """Of a sparse training, exact or amortised, with the densities of its schedule."""
    recipe, weights = config.train, weights_of(config.model)
    attention = attention_flops(config.model, config.context)
    total = 0.0
    for step in range(recipe.steps):
        densities = densities_at(step, recipe)
        kept = weights.kept(densities)
        joined = recipe.dense_every > 1 and densities.matrices <= PATTERNS_BELOW
        dense_share = 1 / recipe.dense_every if joined else 1.0
        gradients = dense_share * weights.all + (1 - dense_share) * kept
        total += 4 * kept + 2 * gradients + attention
    return total * recipe.rows * config.context


def nonzero_flops(config: RunConfig) -> float:
    """Of a sparse training if nothing but nonzero weights were ever multiplied: a bound, not a method."""
    weights = weights_of(config.model)
    attention = attention_flops(config.model, config.context)
    kept = sum(weights.kept(densities_at(step, config.train)) for step in range(config.train.steps))
    return (6 * kept + attention * config.train.steps) * config.train.rows * config.context


def _tokens(config: RunConfig) -> int:
    return config.train.steps * config.train.rows * config.context
