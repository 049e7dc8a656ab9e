"""Whole training steps, their growth with width and density, and decoding.

Every training step takes fresh random tokens, the same sequence on every side, so that no model learns one
batch by heart and its gradients fade.
"""

from __future__ import annotations

import copy
import itertools
import statistics
import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import naive
from benchmarks.ops_timing import Effort, Measured, Point, Row, Side, compare, percent, time_sides
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model.cache import KVCache
from sparsecircuits.model.layers import Linear
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.projection import project, sparse_matrices
from sparsecircuits.train.schedules import Densities

LEARNING_RATE = 1e-2
#: The step whose rate and densities are used; nothing changes during the run.
STEPS, MIDDLE = 1000, 500
#: Steps over which the losses of the naive model and ours are compared.
CHECKED_STEPS = 3
#: A relative change of weights of about one rounding.
NUDGE = 1e-7
#: Numbers in the array whose copy gives the bandwidth: 256 MB, more than any cache holds.
LARGE = 2**26


class Shape(NamedTuple):
    """A model and its batches."""

    width: int
    layers: int
    batch: int
    context: int
    density: float
    vocab: int = 2048
    floor: int = 4
    d_head: int = 16

    @property
    def config(self) -> GPTConfig:
        """Of the sparse models."""
        return GPTConfig(
            vocab_size=self.vocab,
            n_ctx=self.context,
            n_layer=self.layers,
            d_model=self.width,
            d_head=self.d_head,
        )

    def tokens(self, number: int) -> Tensor:
        """[batch, pos + 1]: batch ``number`` of the sequence that all sides see."""
        generator = torch.Generator().manual_seed(number)
        return torch.randint(self.vocab, (self.batch, self.context + 1), generator=generator)


class Training:
    """A model that trains on the shape's batches, one after the other."""

    def __init__(self, shape: Shape, step: Callable[[Tensor], Tensor]) -> None:
        self.shape, self._step = shape, step
        self._numbers = itertools.count()
        self._tokens = torch.empty(0)

    def prepare(self) -> None:
        """Draw the next batch."""
        self._tokens = self.shape.tokens(next(self._numbers))

    def run(self) -> Tensor:
        """Take a step on it; returns the loss before."""
        return self._step(self._tokens)

    def losses(self, count: int) -> list[float]:
        """Those of the next ``count`` steps."""
        found = []
        for _ in range(count):
            self.prepare()
            found.append(float(self.run()))
        return found

    @property
    def side(self) -> Side:
        """To be timed."""
        return Side(self.run, self.prepare)


def our_training(shape: Shape, model: SparseGPT) -> Training:
    """Our exact step with densities at their target and a constant rate."""
    optimizer = SparseOptimizer(model, train_config(shape))

    def step(tokens: Tensor) -> Tensor:
        loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        optimizer.step(MIDDLE)
        return loss.detach()

    return Training(shape, step)


def train_config(shape: Shape) -> TrainConfig:
    """At :data:`MIDDLE` the rate is :data:`LEARNING_RATE` and all densities are at their target."""
    return TrainConfig(
        steps=STEPS, lr=LEARNING_RATE, decay="constant", density=shape.density, floor=shape.floor,
        warmup=0, anneal_start=0, anneal_stop=0,
    )  # fmt: skip


def naive_training(shape: Shape, like: SparseGPT) -> Training:
    """The naive step from the weights of ``like``."""
    model = naive.NaiveGPT(shape.config)
    model.load_state_dict(like.state_dict())
    optimizer = naive.naive_optimizer(model, LEARNING_RATE)
    return Training(
        shape,
        lambda tokens: naive.naive_step(model, optimizer, tokens, density=shape.density, floor=shape.floor),
    )


def dense_training(shape: Shape, compiled: bool) -> Training:
    """The plain GPT's step, as it is or under ``torch.compile``."""
    model = naive.DenseGPT(
        vocab_size=shape.vocab, n_ctx=shape.context, n_layer=shape.layers, d_model=shape.width,
        d_head=min(64, shape.width),
    )  # fmt: skip
    optimizer = naive.dense_optimizer(model, lr=1e-3)
    used: nn.Module = torch.compile(model) if compiled else model  # type: ignore[assignment]
    return Training(shape, lambda tokens: naive.dense_step(used, optimizer, tokens))


def step(shape: Shape, goals: tuple[float, float], compiles: bool, effort: Effort) -> Measured:
    """The exact step against the naive one and against the better of two dense ones.

    Args:
        shape: of all models.
        goals: against the naive step, against the dense one.
        compiles: whether to try ``torch.compile`` too.
        effort: of all of them together.
    """
    model = SparseGPT(shape.config)
    sparsify(model, shape.density, shape.floor)
    runs = {"naive": naive_training(shape, model), "ours": our_training(shape, model)}
    runs["dense, eager"] = dense_training(shape, compiled=False)
    if compiles and (compiled := _compiled(shape)):
        runs["dense, compiled"] = compiled
    times = time_sides({name: run.side for name, run in runs.items()}, effort)
    dense = sorted(
        (name for name in times if "dense" in name), key=lambda name: statistics.median(times[name])
    )
    what = f"sparse step, width {shape.width}"
    found = [
        compare(f"{what}: naive step / ours", times["ours"], times["naive"], goals[0]),
        compare(f"{what}: dense step, the better / ours", times["ours"], times[dense[0]], goals[1]),
    ]
    found += [compare(f"{what}: {name} / ours", times["ours"], times[name], None) for name in sorted(dense)]
    return Measured(found)


