"""The one forward of the project: a weight-sparse GPT (Gao et al. 2025, §2.1, §A.1, Fig 12).

Notable in it:
- RMSNorm without centring, so that zero keeps its meaning; no positions unless asked for.
- A ``Site`` wherever nodes live: after each sublayer's norm, after q, k and v, after the MLP's
  nonlinearity, and at the end of each sublayer before it is added to the residual stream.
- An attention sink per head, and a dense bigram table added to the logits.
- Parameters are named as in GPT-2 and in the public release, so that foreign weights load by name.

Sparsity is a property of the weights, not of this file: training zeroes them (``train``).
Shapes: b batch, t position, d d_model, h head, e d_head, m d_mlp, v vocab.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sparsecircuits.errors import ConfigError
from sparsecircuits.model.cache import KVCache, LayerCache
from sparsecircuits.model.config import GPTConfig
from sparsecircuits.model.layers import Linear, RMSNorm, SparseLinear
from sparsecircuits.model.prompts import Prompts
from sparsecircuits.model.sites import FINAL_SITE, Activation, Site
from sparsecircuits.ops import bigram_cross_entropy, end_attention, sink_attention
from sparsecircuits.ops.choice import sparse_pays

if TYPE_CHECKING:
    from sparsecircuits.interop import Pushed
    from sparsecircuits.model.hooks import Hook


class Held(NamedTuple):
    """What attention writes for values that are constant: [n] heads, and [n, d_model] a unit of attention."""

    heads: Tensor
    write: Tensor


class Attention(nn.Module):
    """Reads the normed residual stream [b t d], returns what to add to it [b t d]."""

    _held: Held | None = None

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.d_head = config.heads, config.d_head
        width = self.heads * self.d_head
        self.act_in = _site(config, layer, "attn.act_in")
        self.c_attn = Linear(config.read_width, 3 * width, bias=config.bias)
        self.q = _site(config, layer, "attn.q")
        self.k = _site(config, layer, "attn.k")
        self.v = _site(config, layer, "attn.v")
        self.y = Site(f"{layer}.attn.y")
        self.c_proj = Linear(width, config.d_model, bias=config.bias)
        self.resid_delta = _site(config, layer, "attn.resid_delta")
        self.sink_logit = nn.Parameter(torch.zeros(self.heads)) if config.sink else None

    def forward(
        self, x: Tensor, cache: LayerCache | None = None, prompts: Prompts | None = None, last: bool = False
    ) -> Tensor:
        q, k, v = self.c_attn(self.act_in(x)).chunk(3, dim=-1)
        q = prompts.ends(q) if prompts is not None and last else q
        q, k, v = self.q(q), self.k(k), self.v(v)
        if cache is not None:
            k, v = cache.extend(k, v)
        if prompts is not None:
            q, k, v = q.flatten(0, 1)[:, None] if last else prompts.spread(q), *map(prompts.spread, (k, v))
        q, k, v = (self._split(part) for part in (q, k, v))
        ends = prompts.position.flatten()[prompts.last.flatten()] if prompts is not None and last else None
        y_bhte = _attend(q, k, v, self.sink_logit, ends)
        y = self.y(self._join(y_bhte, prompts, last))
        delta = self.c_proj(y)
        if self._held is not None:
            heads, write = self._held
            ones = torch.ones_like(v[:, heads])
            sink = None if self.sink_logit is None else self.sink_logit[heads]
            sums_bhte = _attend(q[:, heads], k[:, heads], ones, sink, ends)[..., :1]
            delta = delta + self._join(sums_bhte, prompts, last) @ write
        return self.resid_delta(delta)

    @contextmanager
    def holding(self, heads: Tensor, write: Tensor) -> Generator[None]:
        """While it lasts, each of ``heads`` [n] also writes ``write`` [n, d_model] times what it attends.

        That is what values write which are the same at every position: a head's pattern times a constant is
        the constant times the pattern's row sum, which with a sink is below 1. Differentiable.
        """
        before, self._held = self._held, Held(heads, write)
        try:
            yield
        finally:
            self._held = before

    def _split(self, x: Tensor) -> Tensor:
        """[b t (h e)] to [b h t e]."""
        return x.view(*x.shape[:-1], self.heads, self.d_head).transpose(1, 2)

    def _join(self, x: Tensor, prompts: Prompts | None, last: bool) -> Tensor:
        """[b h t e] to [b t (h e)], of ``prompts`` each token once."""
        x = x.transpose(1, 2).flatten(2)
        if prompts is None:
            return x
        return x.view(*prompts.last.shape, -1) if last else prompts.gathered(x)


def _attend(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None, ends: Tensor | None) -> Tensor:
    """Causal attention; of prompts' ``ends`` [b] alone where they are given."""
    return sink_attention(q, k, v, sink) if ends is None else end_attention(q, k, v, ends, sink)


