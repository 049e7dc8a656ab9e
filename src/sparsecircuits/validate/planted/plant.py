"""Planted models: a program whose circuit is known, among others whose circuits are not asked for.

The steps:

1. an empty model; the program asked for and three others get channels, heads and neurons of their own, in an
   order that the seed shuffles;
2. from level 2 on, decoys: two nodes that read the same and write opposite things to the answer's channel
   (one alone is a shortcut that the model as a whole does not take), and a redundant copy of a part (either
   copy will do);
3. at level 3 one of the other programs has its feature on a channel of the program asked for, and AbsTopK
   keeps only the larger 60% of every site;
4. noise wherever there is room.

A model is a pure function of (program, seed, level) and takes milliseconds; none is stored.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.tasks.pairs import Task
from sparsecircuits.validate.planted.noise import add_noise
from sparsecircuits.validate.planted.place import (
    Channels,
    Places,
    empty_model,
    put_head,
    put_neuron,
    put_program,
)
from sparsecircuits.validate.planted.program import BALLAST, Head, Program
from sparsecircuits.validate.planted.programs import N_CTX, PROGRAMS, get_program
from sparsecircuits.validate.planted.texts import byte_tokenizer, corpus
from sparsecircuits.validate.planted.truth import Truth

#: Level -> what is planted beside the program.
LEVELS = {
    1: "three other programs, and noise on what is left",
    2: "also a cancelling pair and redundant copies",
    3: "also another program on one of its channels, and AbsTopK",
}
#: Seeds of the full set: 5 programs x 8 seeds x 3 levels = 120 models.
SEEDS = 8
#: Other programs in each model.
OTHERS = 3
#: AbsTopK's fraction at level 3.
TOPK = 0.6


@dataclass(frozen=True, eq=False)
class PlantedModel:
    """A model and what is known about it.

    Attributes:
        program: the one whose circuit is asked for.
        seed, level: which of its models.
        model: with the program, others, decoys and noise.
        truth: the program's circuit.
        channels: role -> channel of the program.
    """

    program: Program
    seed: int
    level: int
    model: SparseGPT
    truth: Truth
    channels: Channels

    @property
    def task(self) -> Task:
        """What the program does."""
        return self.program.task

    @property
    def tokenizer(self) -> Tokenizer:
        """One token per byte, the same for all."""
        return byte_tokenizer()

    @property
    def corpus(self) -> np.ndarray:
        """[tokens] what frozen values are averaged over, the same for all."""
        return corpus()


def planted_models(
    programs: Iterable[str] = tuple(PROGRAMS),
    seeds: Iterable[int] = range(SEEDS),
    levels: Iterable[int] = tuple(LEVELS),
) -> Iterator[PlantedModel]:
    """Make models one after the other, by program, level and seed; see :func:`plant` for errors."""
    seeds, levels = tuple(seeds), tuple(levels)
    return (plant(name, seed, level) for name in programs for level in levels for seed in seeds)


def plant(name: str, seed: int = 0, level: int = 1) -> PlantedModel:
    """Make one model.

    Raises:
        ConfigError: an unknown program or level.
    """
    program = get_program(name)
    if level not in LEVELS:
        raise ConfigError(f"no level {level}; known: {', '.join(map(str, LEVELS))}")
    rng = random.Random(f"planted {name} {seed}")
    config = GPTConfig(
        vocab_size=byte_tokenizer().vocab_size,
        n_ctx=N_CTX,
        n_layer=2,
        d_model=40,
        d_head=4,
        n_head=6,
        d_mlp=24,
        topk_fraction=TOPK if level == 3 else None,
        positions="learned",
        bigram=False,
    )
    places = Places(config, rng)
    guest, *rest = _others(program, rng)
    ballast = places.channels.pop(0)
    model = empty_model(config, ballast)
    channels = places.channels_for(program, {BALLAST: ballast})
    minimal = put_program(model, places, program, channels, twice=level >= 2)
    for other in (guest, *rest):
        shares = level == 3 and other is guest
        given = {other.shared: channels[program.shared]} if shares else {}
        put_program(model, places, other, places.channels_for(other, {BALLAST: ballast, **given}))
    cancelling = (_put_cancelling(model, places, program, channels),) if level >= 2 else ()
    add_noise(model, places, ballast, torch.Generator().manual_seed(rng.getrandbits(62)))
    return PlantedModel(program, seed, level, model, Truth(minimal, cancelling), channels)


def _others(program: Program, rng: random.Random) -> list[Program]:
    """Programs to plant beside; the first is the one that shares a channel at level 3."""
    guest = "bigram" if program.name != "bigram" else "variable"
    left = [other for name, other in PROGRAMS.items() if name not in (program.name, guest)]
    return [PROGRAMS[guest], *rng.sample(left, OTHERS - 1)]


def _put_cancelling(
    model: SparseGPT, places: Places, program: Program, channels: Channels
) -> tuple[Node, Node]:
    """Write the pair that cancels; its two nodes."""
    if isinstance(program.cancelling, Head):
        part = put_head(model, places, program.cancelling, channels)
        one, other = sorted(node for node in part.nodes if node.site == "attn.v")
    else:
        parts = [put_neuron(model, places, neuron, channels) for neuron in program.cancelling]
        one, other = sorted(node for part in parts for node in part.nodes if node.site == "mlp.post_act")
    return one, other