def losses(shape: Shape) -> Measured:
    """How far the losses of our steps and the naive ones are apart, from equal dense weights.

    AbsTopK and the projection turn a difference in the last bit into another choice now and then; so beside
    it stands how far the naive step is from itself when its weights change by :data:`NUDGE`.
    """
    model = SparseGPT(shape.config)
    nudged = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in nudged.parameters():
            parameter.mul_(1 + NUDGE * torch.randn_like(parameter))
    expected = naive_training(shape, model).losses(CHECKED_STEPS)
    itself = naive_training(shape, nudged).losses(CHECKED_STEPS)
    ours = our_training(shape, model).losses(CHECKED_STEPS)

    def largest(found: list[float]) -> float:
        return max(abs(a - b) for a, b in zip(found, expected, strict=True))

    what = f"sparse step, width {shape.width}: largest difference of loss"
    after = f"over {CHECKED_STEPS} steps"
    return Measured(
        [
            Row(f"{what} from the naive step {after}", largest(ours), 1e-3, "min"),
            Row(
                f"{what} of naive steps {after} when weights change by {NUDGE:g}",
                largest(itself),
                None,
                "min",
            ),
        ]
    )


def _compiled(shape: Shape) -> Training | None:
    """The dense step, compiled by its first two steps; None, said aloud, where that fails."""
    run = dense_training(shape, compiled=True)
    try:
        run.losses(2)
    except RuntimeError as error:  # also what Dynamo and Inductor raise
        print(f"no compiled dense step: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    return run


def growth(shape: Shape, densities: list[float], judged: bool, effort: Effort) -> Measured:
    """Step times of one width at falling densities, and the two floors.

    Args:
        shape: with any density and floor.
        densities: from the highest down.
        judged: whether the lowest density's time over the larger floor is a figure.
        effort: of each density.
    """
    model, large = SparseGPT(shape.config), torch.ones(LARGE)
    other = large.clone()  # written before, so that a copy into it costs no page faults
    steps: dict[float, list[float]] = {}
    floors: dict[str, list[float]] = {}
    shapes: list[Shape] = []
    for density in densities:
        at = shape._replace(density=density, floor=4 if density >= 4 / shape.width else 0)
        run = our_training(at, model)
        sparsify(model, density, at.floor)
        sides = {"step": run.side}
        if density == densities[-1]:
            copy_large = Side(lambda: other.copy_(large))
            sides |= {"products": dense_products(model, shape), "bytes": copy_large}
        times = time_sides(sides, effort)
        steps[density], shapes = times.pop("step"), [*shapes, at]
        floors |= times
    floors["bytes"] = [arrays_moved(model, large) * time for time in floors["bytes"]]
    products, moved = (statistics.median(floors[name]) for name in ("products", "bytes"))
    points = [
        Point(at.width, at.density, at.floor, statistics.median(steps[at.density]), products, moved)
        for at in shapes
    ]
    if not judged:
        return Measured([], points)
    larger = floors["products" if products > moved else "bytes"]
    name = f"step time over the larger floor at width {shape.width}, {percent(densities[-1])}"
    return Measured([compare(name, steps[densities[-1]], larger, 2, "min")], points)


def dense_products(model: SparseGPT, shape: Shape) -> Side:
    """The gradients of all matrices but the embedding, as dense products, and nothing else."""
    tokens = shape.batch * shape.context
    sizes = [tuple(module.weight.shape) for module in model.modules() if isinstance(module, nn.Linear)]
    factors = {size: tuple(torch.randn(tokens, side) for side in size) for size in sizes}

    def run() -> None:
        for size in sizes:
            grad, x = factors[size]
            torch.mm(grad.t(), x)

    return Side(run)


def arrays_moved(model: SparseGPT, large: Tensor) -> float:
    """Parameters, gradients and two moments, each read and written once, in copies of ``large``."""
    return 4 * sum(parameter.numel() for parameter in model.parameters()) / large.numel()


def sparsify(model: SparseGPT, density: float, floor: int) -> None:
    """Project every matrix, and let the layers know their patterns."""
    project(sparse_matrices(model, floor), Densities(density, density))
    for module in model.modules():
        if isinstance(module, Linear):
            module.find_pattern()


class Decoding:
    """One token at a time with a cache, after a prompt."""

    def __init__(self, model: SparseGPT, prompt: Tensor, following: Tensor) -> None:
        self.model, self.prompt, self.following = model, prompt, following
        self.logits = torch.empty(0)

    @torch.no_grad()
    def prepare(self) -> None:
        """Read the prompt into a new cache."""
        self.cache = KVCache(self.model.config)
        self.model(self.prompt, cache=self.cache)

    @torch.no_grad()
    def run(self) -> None:
        """Run the following tokens, each alone."""
        for token in self.following:
            self.logits = self.model(token.view(1, 1), cache=self.cache)


def decoding(shape: Shape, prompt: int, count: int, effort: Effort) -> Measured:
    """Milliseconds a token of the sparse form against the same model with dense matrices."""
    model = SparseGPT(shape.config)
    project(sparse_matrices(model, shape.floor), Densities(shape.density, shape.density))
    tokens = shape.tokens(0).flatten()[: prompt + count]
    before, after = tokens[None, :prompt], tokens[prompt:]
    runs = {"ours": Decoding(model.to_sparse(), before, after), "dense": Decoding(model, before, after)}
    times = time_sides({name: Side(run.run, run.prepare) for name, run in runs.items()}, effort)
    torch.testing.assert_close(runs["ours"].logits, runs["dense"].logits, rtol=1e-3, atol=1e-3)
    each = {name: [time / count for time in taken] for name, taken in times.items()}
    name = f"decoding a token, width {shape.width}, {percent(shape.density)} kept: dense / ours"
    return Measured([compare(name, each["ours"], each["dense"], 4)])
