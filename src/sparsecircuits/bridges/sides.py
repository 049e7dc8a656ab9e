"""The two sides of a bridge, alike: sublayer by sublayer, from one residual location to the next.

A :class:`Side` is a model that can be entered and left at every residual location: before each sublayer, and
behind the last. :func:`side_of` makes one of a model of ours, or of a GPT-2 of ``transformers``.

What a sublayer *reads* is its norm of the residual stream (and for a model of ours AbsTopK of that). A norm
divides a vector by its *size* and then *turns* it, by a map that is linear: the gain, and for LayerNorm the
centring. So a stream that changes by d, at a fixed size, is read as changed by ``turned(d) / size``.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SiteName, SparseGPT, intervene, record
from sparsecircuits.model.layers import RMSNorm
from sparsecircuits.model.sites import READS, WRITES


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

    def sublayer(self, x: Tensor, index: int, added: Tensor | None = None) -> Tensor:
        """From location ``index`` to the next; ``added`` [batch, pos, d_model] to what the sublayer reads."""
        ...

    def read(self, x: Tensor, index: int) -> Tensor:
        """[batch, pos, d_model] what the sublayer reads of a stream ``x`` at location ``index``."""
        ...

    def size(self, x: Tensor, index: int) -> Tensor:
        """[batch, pos, 1] what the norm at the location divides ``x`` by."""
        ...

    def turned(self, direction: Tensor, index: int) -> Tensor:
        """A direction [..., d_model] of the stream as the norm at the location turns it, at size 1."""
        ...

    def leave(self, x: Tensor, tokens: Tensor) -> Tensor:
        """From the last location to the logits [batch, pos, vocab]."""
        ...


def site_read(index: int) -> SiteName:
    """The site of a model of ours whose nodes are what the sublayer at location ``index`` reads."""
    layer, half = divmod(index, 2)
    return SiteName(layer, READS[half])


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


def until(side: Side, tokens: Tensor, index: int) -> Tensor:
    """The residual stream [batch, pos, d_model] at location ``index``."""
    x = side.enter(tokens)
    for at in range(index):
        x = side.sublayer(x, at)
    return x


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

    def sublayer(self, x: Tensor, index: int, added: Tensor | None = None) -> Tensor:
        if added is None:
            return self.model.sublayer(x, index)

        def onto(read: Tensor) -> Tensor:
            beside = read.shape[-1] - self.d_model  # concatenated positions
            return read + F.pad(added, (0, beside))

        with intervene(self.model, {str(site_read(index)): onto}):
            return self.model.sublayer(x, index)

    def written(self, x: Tensor, index: int) -> Tensor:
        """[batch, pos, d_model] what the sublayer at location ``index`` adds to the stream."""
        layer, half = divmod(index, 2)
        name = str(SiteName(layer, WRITES[half]))
        with record(self.model, [name]) as cache:
            self.model.sublayer(x, index)
        return cache[name]

    def read(self, x: Tensor, index: int) -> Tensor:
        name = str(site_read(index))
        with record(self.model, [name]) as cache:
            self.model.sublayer(x, index)
        return cache[name][..., : self.d_model]

    def size(self, x: Tensor, index: int) -> Tensor:
        eps = self._norm(index).eps
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        return (x.square().mean(-1, keepdim=True) + eps).sqrt()

    def turned(self, direction: Tensor, index: int) -> Tensor:
        return direction * self._norm(index).weight

    def _norm(self, index: int) -> RMSNorm:
        layer, half = divmod(index, 2)
        return self.model.get_submodule(f"transformer.h.{layer}.ln_{half + 1}")  # type: ignore[return-value]

    def leave(self, x: Tensor, tokens: Tensor) -> Tensor:
        return self.model.logits_of(x, tokens)


class GPT2:
    """A ``GPT2LMHeadModel`` of ``transformers``, or what has its parts by the same names, in evaluation mode.

    Raises:
        ConfigError: it has no ``transformer.{wte,wpe,h,ln_f}`` and ``lm_head``, its config has other names
            for sizes than GPT-2's, or its attention looks at something beside the tokens (cross attention).
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
        sizes = ("n_embd", "n_layer", "n_positions", "vocab_size")
        if missing := [name for name in sizes if not hasattr(model.config, name)]:
            raise ConfigError(
                f"{type(model).__name__} is not built like GPT-2: its config lacks {', '.join(missing)}"
            )
        if getattr(model.config, "_attn_implementation", None) == "eager":
            model.set_attn_implementation("sdpa")  # eager attention leaves the causal mask to the whole model
        self.model = model.eval()
        self.d_model, self.n_layer = model.config.n_embd, model.config.n_layer
        self.vocab_size, self.n_ctx = model.config.vocab_size, model.config.n_positions

    @property
    def module(self) -> nn.Module:
        return self.model

    def enter(self, tokens: Tensor) -> Tensor:
        body = self.model.transformer
        return body.wte(tokens) + body.wpe(torch.arange(tokens.shape[1], device=tokens.device))

    def sublayer(self, x: Tensor, index: int, added: Tensor | None = None) -> Tensor:
        layer, half = divmod(index, 2)
        block, read = self.model.transformer.h[layer], self.read(x, index)
        read = read if added is None else read + added
        return x + (block.mlp(read) if half else block.attn(read)[0])

    def read(self, x: Tensor, index: int) -> Tensor:
        return self._norm(index)(x)

    def size(self, x: Tensor, index: int) -> Tensor:
        return (x.var(-1, correction=0, keepdim=True) + self._norm(index).eps).sqrt()

    def turned(self, direction: Tensor, index: int) -> Tensor:
        return (direction - direction.mean(-1, keepdim=True)) * self._norm(index).weight

    def _norm(self, index: int) -> nn.LayerNorm:
        layer, half = divmod(index, 2)
        return getattr(self.model.transformer.h[layer], f"ln_{half + 1}")

    def leave(self, x: Tensor, tokens: Tensor) -> Tensor:
        return self.model.lm_head(self.model.transformer.ln_f(x))


def side_of(model: SparseGPT | Any) -> Side:
    """The side that a model makes.

    Raises:
        ConfigError: a model that is neither ours nor built like GPT-2.
    """
    return Ours(model) if isinstance(model, SparseGPT) else GPT2(model)
