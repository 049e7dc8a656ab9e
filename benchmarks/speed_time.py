"""Milliseconds of every kind of step, and from them the seconds of a training: ``speed.py --part time``.

A long training's wall clock says more about what else the machine does than about the training. So steps are
timed, the kinds in turn, and the seconds of a training are the sum of its steps' times. A step's time depends
on how many weights are left: a :class:`Profile` holds, for one model, three kinds of step at several
densities, between which it is read off on straight lines:

- the exact step;
- of an amortised training (:mod:`sparsecircuits.train.amortised`), a step with gradients of all weights;
- and one between two such. Where no matrix has joined yet, it is an exact step.

What is timed are the training's own steps at densities held constant, on fresh random tokens each. The clock
is the process's CPU time: with one thread, the wall clock of a machine that does nothing else.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor

from benchmarks import naive, ops_steps
from benchmarks.ops_steps import MIDDLE, Shape, Training
from benchmarks.speed_shapes import DenseShape
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import RunConfig, TrainConfig
from sparsecircuits.train.optimizer import PATTERNS_BELOW
from sparsecircuits.train.optimizers import optimizer_for
from sparsecircuits.train.projection import project, sparse_matrices
from sparsecircuits.train.schedules import densities_at

#: Of the amortised training whose dense steps and others are timed one by one.
CYCLE = 5
#: Densities at which steps are timed, beside 1 and the target.
BETWEEN = (0.5, 0.2, 0.06, 0.02)


@dataclass(frozen=True)
class Profile:
    """Milliseconds of one model's steps at falling densities."""

    densities: tuple[float, ...]
    exact: tuple[float, ...]
    dense: tuple[float, ...]
    between: tuple[float, ...]

    def step_ms(self, density: float, every: int) -> float:
        """Of one step, with ``dense_every`` above 1 the mean over a cycle."""
        if every == 1 or density > PATTERNS_BELOW:
            return self._at(self.exact, density)
        dense, between = self._at(self.dense, density), self._at(self.between, density)
        return (dense + (every - 1) * between) / every

    def seconds(self, recipe: TrainConfig) -> float:
        """Of a training: all of its steps' times."""
        every = recipe.dense_every
        steps = (self.step_ms(densities_at(step, recipe).matrices, every) for step in range(recipe.steps))
        return sum(steps) / 1e3

    def _at(self, times: tuple[float, ...], density: float) -> float:
        """On straight lines between the densities; beyond the ends, as at the end."""
        pairs = list(zip(self.densities, times, strict=True))
        if density >= pairs[0][0]:
            return pairs[0][1]
        for (high, above), (low, below) in zip(pairs, pairs[1:], strict=False):
            if density >= low:
                return below + (above - below) * (density - low) / (high - low)
        return pairs[-1][1]

    def to_json(self) -> dict[str, list[float]]:
        """Plain lists; the inverse is :meth:`from_json`."""
        return {key: list(values) for key, values in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Iterable[float]]) -> Profile:
        """The inverse of :meth:`to_json`."""
        return cls(**{key: tuple(values) for key, values in data.items()})


class Rounds(NamedTuple):
    """How often each kind of step is timed."""

    cycles: int = 2
    """Rounds of whole cycles of all kinds, at the goal's shape."""
    points: int = 2
    """Rounds at each density of a profile."""
    dense: int = 6
    """Rounds of the dense models, two steps each."""
    warmup: int = 1
    """Untimed rounds before."""


class TimePlan(NamedTuple):
    """What is timed."""

    goal: Shape
    every: tuple[int, ...]
    candidates: tuple[int, float]
    """An M, and candidates for each kept weight, for one more amortised training."""
    configs: dict[str, RunConfig]
    """Of each scale, for its profile."""
    shapes: dict[str, tuple[DenseShape, ...]]
    """Of each scale, the dense models."""
    rounds: Rounds


def measure(plan: TimePlan) -> dict[str, Any]:
    """Time everything; plain data."""
    goal = cycles(plan.goal, plan.every, plan.candidates, plan.rounds)
    profiles = {name: profile(config, plan.rounds).to_json() for name, config in plan.configs.items()}
    dense = {name: dense_times(shapes, plan.rounds) for name, shapes in plan.shapes.items()}
    return {"goal": goal, "profiles": profiles, "dense": dense}


# --- A goal's shape: whole cycles side by side ---


