"""What a program is, before it has a place in any model: channels by their roles, heads and neurons.

A *role* is the name of a residual channel inside one program, such as ``is quote``. A :class:`Row` is one q,
k or v channel, a :class:`Head` some rows with what its values write, a :class:`Neuron` one MLP neuron. Which
real channel, head and neuron they get is decided when the program is planted (``place``).

The role :data:`BALLAST` is the same channel for every program: it is large and constant, so that RMSNorm
divides by an almost constant number, and reading it is as good as a bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sparsecircuits.tasks.pairs import Task

BALLAST = "ballast"

#: Role -> weight.
Weights = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """A q, k or v channel: a weighted sum of what it reads, and a bias."""

    reads: Weights = field(default_factory=dict)
    bias: float = 0.0

    @property
    def live(self) -> bool:
        """Whether its value can differ from token to token; one that reads nothing but ballast cannot."""
        return bool(self.varying)

    @property
    def varying(self) -> list[str]:
        """The roles it reads, without the ballast."""
        return [role for role in self.reads if role != BALLAST]


@dataclass(frozen=True)
class Head:
    """An attention head; ``q[i]`` meets ``k[i]``, and ``v[i]`` writes ``writes[i]``."""

    layer: int
    q: tuple[Row, ...]
    k: tuple[Row, ...]
    v: tuple[Row, ...]
    writes: tuple[Weights, ...]
    sink: float
    """The logit of attending to nothing."""
    twice: bool = False
    """Planted as an OR-pair where the level has redundant copies: either head will do."""


@dataclass(frozen=True)
class Neuron:
    """An MLP neuron: gelu of what it reads, times what it writes."""

    layer: int
    reads: Weights
    writes: Weights
    twice: bool = False
    """As for a head."""


@dataclass(frozen=True)
class Program:
    """A task, and weights that do it.

    Attributes:
        name: short, as the command line takes it.
        how: one line, how the program does its task.
        task: prompt pairs over single bytes.
        embedding: character -> what it puts on the channels.
        wave: roles of a cosine and a sine of the position, if the program needs positions.
        heads, neurons: the program itself.
        unembedding: answer -> what reads it off the channels.
        shared: the channel that another program's feature may also sit on without harm.
        cancelling: two parts that read the same and write opposite things to the answer's channel: together
            nothing, one alone a shortcut. Either a head with two v channels, or two neurons.
    """

    name: str
    how: str
    task: Task
    embedding: Mapping[str, Weights]
    unembedding: Mapping[str, Weights]
    shared: str
    cancelling: Head | tuple[Neuron, Neuron]
    heads: tuple[Head, ...] = ()
    neurons: tuple[Neuron, ...] = ()
    wave: tuple[str, str] | None = None

    @property
    def roles(self) -> list[str]:
        """Every channel that it needs, the ballast aside, in the order of their first mention."""
        named = [role for weights in self.embedding.values() for role in weights]
        named += self.wave or ()
        named += [role for neuron in self.neurons for role in (*neuron.reads, *neuron.writes)]
        for head in self.heads:
            named += [role for row in (*head.q, *head.k, *head.v) for role in row.reads]
            named += [role for weights in head.writes for role in weights]
        return [role for role in dict.fromkeys(named) if role != BALLAST]
