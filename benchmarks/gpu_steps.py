"""Whole training steps on a GPU: ours exact and amortised, the naive one, and a plain dense GPT's."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields

import torch
from torch import Tensor

from benchmarks import naive
from benchmarks.gpu_kernels import Plan
from benchmarks.gpu_rows import Clock, Other, Row, worst
from benchmarks.ops_steps import LEARNING_RATE, MIDDLE, Shape, train_config
from sparsecircuits.model import SparseGPT
from sparsecircuits.ops import gpu
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.devices import alone
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.step import train_step
from sparsecircuits.train.worker import Worker

#: Every how many steps the amortised one has dense gradients; so many steps are timed.
EVERY = 10
#: Steps of which losses, the gradients' RMS and the sum of the weights are compared.
CHECKED = 3
#: How far they may be apart in float32, as a share: AbsTopK and the projection turn a rounding into another
#: choice now and then. (The loss alone says little, as tokens are random: it is near log(vocabulary)
#: whatever a model computes.)
TOLERANCE = 0.01
#: It is compared on so small a share of the batch.
SHARE = 8

Step = Callable[[Tensor], float]


def steps(plan: Plan, clock: Clock) -> Iterator[Row]:
    """Rows of the first shape that all sides fit in."""
    for shape in plan.steps:
        try:
            yield from _rows(shape, plan.compiles, clock)
        except torch.OutOfMemoryError as error:
            if shape is plan.steps[-1]:
                raise
            print(f"does not fit: {shape}: {error}", file=sys.stderr)
            _free()
        else:
            return


def _rows(shape: Shape, compiles: bool, clock: Clock) -> Iterator[Row]:
    device = clock.device
    what = f"width {shape.width}, {shape.layers} layers, {shape.batch * shape.context} tokens, bfloat16"
    ways: dict[str, Callable[[], Step]] = {"naive": lambda: naive_step(shape, device, compiled=False)}
    if compiles:
        ways["naive, compiled"] = lambda: naive_step(shape, device, compiled=True)
    ways["dense GPT, compiled" if compiles else "dense GPT"] = lambda: dense_step(shape, device, compiles)
    others = {name: _ms(make(), shape, device) for name, make in ways.items()}
    rival = "naive, compiled" if compiles else "naive"
    error = _error(shape, device)
    exact = {name: Other(ms, 1.5 if name == rival else None) for name, ms in others.items()}
    yield Row(
        f"exact step, {what}", _ms(our_step(shape, device), shape, device), exact, None, error, TOLERANCE
    )
    if compiles:
        ms = _ms(our_step(shape, device, compiled=True), shape, device)
        yield Row(f"exact step, compiled, {what}", ms, {name: Other(one) for name, one in others.items()})
    if "dense_every" not in {one.name for one in fields(TrainConfig)}:
        print(f"amortised step, {what}: not built", file=sys.stderr)
        return
    amortised = {name: Other(ms, 2.0 if name == rival else None) for name, ms in others.items()}
    ms = _ms(our_step(shape, device, every=EVERY), shape, device)
    error = _error(shape, device, EVERY)
    yield Row(f"amortised step, M = {EVERY}, {what}", ms, amortised, None, error, TOLERANCE)


def our_step(
    shape: Shape,
    device: torch.device,
    every: int = 1,
    compiled: bool = False,
    precision: str = "bfloat16",
    seen: list[float] | None = None,
) -> Step:
    """The step of training, as it is; what is compared goes to ``seen``."""
    model = SparseGPT(shape.config)
    data = {**train_config(shape).to_dict(), "precision": precision, "rows": shape.batch}
    config = TrainConfig.from_dict(data | ({"dense_every": every} if every > 1 else {}))
    machine = Machine(device=device.type, compile=compiled)
    worker = Worker(model, config, machine, alone(device.type))
    optimizer = worker.optimizer(_optimizer(worker.model, config))
    numbers = iter(range(MIDDLE, config.steps))

    def step(tokens: Tensor) -> float:
        taken = train_step(worker.model, optimizer, tokens, next(numbers), config, machine, worker)
        if seen is not None:
            matrices = [one.detach() for one in worker.model.parameters() if one.ndim == 2]
            sums = [float(one.abs().sum(dtype=torch.float64)) for one in matrices]
            seen.extend((taken.loss, taken.grad_rms, *sums))
        return taken.loss

    return step


def _error(shape: Shape, device: torch.device, every: int = 1) -> float:
    """The largest difference of the first steps by the kernels from those by the definitions, as a share."""
    shape = shape._replace(batch=max(1, shape.batch // SHARE))
    right, found = [], []
    with gpu.using("off"):
        _take(our_step(shape, device, every, precision="float32", seen=right), shape, device)
    _take(our_step(shape, device, every, precision="float32", seen=found), shape, device)
    return worst(*(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(found, right, strict=True)))


def _optimizer(model: SparseGPT, config: TrainConfig) -> SparseOptimizer:
    if getattr(config, "dense_every", 1) == 1:
        return SparseOptimizer(model, config)
    from sparsecircuits.train.optimizers import optimizer_for

    return optimizer_for(model, config)


def naive_step(shape: Shape, device: torch.device, compiled: bool) -> Step:
    """The naive step; compiled are loss and gradients, since ``torch.topk`` gains nothing by it."""
    model = naive.NaiveGPT(shape.config).to(device)
    optimizer = naive.naive_optimizer(model, LEARNING_RATE)
    if compiled:
        model.compile()

    def step(tokens: Tensor) -> float:
        with torch.autocast(device.type, torch.bfloat16):
            loss = naive.naive_step(model, optimizer, tokens, density=shape.density, floor=shape.floor)
        return float(loss)

    return step


def dense_step(shape: Shape, device: torch.device, compiled: bool) -> Step:
    """The plain GPT's step."""
    model = naive.DenseGPT(
        vocab_size=shape.vocab, n_ctx=shape.context, n_layer=shape.layers, d_model=shape.width,
        d_head=min(64, shape.width),
    ).to(device)  # fmt: skip
    optimizer = naive.dense_optimizer(model, lr=1e-3)
    if compiled:
        model.compile()

    def step(tokens: Tensor) -> float:
        with torch.autocast(device.type, torch.bfloat16):
            return float(naive.dense_step(model, optimizer, tokens))

    return step


def _take(step: Step, shape: Shape, device: torch.device) -> None:
    for number in range(CHECKED):
        step(shape.tokens(number).to(device))


def _ms(step: Step, shape: Shape, device: torch.device) -> float:
    """Milliseconds a step: the mean over :data:`EVERY` of them, of three such rounds the median."""
    on_gpu = device.type == "cuda"
    batches = [shape.tokens(number).to(device) for number in range(EVERY)]
    taken = []
    for _ in range(4 if on_gpu else 1):
        begun = time.perf_counter()
        for tokens in batches if on_gpu else batches[:2]:
            step(tokens)
        if on_gpu:
            torch.cuda.synchronize()
        taken.append(1e3 * (time.perf_counter() - begun) / (EVERY if on_gpu else 2))
    _free()
    return statistics.median(taken[1:] or taken)  # the first round compiles


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
