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
#: Steps whose losses are compared.
CHECKED = 3
#: How far they may be apart: AbsTopK and the projection turn a rounding into another choice now and then.
TOLERANCE = 0.05

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
    with gpu.using("off"):
        right = _losses(our_step(shape, device), shape, device)
    found = _losses(our_step(shape, device), shape, device)
    error = worst(*(abs(one - other) for one, other in zip(found, right, strict=True)))
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
    yield Row(f"amortised step, M = {EVERY}, {what}", ms, amortised)


def our_step(shape: Shape, device: torch.device, every: int = 1, compiled: bool = False) -> Step:
    """The step of training, as it is."""
    model = SparseGPT(shape.config)
    data = {**train_config(shape).to_dict(), "precision": "bfloat16", "rows": shape.batch}
    config = TrainConfig.from_dict(data | ({"dense_every": every} if every > 1 else {}))
    machine = Machine(device=device.type, compile=compiled)
    worker = Worker(model, config, machine, alone(device.type))
    optimizer = worker.optimizer(_optimizer(worker.model, config))
    numbers = iter(range(MIDDLE, config.steps))

    def step(tokens: Tensor) -> float:
        return train_step(worker.model, optimizer, tokens, next(numbers), config, machine, worker).loss

    return step


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


def _losses(step: Step, shape: Shape, device: torch.device) -> list[float]:
    return [step(shape.tokens(number).to(device)) for number in range(CHECKED)]


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
