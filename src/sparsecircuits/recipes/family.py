"""The authors' family of models (Gao et al. 2025, §2.1, §A.1, §A.2): one shape, five widths, five numbers of
nonzero weights.

Expansion e is the width over 256: ``d_model = 256 e``, ``d_mlp = 1024 e``, ``n_head = 16 e``, 8 layers. The
base fraction p is L0 / 7.424M, the paper's nominal count of weights at e = 1. Matrices keep min(1, p / e²) of
their entries, embeddings min(1, p / e), so L0 stays the same as the width grows (the authors' script). There
is a table of 1,024 positions, as in the models that they published; a training sequence has 256 tokens.

Not every combination can be: with at least 4 nonzero weights for each neuron e is at most 256 p / 4, and
where p is above e² there are not so many weights. The name ``paper/4x-3.7M`` stands for e = 4 and L0 = 3.7M,
``paper/4x`` for the script's example, p = 1/4.

>>> family("paper/4x").train.density, family("paper/4x").train.embed_density
(0.015625, 0.0625)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sparsecircuits.data import DataConfig
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig
from sparsecircuits.recipes.preset import Preset
from sparsecircuits.train import TrainConfig

#: What the names of the family begin with.
FAMILY = "paper/"
EXPANSIONS = (1, 2, 4, 8, 16)
#: The paper's label of L0, in millions -> base fraction p.
FRACTIONS = {"0.9": 1 / 8, "1.9": 1 / 4, "3.7": 1 / 2, "7.4": 1.0, "14.8": 2.0}
#: Where a name says no L0.
USUAL = "1.9"
#: 32 billion tokens in batches of 512 x 256.
STEPS, ROWS, CONTEXT = 244_140, 512, 256
FLOOR = 4


class Member(NamedTuple):
    """One combination."""

    expansion: int
    label: str
    """L0 in millions, as the paper has it."""

    @property
    def fraction(self) -> float:
        """Base fraction p."""
        return FRACTIONS[self.label]

    @property
    def name(self) -> str:
        """Such as ``paper/4x-3.7M``."""
        return f"{FAMILY}{self.expansion}x-{self.label}M"

    @property
    def about(self) -> str:
        """A line about it."""
        share, embeds = self.fraction / self.expansion**2, min(1.0, self.fraction / self.expansion)
        return (
            f"d_model {256 * self.expansion}, {self.label}M nonzero: {share:.3%} of matrices, "
            f"{embeds:.3%} of embeddings"
        )

    @property
    def problem(self) -> str | None:
        """Why there is no such model, or None."""
        if self.fraction > self.expansion**2:
            return f"its matrices have fewer weights than that: p = {self.fraction:g} is above e² = 1"
        most = 256 * self.fraction / FLOOR
        if self.expansion > most:
            return f"{FLOOR} nonzero weights for each neuron need e at most 256 p / {FLOOR} = {most:g}"
        return None

    def preset(self) -> Preset:
        """The model and the script's recipe. The rate is the one of e = 4; the paper sweeps it each time."""
        e, p = self.expansion, self.fraction
        shape = GPTConfig(
            vocab_size=2048,
            n_ctx=1024,
            n_layer=8,
            d_model=256 * e,
            d_mlp=1024 * e,
            n_head=16 * e,
            d_head=16,
            positions="learned",
        )
        recipe = TrainConfig(
            steps=STEPS,
            rows=ROWS,
            context=CONTEXT,
            lr=1.28e-2,
            density=p / e**2,
            embed_density=min(1.0, p / e),
            floor=FLOOR,
            anneal_stop=0.8 if e == max(EXPANSIONS) else 0.5,
            bigram_init="uniform",
            eval_every=2000,
            checkpoint_every=2000,
            log_every=100,
        )
        return Preset(data=DataConfig(vocab_size=2048), model=shape, train=recipe)


def members() -> Iterator[Member]:
    """All combinations that can be."""
    return (member for member in _combinations() if member.problem is None)


def _combinations() -> Iterator[Member]:
    return (Member(expansion, label) for expansion in EXPANSIONS for label in FRACTIONS)


def family(name: str) -> Preset:
    """The preset ``paper/EXPANSIONx`` or ``paper/EXPANSIONx-L0M``.

    Raises:
        ConfigError: there is no such model; the message says why, and what there is.
    """
    named = {f"{FAMILY}{e}x": Member(e, USUAL) for e in EXPANSIONS}
    named |= {member.name: member for member in _combinations()}
    if name not in named:
        raise ConfigError(
            f"unknown preset {name!r}; the family is {FAMILY}EXPANSIONx-L0M with an expansion of "
            f"{_listed(EXPANSIONS)} and an L0 of {_listed(FRACTIONS)} (in millions)"
        )
    member = named[name]
    if member.problem is not None:
        there = [other.label + "M" for other in members() if other.expansion == member.expansion]
        raise ConfigError(
            f"preset {name!r}: {member.problem}; at {member.expansion}x there are {_listed(there)}"
        )
    return member.preset()


def _listed(words: Iterable[object]) -> str:
    return ", ".join(map(str, words))
