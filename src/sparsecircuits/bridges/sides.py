"""The two sides of a bridge, alike: sublayer by sublayer, from one residual location to the next.

A :class:`Side` is a model that can be entered and left at every residual location: before each sublayer, and
behind the last. :func:`side_of` makes one of a model of ours, or of a GPT-2 of ``transformers``.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SparseGPT


class Side(Protocol):
    """A model with a residual stream."""

    d_model: int
    n_layer: int
    vocab_size: int
    n_ctx: int

    @property
    def module(self) -> nn.Module:
        """What holds its parameters."""
        ...

    def enter(self, tokens: Tensor) -> Tensor:
        """[batch, pos] ids to the residual stream [batch, pos, d_model] at the first location."""
        ...

    def sublayer(self, x: Tensor, index: int) -> Tensor:
        """From location ``index`` to the next."""
        ...

    def leave(self, x: Tensor, tokens: Tensor) -> Tensor:
        """From the last location to the logits [batch, pos, vocab]."""
        ...


class Trace(NamedTuple):
    """A run of one side."""

    stream: list[Tensor]
    """At each location, [batch, pos, d_model]."""
    logits: Tensor
    """[batch, pos, vocab]"""


def traced(side: Side, tokens: Tensor) -> Trace:
    """Run it once and keep the residual stream at every location."""
    stream = [side.enter(tokens)]
    for index in range(sublayers(side)):
        stream.append(side.sublayer(stream[-1], index))
    return Trace(stream, side.leave(stream[-1], tokens))


def onward(side: Side, x: Tensor, index: int, tokens: Tensor) -> Tensor:
    """Logits if the residual stream at location ``index`` were ``x``."""
    for at in range(index, sublayers(side)):
        x = side.sublayer(x, at)
    return side.leave(x, tokens)


def sublayers(side: Side) -> int:
    """How many there are: two a layer. Locations are one more."""
    return 2 * side.n_layer


class Ours:
    """A :class:`~sparsecircuits.model.SparseGPT`, dense or sparse."""

    def __init__(self, model: SparseGPT) -> None:
        self.model = model
        config = model.config
        self.d_model, self.n_layer = config.d_model, config.n_layer
        self.vocab_size, self.n_ctx = config.vocab_size, config.n_ctx

    @property
    def module(self) -> nn.Module:
        return self.model

    def enter(self, tokens: Tensor) -> Tensor:
        return self.model.embedded(tokens)

    def sublayer(self, x: Tensor, index: int) -> Tensor:
        return self.model.sublayer(x, index)

    def leave(self, x: Tensor, tokens: Tensor) -> Tensor:
        return self.model.logits_of(x, tokens)


class GPT2:
    """A ``GPT2LMHeadModel`` of ``transformers``, or what has its parts by the same names, in evaluation mode.

    Raises:
        ConfigError: it has no ``transformer.{wte,wpe,h,ln_f}`` and ``lm_head``, or its attention looks at
            something beside the tokens (cross attention).
    """

    def __init__(self, model: Any) -> None:
        body = getattr(model, "transformer", None)
        missing = [name for name in ("wte", "wpe", "h", "ln_f") if not hasattr(body, name)]
        if missing or not hasattr(model, "lm_head"):
            raise ConfigError(
                f"{type(model).__name__} is not built like GPT-2: it lacks "
                f"{', '.join(f'transformer.{name}' for name in missing) or 'lm_head'}"
            )
        if getattr(model.config, "add_cross_attention", False):
            raise ConfigError(f"{type(model).__name__} has cross attention; a bridge needs one stream")
        self.model = model.eval()
        self.d_model, self.n_layer = model.config.n_embd, model.config.n_layer
        self.vocab_size, self.n_ctx = model.config.vocab_size, model.config.n_positions

    @property
    def module(self) -> nn.Module:
        return self.model

    def enter(self, tokens: Tensor) -> Tensor:
        body = self.model.transformer
        return body.wte(tokens) + body.wpe(torch.arange(tokens.shape[1], device=tokens.device))

    def sublayer(self, x: Tensor, index: int) -> Tensor:
        layer, half = divmod(index, 2)
        block = self.model.transformer.h[layer]
        if half:
            return x + block.mlp(block.ln_2(x))
        return x + block.attn(block.ln_1(x))[0]

    def leave(self, x: Tensor, tokens: Tensor) -> Tensor:
        return self.model.lm_head(self.model.transformer.ln_f(x))


def side_of(model: SparseGPT | Any) -> Side:
    """The side that a model makes.

    Raises:
        ConfigError: a model that is neither ours nor built like GPT-2.
    """
    return Ours(model) if isinstance(model, SparseGPT) else GPT2(model)
