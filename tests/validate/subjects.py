"""Planted models put to the test: the true circuit is known, and so is what each test must say."""

from __future__ import annotations

import functools

from sparsecircuits.circuit import Circuit
from sparsecircuits.prune import pretraining_means
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.validate.planted import PlantedModel, plant
from sparsecircuits.validate.subject import Subject

#: Programs to try a test on: one of heads and neurons, one of two hops, one without attention.
PROGRAMS = ("quote", "depth", "variable", "induction", "bigram")


@functools.cache
def planted(name: str = "quote", seed: int = 0, level: int = 1) -> PlantedModel:
    """The model, made once."""
    return plant(name, seed, level)


@functools.cache
def truth(name: str = "quote", seed: int = 0, level: int = 1, *, union: bool = True) -> Circuit:
    """Its true circuit: with all redundant copies (``union``), or the first of the smallest ones."""
    model = planted(name, seed, level)
    means = pretraining_means(model.model, model.corpus, count=2048)
    part = model.truth.union if union else model.truth.minimal[0]
    return Circuit(model.task.name, part.nodes, means)


def subject(
    name: str = "quote", seed: int = 0, level: int = 1, *, circuit: Circuit | None = None, pairs: int = 32
) -> Subject:
    """The true circuit, or another one of its model, under test on ``pairs`` held-out pairs."""
    model = planted(name, seed, level)
    return Subject.of(
        model.model,
        truth(name, seed, level) if circuit is None else circuit,
        model.task,
        model.tokenizer,
        model.corpus,
        pairs=pairs,
        config=PruneConfig(objective="task"),
    )
