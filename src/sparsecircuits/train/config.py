"""How to train: the recipe of Gao et al. 2025, §2.1 and §A.2, one field a knob, each with its source.

Where the paper and the authors' script differ, the field's text gives both and says which is the
default here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """Sparse training. ``density = 1`` trains the dense twin by the same code."""

    steps: int = 1000
    """Optimizer steps."""
    rows: int = 16
    """Sequences in a batch, each of context tokens (paper: 512 x 256 tokens)."""
    context: int | None = None
    """Tokens of a sequence; None: the model's n_ctx (script: 256, in models with 1024 positions)."""
    seed: int = 0
    """Seed of the initial weights and of the batches."""

    lr: float = 1.28e-2
    """Base learning rate (script: 1.28e-2 at expansion 4; the paper sweeps it in every experiment)."""
    warmup: float = 0.01
    """Share of the steps in which the rate rises linearly from 0 (§A.2; Figs 13, 14)."""
    decay: Literal["linear", "cosine", "constant"] = "linear"
    """The rate after warm-up: linear to 0 at the last step, half a cosine to 0, or constant (Fig 15)."""
    sharkfin: bool = True
    """Multiply the rate by sqrt(target density / current density) (§A.2; Fig 25: annealing needs it)."""
    beta1: float = 0.9
    """Adam's first decay rate, of the gradients' running mean (§A.2)."""
    beta2: float = 0.95
    """Adam's second decay rate, of their squares' (§A.2)."""
    eps: float = 0.1
    """Adam's epsilon, far above the usual (§A.2; Fig 30 sweeps it)."""
    weight_decay: float = 0.1
    """Decoupled decay of every matrix but the bigram table, after the projection (script's order)."""
    grad_rms: Literal["normalise", "clip", "none"] = "normalise"
    """Script: always divide gradients by their RMS over all parameters + 1e-5 (default); paper: only
    where it exceeds 1 ("clip"; Fig 16: essential for stability)."""

    density: float = 1 / 32
    """Share of nonzero entries of each attention and MLP matrix at the end (script: min(1, p / e²))."""
    embed_density: float | None = None
    """The same for embedding, unembedding and additive positions; None: as density (paper; the script
    has p / e, so e times as dense)."""
    floor: int = 4
    """Least number of nonzero weights of a neuron or attention channel (§A.2, Fig 22); 0: none."""
    anneal_start: float = 0.01
    """Share of the steps before which everything is dense."""
    anneal_stop: float = 0.5
    """Share of the steps after which density is at its target (0.8 for the paper's largest and sparsest).
    With both shares 0 nothing is annealed (Fig 23)."""
    anneal_shape: Literal["linear", "power", "exponential"] = "linear"
    """How density x falls from 1 to its target p as the share t of the time between goes from 0 to 1.
    linear: 1 - (1 - p) t (§A.2); power: p + (1 - p) (1 - t) ** anneal_power; exponential: p ** t, so that
    it falls by the same factor in every step. The latter two fall fast early, which the paper found to
    end similarly."""
    anneal_power: float = 3.0
    """The exponent of the shape power (3: Zhu and Gupta 2017)."""
    embed_schedule: Literal["linear", "late"] = "linear"
    """linear: from 1 to the target like the matrices (script, Fig 21); late: the paper's bug, in which
    embeddings stay dense until the matrices' density has fallen to density / embed_density."""

    biases: Literal["dense", "sparse"] = "dense"
    """dense: biases are never projected (script, where a bug leaves them so); sparse: each bias vector
    keeps the share embed_density of its entries, on the embeddings' schedule (paper)."""
    sparsity: Literal["topk", "hard_concrete"] = "topk"
    """topk: keep the largest after every step (§2.1); hard_concrete: a learned gate for each weight and a
    penalty on the expected number of open ones (§D, Fig 35), which the paper found to do worse."""
    gate_lr: float = 0.2
    """Rate at which hard_concrete's gates learn, through the whole run (ours; 0.05 is worse)."""
    gate_stop: float = 0.75
    """Share of the steps after which hard_concrete's gates are fixed, at exactly the budget of topk; not
    below anneal_stop (ours; 0.9 is worse)."""

    revive: Literal["none", "resample", "leak"] = "none"
    """What is done for MLP neurons that have not fired for revive_every steps (:mod:`.revive`). resample:
    they are drawn anew; leak: gradients reach them as if they fired; none (paper)."""
    revive_every: int = 100
    """Steps in which a neuron must not have fired once to count as dead."""
    revive_stop: float = 0.75
    """Share of the steps after which no neuron is revived, so that those revived last can settle."""

    dense_every: int = 1
    """Every how many steps all weights have gradients (§B; :mod:`.amortised`). 1: in each (paper), so that a
    zeroed weight can come back at any step. M: in every M-th; in the steps between, only kept weights have
    gradients and moments, which is faster, and none comes back."""
    candidates: float = 0.0
    """With dense_every above 1: so many zeroed weights, for each kept one, have gradients between the dense
    steps too and can come back there. They are those that the last dense step brought nearest to it."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: products of matrices in 16 bits (torch.autocast; on a CPU without our kernels but AbsTopK's
    and RMSNorm's); loss, weights, gradients and moments are float32, and so is validation (§A.2)."""

    bigram_init: Literal["counts", "uniform"] = "counts"
    """Start the bigram table from smoothed log-frequencies of the training tokens, or (paper) uniform."""
    eval_every: int = 200
    """Steps between validations on eval_tokens / 8 tokens; the last step validates on all."""
    eval_tokens: int = 65_536
    """Tokens of the final validation."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""

    def validated_on(self, step: int) -> int:
        """Tokens on which the validation after ``step`` steps measures, if the corpus has so many."""
        return self.eval_tokens if step == self.steps else self.eval_tokens // 8

    def validate(self) -> None:
        for name in ("steps", "rows", "eval_every", "eval_tokens", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"TrainConfig.{name} is {getattr(self, name)}; it must be at least 1")
        if self.context is not None and self.context < 1:
            raise ConfigError(f"TrainConfig.context is {self.context}; it must be at least 1")
        for name in ("density", "embed_density"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ConfigError(f"TrainConfig.{name} is {value}; it must be in (0, 1]")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"TrainConfig.warmup is {self.warmup}; it must be in [0, 1)")
        if not 0 <= self.anneal_start <= self.anneal_stop <= 1:
            raise ConfigError(
                f"TrainConfig.anneal_start = {self.anneal_start} and anneal_stop = {self.anneal_stop}: "
                f"needed is 0 <= start <= stop <= 1"
            )
        if self.revive_every < 1:
            raise ConfigError(f"TrainConfig.revive_every is {self.revive_every}; it must be at least 1")
        if not 0 <= self.revive_stop <= 1:
            raise ConfigError(f"TrainConfig.revive_stop is {self.revive_stop}; it must be in [0, 1]")
        if self.revive != "none" and self.sparsity != "topk":
            raise ConfigError(f"TrainConfig.revive = {self.revive!r} needs sparsity = 'topk'")
        if self.dense_every < 1:
            raise ConfigError(f"TrainConfig.dense_every is {self.dense_every}; it must be at least 1")
        if self.dense_every > 1 and (self.sparsity != "topk" or self.revive != "none"):
            raise ConfigError(
                f"TrainConfig.dense_every = {self.dense_every} needs sparsity = 'topk' and revive = 'none'; "
                f"here they are {self.sparsity!r} and {self.revive!r}"
            )
        if self.candidates > 0 and self.dense_every == 1:
            raise ConfigError("TrainConfig.candidates needs dense_every above 1")
        if not self.anneal_stop <= self.gate_stop <= 1 and self.sparsity == "hard_concrete":
            raise ConfigError(
                f"TrainConfig.gate_stop is {self.gate_stop}; it must be from anneal_stop = "
                f"{self.anneal_stop} to 1"
            )
        if self.seed < 0 or self.seed >= 2**63:
            raise ConfigError(f"TrainConfig.seed is {self.seed}; it must be from 0 to 2**63 - 1")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"TrainConfig.{name} is {getattr(self, name)}; it must be in [0, 1)")
        for name in ("floor", "weight_decay", "candidates"):
            if getattr(self, name) < 0:
                raise ConfigError(f"TrainConfig.{name} is {getattr(self, name)}; it must not be negative")
        for name in ("lr", "eps", "anneal_power", "gate_lr"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"TrainConfig.{name} is {getattr(self, name)}; it must be positive")
