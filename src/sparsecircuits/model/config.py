"""The shape of a model: every option of Gao et al. 2025, §2.1 and §A.1, one field each."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError, near_misses
from sparsecircuits.model.sites import READS, SITES, SiteName

#: Above so many entries the bigram table is off unless asked for: it has vocab_size² weights.
BIGRAM_LIMIT = 8192


@dataclass(frozen=True, kw_only=True)
class GPTConfig(Config):
    """A GPT-2-style decoder as the paper has it: pre-norm, RMSNorm, AbsTopK, untied embeddings."""

    vocab_size: int = 2048
    """Entries of the tokenizer; <|endoftext|> is the last."""
    n_ctx: int = 256
    """Longest input in tokens (§A.1: 256 in training)."""
    n_layer: int = 8
    """Blocks, each one attention and one MLP sublayer."""
    d_model: int = 256
    """Channels of the residual stream; the paper's family has 256 times its expansion."""
    d_head: int = 16
    """Channels of one attention head (§A.1: 16 in most models; Fig 20 sweeps 32 and 64)."""
    n_head: int | None = None
    """Attention heads; None: d_model / d_head."""
    d_mlp: int | None = None
    """Neurons of one MLP; None: 4 d_model."""
    activation: Literal["gelu", "relu"] = "gelu"
    """The MLP's nonlinearity."""
    norm_eps: float | None = None
    """RMSNorm's epsilon; None: torch's default, the machine epsilon of the type."""
    topk_fraction: float | None = 0.25
    """AbsTopK keeps int(fraction * width) entries at each of topk_sites; None: no AbsTopK (Fig 37)."""
    topk_sites: tuple[str, ...] = SITES
    """The sites that AbsTopK acts on."""
    positions: Literal["none", "learned", "concat"] = "none"
    """none (Fig 26: neutral on loss); learned: added to the embedding; concat: own normalised channels
    beside the residual stream at every sublayer's read."""
    d_pos: int = 32
    """Channels of a concatenated position vector."""
    sink: bool = True
    """A learned logit per head in the softmax's denominator (Fig 18)."""
    bigram: bool | None = None
    """A dense vocab x vocab table whose row of the current token is added to the logits (Fig 24);
    None: on up to 8192 entries; asked for above that, a warning says its bytes."""
    bias: bool = True
    """Biases in attention and MLP matrices."""
    init_std: float = 0.02
    """Standard deviation of the normal initialisation."""

    def validate(self) -> None:
        for name in ("vocab_size", "n_ctx", "n_layer", "d_model", "d_head", "d_pos"):
            if getattr(self, name) < 1:
                raise ConfigError(f"GPTConfig.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("n_head", "d_mlp"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"GPTConfig.{name} is {value}; it must be at least 1")
        if self.n_head is None and self.d_model % self.d_head:
            raise ConfigError(
                f"GPTConfig.d_model = {self.d_model} is no multiple of d_head = {self.d_head}; give n_head"
            )
        if self.topk_fraction is not None and not 0 < self.topk_fraction <= 1:
            raise ConfigError(f"GPTConfig.topk_fraction is {self.topk_fraction}; it must be in (0, 1]")
        for site in self.topk_sites:
            if site not in SITES:
                raise ConfigError(f"GPTConfig.topk_sites: no site {site!r}; {near_misses(site, SITES)}")

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return self.n_head if self.n_head is not None else self.d_model // self.d_head

    @property
    def mlp_width(self) -> int:
        """Number of neurons in one MLP."""
        return self.d_mlp if self.d_mlp is not None else 4 * self.d_model

    @property
    def read_width(self) -> int:
        """Channels that a sublayer reads: the residual stream's, and the positions' if concatenated."""
        return self.d_model + (self.d_pos if self.positions == "concat" else 0)

    @property
    def uses_bigram(self) -> bool:
        """Whether there is a bigram table."""
        return self.vocab_size <= BIGRAM_LIMIT if self.bigram is None else self.bigram

    def warn_of_large_bigram(self) -> None:
        """Say what a bigram table takes that was asked for above :data:`BIGRAM_LIMIT` entries."""
        if self.bigram and self.vocab_size > BIGRAM_LIMIT:
            warnings.warn(
                f"the bigram table of {self.vocab_size} x {self.vocab_size} entries takes "
                f"{4 * self.vocab_size**2:,} bytes in float32; bigram = False does without",
                stacklevel=3,
            )

    def width(self, site: str) -> int:
        """How many nodes a site has: its last dimension."""
        if site in READS:
            return self.read_width
        if site in ("attn.q", "attn.k", "attn.v"):
            return self.heads * self.d_head
        return self.mlp_width if site == "mlp.post_act" else self.d_model

    def topk(self, site: str) -> int | None:
        """AbsTopK's k at a site, or None where it does not act."""
        if self.topk_fraction is None or site not in self.topk_sites:
            return None
        return max(1, int(self.topk_fraction * self.width(site)))

    def site_names(self) -> list[SiteName]:
        """All sites of the model, in forward order, without ``final_resid``."""
        return [SiteName(layer, site) for layer in range(self.n_layer) for site in SITES]

    @property
    def weight_count(self) -> int:
        """Weights of a model of this shape, all matrices dense; worked out without making one."""
        heads, bias = self.heads * self.d_head, int(self.bias)
        attention = 3 * heads * (self.read_width + bias) + self.d_model * (heads + bias)
        mlp = self.mlp_width * (self.read_width + bias) + self.d_model * (self.mlp_width + bias)
        norms = 2 * (self.d_model + (self.d_pos if self.positions == "concat" else 0))
        block = attention + mlp + norms + (self.heads if self.sink else 0)
        positions = self.n_ctx * {"none": 0, "learned": self.d_model, "concat": self.d_pos}[self.positions]
        table = self.vocab_size**2 if self.uses_bigram else 0
        return self.n_layer * block + (2 * self.vocab_size + 1) * self.d_model + positions + table

    @property
    def node_count(self) -> int:
        """Nodes of the whole model at the eight sites (the public release adds d_model for final_resid)."""
        return self.n_layer * sum(self.width(site) for site in SITES)
