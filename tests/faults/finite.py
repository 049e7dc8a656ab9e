"""R9: NaN and infinity are seen in the step in which they come up, named, recorded, and never saved."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from unittest import mock

import torch

from sparsecircuits.bridges import training as bridged
from sparsecircuits.bridges.training import BridgedOptimizer
from sparsecircuits.errors import PruneError
from sparsecircuits.model import SparseGPT
from sparsecircuits.prune.prune import _finite
from sparsecircuits.train import loop, optimizer, step
from sparsecircuits.train.checkpoint import find_checkpoint
from sparsecircuits.train.optimizer import SparseOptimizer
from tests.faults import tiny
from tests.faults.forks import Outcome, forked
from tests.faults.tiny import Bench

NAME = "transformer.h.0.mlp.c_fc.weight"
#: Of a bridge.
DECODER = "decoders.1.weight"
VALUES = (math.nan, math.inf, -math.inf)
#: Before which steps, from 1: in the warm-up, the annealing, at a checkpoint, after it, the last.
STEPS = (2, 8, 12, 17, 24)

Poison = Callable[[SparseGPT, SparseOptimizer, float], None]


def not_finite(bench: Bench, count: int) -> Iterator[Outcome]:
    """R9: seven places in training and the means of a pruning, at five steps each."""
    cases = [(place, at) for place in (*PLACES, "mean") for at in range(len(STEPS))]
    for case, (place, at) in enumerate(cases[:: max(1, len(cases) // count)][:count]):
        value = VALUES[(at + case) % 3]
        if place == "mean":
            yield _mean(bench, at, value)
        else:
            yield _seen(bench, place, STEPS[at], value)


def _loss(model: SparseGPT, _optimizer: SparseOptimizer, value: float) -> None:
    real = model.loss
    model.loss = lambda *words: real(*words) * value  # type: ignore[method-assign]


def _gradient(model: SparseGPT, _optimizer: SparseOptimizer, value: float) -> None:
    model.get_parameter(NAME).register_hook(lambda gradient: gradient.index_fill(0, torch.tensor([3]), value))


def _weight(model: SparseGPT, _optimizer: SparseOptimizer, value: float) -> None:
    with torch.no_grad():
        model.get_parameter(NAME)[5, 7] = value


def _moment(key: str) -> Poison:
    def poison(model: SparseGPT, optimizer: SparseOptimizer, value: float) -> None:
        optimizer.adam.state[model.get_parameter(NAME)][key][5, 7] = value

    return poison


def _bridge(_model: SparseGPT, optimizer: SparseOptimizer, value: float) -> None:
    assert isinstance(optimizer, BridgedOptimizer)
    with torch.no_grad():
        optimizer.bridge.get_parameter(DECODER)[5, 7] = value


def _bridge_moment(_model: SparseGPT, optimizer: SparseOptimizer, value: float) -> None:
    assert isinstance(optimizer, BridgedOptimizer)
    if state := optimizer.bridge_adam.state.get(optimizer.bridge.get_parameter(DECODER)):
        state["exp_avg_sq"][5, 7] = value


#: Place -> how it is poisoned, and what the message must name.
PLACES: dict[str, tuple[Poison, str]] = {
    "loss": (_loss, "loss"),
    "gradient": (_gradient, f"{NAME}.grad"),
    "weight": (_weight, NAME),
    "Adam's first moment": (_moment("exp_avg"), f"{NAME}/exp_avg"),
    "Adam's second moment": (_moment("exp_avg_sq"), f"{NAME}/exp_avg_sq"),
    "the bridge": (_bridge, f"bridge/{DECODER}"),
    "a moment of the bridge": (_bridge_moment, f"bridge/{DECODER}/exp_avg_sq"),
}


def _seen(bench: Bench, place: str, at: int, value: float) -> Outcome:
    folder, config = bench.new("poisoned"), tiny.config()
    shutil.rmtree(folder, ignore_errors=True)
    poison, tensor = PLACES[place]
    real = loop.train_step

    def poisoned(model: SparseGPT, optimizer: SparseOptimizer, *rest: object) -> object:
        if rest[1] == at - 1:
            poison(model, optimizer, value)
        return real(model, optimizer, *rest)  # type: ignore[arg-type]

    def work() -> None:
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(loop, "train_step", poisoned))
            if bench.sabotage:
                for module, name in ((step, "require_finite_loss"), (optimizer, "require_finite_gradients")):
                    stack.enter_context(mock.patch.object(module, name))
                stack.enter_context(mock.patch.object(optimizer, "alarm", return_value=False))
                stack.enter_context(mock.patch.object(bridged, "alarm", return_value=False))
            bench.train(folder, config, kind="bridged" if "bridge" in place else "sparse")

    ended, name = forked(work), f"{value} in {place}, step {at}"
    if ended.code != 2 or f"step {at}: {tensor} is " not in ended.said:
        return Outcome(name, False, f"exit code {ended.code}: {ended.said[-300:]}")
    run = tiny.open_run(folder)
    metrics = (folder / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line, parse_constant=_refuse) for line in metrics]
    events = [row for row in lines if row.get("event") == "diverged"]
    if [(row["step"], row["tensor"]) for row in events] != [(at, tensor)]:
        return Outcome(name, False, f"recorded: {events}")
    saved = max(tiny.whole_checkpoints(folder), default=0)
    if saved >= at or (run.metrics() and run.metrics()[-1]["step"] != at - 1):
        return Outcome(name, False, f"saved at {saved}, metrics to {run.metrics()[-1]['step']}")
    for which in tiny.whole_checkpoints(folder):
        state = run.model(find_checkpoint(run.checkpoints, which).step).state_dict()
        if not all(tensor.isfinite().all() for tensor in state.values()):
            return Outcome(name, False, f"the checkpoint of step {which} holds what is not finite")
    return Outcome(name, True)


def _mean(bench: Bench, at: int, value: float) -> Outcome:
    means = {"0.mlp.post_act": torch.zeros(64), "0.attn.q": torch.zeros(16)}
    means["0.mlp.post_act"][at] = value
    name = f"{value} in the mean of 0.mlp.post_act.{at}"
    try:
        if not bench.sabotage:
            _finite(means)
    except PruneError as error:
        return Outcome(name, f"0.mlp.post_act.{at}" in str(error), str(error))
    return Outcome(name, False, "taken")


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
