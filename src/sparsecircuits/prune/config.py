"""How to prune: one field a knob, with its source (Gao et al. 2025, §A.5 and Table 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PruneConfig(Config):
    """Learned node masks, then bisection, then clean-up."""

    objective: Literal["task", "faithful"] = "faithful"
    """What masks are learned and circuits chosen on. task: the circuit alone does the task, as in the paper,
    several times as fast; faithful: also with other nodes restored at random or by an adversary, and
    answering as the full model."""
    tie_qk: bool | None = None
    """Whether a q and the k channel that it meets have one mask; None: with ``faithful``. (The authors untied
    them, and say that they should not have.)"""
    held_scale: bool = True
    """Whether masks learn and circuits are chosen under the positive scale that suits the full model; no: on
    raw logits, as in the paper."""
    held_bias: bool = False
    """Whether a bias between the two candidates is held beside that scale: for what is left of a model that
    leans to one side (:mod:`~sparsecircuits.prune.complete`)."""
    bias: bool = False
    """Whether a circuit gets a bias between the two candidates beside its scale, as in the paper."""
    repair: bool = True
    """Where the nodes that masks have kept miss the target: learn masks anew under a gentler penalty, add
    nodes, whittle all nodes down, and choose on validation pairs too. No: go on by τ, as in the paper."""
    kl_share: float = 0.75
    """faithful: share of the divergence from the full model's answer, beside the task loss."""
    adversary_steps: int = 2
    """faithful: gradient steps in which an adversary chooses what is restored, in every fourth step."""
    resample: bool = True
    """faithful: in half of the steps deleted nodes take the values of a random token, not their means."""
    pool_tokens: int = 1024
    """faithful: so many tokens to choose from."""
    draws: int = 16
    """faithful: a circuit is judged on so many random restorings too: their mean must be within the target,
    each of them within twice the target."""
    target: float = 0.15
    """Task loss to reach, in nats (mean of the two sides, after scaling; the paper's target)."""
    penalties: tuple[float, ...] = (4.0,)
    """k_coef times the number of nodes to begin with, one mask run each; the smallest circuit that holds is
    kept. (Table 2's centre is k_coef = 1e-4 at about 180,000 nodes: 18.)"""
    adapt: float = 0.05
    """Each step multiplies the penalty by 1 + adapt while the running loss is within the target, and divides
    it by as much while it is not, so that one setting suits small and large circuits; 0: held, as in the
    paper."""
    steps: int = 100
    """Optimizer steps of a mask run."""
    pairs_per_step: int = 16
    """Pairs in a step (paper: 64)."""
    lr: float = 1e-2
    """Learning rate of the masks, decaying linearly to 0 (Table 2's centre: 3e-3, for far more steps)."""
    warmup: float = 0.0
    """Share of the steps with a rising rate (the text has none, Table 2's centre is 0.05)."""
    beta2: float = 0.95
    """Adam's second decay rate (Table 2's centre: 1 - 5e-2)."""
    weight_decay: float = 1e-3
    """Decoupled decay of the masks (Table 2's centre)."""
    init_bias: float = 0.1
    """Masks start at init_bias + init_scale * noise (Table 2's centre)."""
    init_scale: float = 1e-2
    """See init_bias."""
    temperature: float = 1.0
    """Of the sigmoid whose derivative stands in for the step's (Table 2's centre)."""
    train_pairs: int = 512
    """Pairs of the train split that mask runs draw from."""
    selection_pairs: int = 256
    """Pairs of the train split on which sizes are bisected and nodes are removed; not those of
    train_pairs."""
    validation_pairs: int = 256
    """Pairs of the validation split that a circuit must also satisfy."""
    heldout_pairs: int = 512
    """Pairs of the held-out split: reported, never chosen on."""
    max_tokens: int = 64
    """Longest prompt."""
    mean_tokens: int = 16_384
    """Tokens of training text over which frozen values are averaged."""
    cleanup: bool = True
    """After bisection, remove nodes one by one while the target still holds."""
    evaluations: int = 160
    """The clean-up after each mask run tries at most so many circuits."""
    edges: bool = False
    """After the nodes, cut single edges between them too, then simplify: freeze what hardly varies, let one
    of two nodes that say the same stand for both."""
    seed: int = 0
    """Seed of pairs, masks and batches."""

    @property
    def tied(self) -> bool:
        """Whether q and k masks are tied."""
        return self.objective == "faithful" if self.tie_qk is None else self.tie_qk

    @classmethod
    def paper(cls) -> PruneConfig:
        """As the authors pruned (§A.5), but for the number of steps, which they do not give.

        Raw logits, masks of their own for q and k, a penalty held at Table 2's centre, bisection by τ; scale
        and candidate bias are fitted at the end.
        """
        return cls(
            objective="task",
            tie_qk=False,
            held_scale=False,
            bias=True,
            repair=False,
            penalties=(18.0,),
            adapt=0.0,
            steps=500,
            pairs_per_step=64,
            lr=3e-3,
            warmup=0.05,
            cleanup=False,
        )

    def validate(self) -> None:
        if not self.penalties or min(self.penalties) <= 0:
            raise ConfigError(f"PruneConfig.penalties is {self.penalties}; needed are positive numbers")
        counts = ("steps", "pairs_per_step", "train_pairs", "selection_pairs", "validation_pairs")
        for name in (
            *counts,
            "heldout_pairs",
            "mean_tokens",
            "max_tokens",
            "evaluations",
            "pool_tokens",
            "draws",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"PruneConfig.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("target", "lr", "temperature"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"PruneConfig.{name} is {getattr(self, name)}; it must be positive")
        if not 0 <= self.kl_share <= 1:
            raise ConfigError(f"PruneConfig.kl_share is {self.kl_share}; it must be between 0 and 1")
        if self.adversary_steps < 0:
            raise ConfigError(
                f"PruneConfig.adversary_steps is {self.adversary_steps}; it must not be negative"
            )
        if self.adapt < 0:
            raise ConfigError(f"PruneConfig.adapt is {self.adapt}; it must not be negative")
        for name in ("warmup", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"PruneConfig.{name} is {getattr(self, name)}; it must be in [0, 1)")