class MLP(nn.Module):
    """Reads the normed residual stream [b t d], returns what to add to it [b t d]."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.act_in = _site(config, layer, "mlp.act_in")
        self.c_fc = Linear(config.read_width, config.mlp_width, bias=config.bias)
        self.post_act = _site(config, layer, "mlp.post_act", config.activation)
        self.c_proj = Linear(config.mlp_width, config.d_model, bias=config.bias)
        self.resid_delta = _site(config, layer, "mlp.resid_delta")

    def forward(self, x: Tensor) -> Tensor:
        return self.resid_delta(self.c_proj(self.post_act(self.c_fc(self.act_in(x)))))


class Block(nn.Module):
    """One layer: attention, then MLP, each added to the residual stream.

    Attributes:
        recompute: what saves its inputs alone and is computed again when gradients are due (hooks are called
            again too): the block, each of its sublayers, or None: nothing.
    """

    recompute: Literal["block", "sublayer"] | None = None

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        concat = config.positions == "concat"
        self.resid_in = Site(f"{layer}.resid_in")
        self.ln_1 = RMSNorm(config.d_model, eps=config.norm_eps)
        self.ln_p1 = RMSNorm(config.d_pos, eps=config.norm_eps) if concat else None
        self.attn = Attention(config, layer)
        self.resid_mid = Site(f"{layer}.resid_mid")
        self.ln_2 = RMSNorm(config.d_model, eps=config.norm_eps)
        self.ln_p2 = RMSNorm(config.d_pos, eps=config.norm_eps) if concat else None
        self.mlp = MLP(config, layer)

    def forward(
        self,
        x: Tensor,
        position: Tensor | None = None,
        cache: LayerCache | None = None,
        prompts: Prompts | None = None,
        last: bool = False,
    ) -> Tensor:
        """Go on from ``x`` [b t d]; or of ``prompts`` [sets kept d], with ``last`` to their last tokens."""
        return self._again("block", self._through, x, position, cache, prompts, last)

    def _through(
        self,
        x: Tensor,
        position: Tensor | None,
        cache: LayerCache | None,
        prompts: Prompts | None,
        last: bool,
    ) -> Tensor:
        x = self.first_half(x, position, cache, prompts, last)
        if position is not None and prompts is not None and last:
            position = prompts.ends(position)
        return self.second_half(x, position)

    def first_half(
        self,
        x: Tensor,
        position: Tensor | None = None,
        cache: LayerCache | None = None,
        prompts: Prompts | None = None,
        last: bool = False,
    ) -> Tensor:
        """Attention alone."""
        x = self.resid_in(x)
        delta = self._again("sublayer", self._attention, x, position, cache, prompts, last)
        return (prompts.ends(x) if prompts is not None and last else x) + delta

    def second_half(self, x: Tensor, position: Tensor | None = None) -> Tensor:
        """The MLP alone."""
        x = self.resid_mid(x)
        return x + self._again("sublayer", self._mlp, x, position)

    def _attention(self, x: Tensor, position: Tensor | None, *others: Any) -> Tensor:
        return self.attn(_join(self.ln_1(x), position, self.ln_p1), *others)

    def _mlp(self, x: Tensor, position: Tensor | None) -> Tensor:
        return self.mlp(_join(self.ln_2(x), position, self.ln_p2))

    def _again(self, what: str, part: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """``part(*inputs)``, which is to be computed again if it is what :attr:`recompute` says."""
        if self.recompute != what:
            return part(*inputs)
        # No layer is random, so there is no state of a generator to put back.
        return checkpoint(part, *inputs, use_reentrant=False, preserve_rng_state=False)


class SparseGPT(nn.Module):
    """The model. ``model(tokens)`` gives logits; see :class:`GPTConfig` for its shape.

    >>> model = SparseGPT(GPTConfig(vocab_size=300, n_layer=1, d_model=32, n_ctx=16))
    >>> model(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 300])
    """

    def __init__(self, config: GPTConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        d_wpe = {"none": 0, "learned": config.d_model, "concat": config.d_pos}[config.positions]
        parts: dict[str, nn.Module] = {"wte": nn.Embedding(config.vocab_size, config.d_model)}
        if d_wpe:
            parts["wpe"] = nn.Embedding(config.n_ctx, d_wpe)
        parts["h"] = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        parts["ln_f"] = RMSNorm(config.d_model, eps=config.norm_eps)
        self.transformer = nn.ModuleDict(parts)
        self.final_resid = Site(FINAL_SITE)
        self.lm_head = Linear(config.d_model, config.vocab_size, bias=False)
        config.warn_of_large_bigram()
        table = torch.zeros(config.vocab_size, config.vocab_size) if config.uses_bigram else None
        self.bigram_table = nn.Parameter(table) if table is not None else None
        self._init_weights(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _init_weights(self, generator: torch.Generator) -> None:
        """Normal 0.02, residual projections scaled by 1/sqrt(2 n_layer), biases zero (§A.1)."""
        std = self.config.init_std
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                parameter.zero_()
            elif name == "bigram_table":
                # The authors' script: uniform in [0, 0.02]. Every row learns, the last one too.
                parameter.uniform_(0, 0.02, generator=generator)
            elif parameter.ndim == 2:
                scale = 1 / math.sqrt(2 * self.config.n_layer) if "c_proj" in name else 1.0
                parameter.normal_(0, std * scale, generator=generator)

    def forward(self, tokens: Tensor, at: Tensor | None = None, *, cache: KVCache | None = None) -> Tensor:
        """Next-token logits.

        Args:
            tokens: [batch, pos] ids, at most ``n_ctx`` long, those in the cache counted.
            at: [batch] positions in ``tokens``; if given, only the logits there are computed.
            cache: of the tokens before these; it takes these in (without gradients).

        Returns:
            [batch, pos, vocab], or [batch, vocab] with ``at``.

        Raises:
            ConfigError: more tokens than ``n_ctx``.
        """
        x = self._stream(tokens, cache)
        if at is not None:
            rows = torch.arange(tokens.shape[0], device=tokens.device)
            x, tokens = x[rows, at], tokens[rows, at]
        logits = self._unembed(x)
        if self.bigram_table is not None:
            logits = logits + F.embedding(tokens, self.bigram_table)
        return logits

    def answers(self, prompts: Prompts) -> Tensor:
        """Logits at the last token of each prompt, as ``self(tokens, at)`` gives them, for less work.

        Hooks see [sets, kept, width]: each distinct beginning of the prompts once, and from the last block's
        q on (but for its k and v) their last tokens alone. So it is for interventions that treat all
        positions alike.

        Args:
            prompts: of at most ``n_ctx`` tokens.

        Returns:
            [sets * rows of a set, vocab], set by set.

        Raises:
            ConfigError: more tokens than ``n_ctx``.
        """
        self._require_room(prompts.where.shape[1])
        x = self.transformer["wte"](prompts.tokens)
        position = None
        if self.config.positions != "none":
            position = F.embedding(prompts.position, self.transformer.get_parameter("wpe.weight"))
            if self.config.positions == "learned":
                x, position = x + position, None
        for layer, block in enumerate(self.blocks):
            x = block(x, position, None, prompts, last=layer == self.config.n_layer - 1)
        logits = self._unembed(x).flatten(0, 1)
        if self.bigram_table is not None:
            ends = prompts.tokens.flatten()[prompts.last.flatten()]
            logits = logits + F.embedding(ends, self.bigram_table)
        return logits

    def loss(self, tokens: Tensor, target: Tensor) -> Tensor:
        """Mean cross entropy in nats a token, as ``F.cross_entropy(model(tokens), target)`` but faster.

        Args:
            tokens: [batch, pos] ids.
            target: [batch, pos] what follows each.
        """
        logits = self._unembed(self._stream(tokens)).flatten(0, 1)
        return bigram_cross_entropy(logits, target.flatten(), self.bigram_table, tokens.flatten())

    @property
    def locations(self) -> list[str]:
        """The residual stream before every sublayer and behind the last, by hook point, in forward order."""
        halves = ("resid_in", "resid_mid")
        return [f"{layer}.{half}" for layer in range(self.config.n_layer) for half in halves] + [FINAL_SITE]

    def embedded(self, tokens: Tensor, first: int = 0) -> Tensor:
        """The residual stream [batch, pos, d_model] at the first location; ``first`` tokens came before."""
        end = first + tokens.shape[1]
        self._require_room(end)
        x = self.transformer["wte"](tokens)
        if self.config.positions == "learned":
            x = x + self.transformer.get_parameter("wpe.weight")[first:end]
        return x

    def sublayer(self, x: Tensor, index: int) -> Tensor:
        """The residual stream [batch, pos, d_model] one location further than ``locations[index]``."""
        layer, half = divmod(index, 2)
        block, position = self.blocks[layer], self._concatenated(x.shape, 0)
        assert isinstance(block, Block)
        return block.second_half(x, position) if half else block.first_half(x, position)

    def logits_of(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Next-token logits [batch, pos, vocab] from the last location's residual stream."""
        logits = self._unembed(x)
        return logits if self.bigram_table is None else logits + F.embedding(tokens, self.bigram_table)

    def _concatenated(self, shape: tuple[int, ...], first: int) -> Tensor | None:
        """[batch, pos, d_pos] positions that sublayers read beside the residual stream, if there are any."""
        if self.config.positions != "concat":
            return None
        wpe = self.transformer.get_parameter("wpe.weight")[first : first + shape[1]]
        return wpe.expand(*shape[:2], -1)

    def _stream(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """The residual stream behind the last block, [batch, pos, d_model]."""
        first = 0 if cache is None else cache.length
        x = self.embedded(tokens, first)
        position = self._concatenated(tokens.shape, first)
        for layer, block in enumerate(self.blocks):
            x = block(x, position, None if cache is None else cache.layers[layer])
        return x

    def _require_room(self, length: int) -> None:
        if length > self.config.n_ctx:
            raise ConfigError(f"{length} tokens, but the model's n_ctx is {self.config.n_ctx}")

    def _unembed(self, x: Tensor) -> Tensor:
        """Logits without the bigram table's part."""
        return self.lm_head(self.transformer["ln_f"](self.final_resid(x)))

    def to_sparse(self) -> SparseGPT:
        """A copy to run and to prune: matrices whose sparse form is faster hold their nonzero values alone.

        Its outputs are this model's, up to rounding; nothing in it is trained. Matrices that are not sparse
        enough to gain by it stay as they are.
        """
        sparse = copy.deepcopy(self).eval().requires_grad_(False)
        for name, module in list(sparse.named_modules()):
            if isinstance(module, Linear):
                module.find_pattern()
                assert module.pattern is not None
                if sparse_pays(module.pattern, tokens=1024):
                    sparse.set_submodule(name, SparseLinear(module))
        return sparse

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers in order."""
        return self.transformer["h"]  # type: ignore[return-value]

    def sites(self) -> dict[str, Site]:
        """Every hook point by name, in forward order: the nodes' sites and the extra ones."""
        return {module.name: module for module in self.modules() if isinstance(module, Site)}

    def run_with_cache(
        self, tokens: Tensor, names: Iterable[str] | None = None, at: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run once and keep activations: ``logits, cache = model.run_with_cache(tokens)``.

        ``names`` are hook points such as ``0.mlp.post_act`` (None: all); the cache maps each to
        [batch, pos, width].
        """
        from sparsecircuits.model.hooks import record

        with record(self, names) as cache:
            logits = self(tokens, at)
        return logits, cache

    def run_with_hooks(
        self, tokens: Tensor, fwd_hooks: Iterable[tuple[str, Hook]] = (), at: Tensor | None = None
    ) -> Tensor:
        """Run once with interventions: each hook is ``fn(tensor, *, hook)`` and may return a new tensor."""
        from sparsecircuits.model.hooks import hooked

        with hooked(self, fwd_hooks):
            return self(tokens, at)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``; see :mod:`sparsecircuits.model.checkpoint`."""
        from sparsecircuits.model.checkpoint import save_model

        save_model(self, folder)

    def push_to_hub(
        self,
        name: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        message: str | None = None,
        token: str | bool | None = None,
        license: str | None = None,
    ) -> Pushed:
        """Push it to the Hugging Face Hub as ``org/name``: :func:`sparsecircuits.interop.push_model`."""
        from sparsecircuits.interop import push_model

        return push_model(
            self, name, private=private, revision=revision, message=message, token=token, license=license
        )

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, revision: str | None = None, token: str | bool | None = None
    ) -> SparseGPT:
        """Read what :meth:`save_pretrained` or :meth:`push_to_hub` wrote.

        Args:
            source: a folder, or ``org/name`` on the Hub, or ``org/name@revision``; a model, or a run with
                one. What is here, and what is written as a path, never touches the network.
            revision: on the Hub, a branch, a tag or a commit.
            token: for the Hub; None: the one that ``huggingface_hub`` finds.

        Raises:
            CheckpointError: nothing there, or damaged; a :class:`~sparsecircuits.errors.HubError` if it is
                the Hub that has no such model, or does not let it out.
        """
        from sparsecircuits.model.checkpoint import load_model

        return load_model(source, revision=revision, token=token)


def _site(config: GPTConfig, layer: int, site: str, activation: Activation | None = None) -> Site:
    return Site(f"{layer}.{site}", config.topk(site), activation)


def _join(x: Tensor, position: Tensor | None, norm: nn.Module | None) -> Tensor:
    """Put the normed position vector beside the normed residual stream, if there is one."""
    return x if position is None or norm is None else torch.cat([x, norm(position)], dim=-1)