def cycles(
    shape: Shape, every: tuple[int, ...], candidates: tuple[int, float], rounds: Rounds
) -> dict[str, Any]:
    """Milliseconds a step of the naive, the exact, the amortised and a plain dense GPT's training.

    Args:
        shape: of all models.
        every: M of each amortised training; its figure is the mean over a whole cycle.
        candidates: an M, and a number of candidates, for one more.
        rounds: of all of them in turn.

    Returns:
        Names to milliseconds a step, a list with one for each round.
    """
    model = SparseGPT(shape.config)
    ops_steps.sparsify(model, shape.density, shape.floor)
    kinds: dict[str, tuple[Training, int]] = {
        "naive": (ops_steps.naive_training(shape, model), 1),
        "exact": (amortised_training(shape, model, ops_steps.train_config(shape)), 3),
        "dense": (ops_steps.dense_training(shape, compiled=False), 1),
    }
    for number, more in (*((one, 0.0) for one in every), candidates):
        recipe = ops_steps.train_config(shape).replace(dense_every=number, candidates=more)
        name = f"m{number}" + f"_c{more:g}" * bool(more)
        kinds[name] = (amortised_training(shape, model, recipe), number)
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds.warmup + rounds.cycles):
        for name, (training, steps) in kinds.items():
            found = statistics.fmean(timed(training, steps))
            if number >= rounds.warmup:
                taken[name].append(found)
    return {"shape": shape._asdict(), "ms": taken}


def amortised_training(shape: Shape, like: SparseGPT, recipe: TrainConfig) -> Training:
    """A copy of the model under the recipe's own optimizer, from a step on that every M divides."""
    model = copy.deepcopy(like)
    optimizer = optimizer_for(model, recipe)
    number = MIDDLE

    def step(tokens: Tensor) -> Tensor:
        nonlocal number
        optimizer.begin(number)
        loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        optimizer.step(number)
        number += 1
        return loss.detach()

    return Training(shape, step)


def timed(training: Training, steps: int) -> list[float]:
    """Milliseconds of each of the next steps, the drawing of tokens left out."""
    found = []
    for _ in range(steps):
        training.prepare()
        begun = time.process_time()
        training.run()
        found.append(1e3 * (time.process_time() - begun))
    return found


# --- A profile ---


def profile(config: RunConfig, rounds: Rounds) -> Profile:
    """Time the config's three kinds of step, from dense down to its own density."""
    target = config.train.density
    points = [1.0, *(density for density in BETWEEN if density > target), target]
    rows = [_point(config, density, rounds) for density in points]
    exact, dense, between = zip(*rows, strict=True)
    return Profile(tuple(points), exact, dense, between)


def _point(config: RunConfig, density: float, rounds: Rounds) -> tuple[float, float, float]:
    recipe = held(config.train, density)
    shape = shape_of(config)
    model = SparseGPT(config.model)
    project(sparse_matrices(model, recipe.floor), densities_at(MIDDLE, recipe))
    exact = amortised_training(shape, model, recipe)
    amortised = amortised_training(shape, model, recipe.replace(dense_every=CYCLE))
    taken: list[list[float]] = [[], [], []]
    for number in range(rounds.warmup + rounds.points):
        alone = timed(exact, 2)
        first, *others = timed(amortised, CYCLE)
        if number >= rounds.warmup:
            for found, new in zip(taken, (alone, [first], others), strict=True):
                found.extend(new)
    alone, dense, between = map(statistics.median, taken)
    return alone, dense, between


def held(recipe: TrainConfig, density: float) -> TrainConfig:
    """The recipe with densities that do not change: the matrices' as given, the embeddings' to match."""
    target = recipe.density if recipe.embed_density is None else recipe.embed_density
    way = 0.0 if recipe.density == 1 else (1 - density) / (1 - recipe.density)
    return recipe.replace(
        steps=ops_steps.STEPS, density=density, embed_density=1 - way * (1 - target), warmup=0.0,
        anneal_start=0.0, anneal_stop=0.0, decay="constant",
    )  # fmt: skip


def shape_of(config: RunConfig) -> Shape:
    """What the random tokens are drawn by."""
    model, recipe = config.model, config.train
    return Shape(
        width=model.d_model, layers=model.n_layer, batch=recipe.rows, context=config.context,
        density=recipe.density, vocab=model.vocab_size, floor=recipe.floor, d_head=model.d_head,
    )  # fmt: skip


# --- Dense models ---


def dense_times(shapes: Iterable[DenseShape], rounds: Rounds) -> dict[str, float]:
    """Milliseconds a step of each dense model, by its name; the median over rounds of all in turn."""
    trainings = {shape.name: _dense_training(shape) for shape in shapes}
    taken: dict[str, list[float]] = {name: [] for name in trainings}
    for number in range(rounds.warmup + rounds.dense):
        for name, training in trainings.items():
            found = timed(training, 2)
            if number >= rounds.warmup:
                taken[name] += found
    return {name: statistics.median(found) for name, found in taken.items()}


def _dense_training(shape: DenseShape) -> Training:
    config = shape.run(steps=ops_steps.STEPS, lr=1e-3)
    drawn = shape_of(config)
    if shape.family != "plain":
        return amortised_training(drawn, SparseGPT(config.model), config.train)
    model = shape.plain()
    optimizer = naive.dense_optimizer(model, config.train.lr)
    return Training(drawn, lambda tokens: naive.dense_step(model, optimizer, tokens))
