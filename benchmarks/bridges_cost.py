"""What a bridge costs: time and memory of a step at several depths, in fresh processes.

Held against each other: the sparse model alone; with a bridge, whose hybrids' gradients are taken location by
location, as training does; that with four random mixtures; and all hybrids in one graph, as the losses are
written down.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.config import BridgeConfig
from sparsecircuits.bridges.losses import add_gradients, crossing
from sparsecircuits.bridges.sides import side_of, sublayers, traced
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.ops.memory import keep_freed_memory
from sparsecircuits.presets import demo
from sparsecircuits.train import TrainConfig
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.peak import Peak

DEPTHS = (2, 4, 8)
WAYS = ("alone", "bridged", "mixtures", "one graph")
ROWS = 16
#: A batch, of the way with mixtures.
MIXTURES = 4


class Cost(NamedTuple):
    """Of the gradients of a step."""

    seconds: float
    """The median of some."""
    megabytes: float
    """At the peak, beyond what was held before."""


def measure(depth: int, way: str) -> Cost:
    """In a process of its own."""
    words = [sys.executable, "-m", "benchmarks.bridges_cost", "--depth", str(depth), "--way", way]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return Cost(*json.loads(done.stdout))


def measure_here(depth: int, way: str, steps: int = 5) -> Cost:
    """In this process."""
    torch.set_num_threads(1)
    keep_freed_memory()
    gradients, tokens = step_of(depth, way), _tokens(demo().model)
    peak, seconds = Peak(torch.device("cpu")), []
    for _ in range(steps + 2):
        began = time.process_time()
        with peak.watching(ROWS * demo().model.n_ctx):
            gradients(tokens)
        seconds.append(time.process_time() - began)
    grown = (peak.per_token or 0.0) * ROWS * demo().model.n_ctx
    return Cost(statistics.median(seconds[2:]), grown / 1e6)


def step_of(depth: int, way: str) -> Callable[[Tensor], None]:
    """What adds the gradients of a batch: the demo's models, but so deep, at the final density."""
    shape = demo().model.replace(n_layer=depth)
    model, other = SparseGPT(shape), SparseGPT(shape, seed=1).requires_grad_(False).eval()
    recipe = demo().train.replace(anneal_start=0.0, anneal_stop=0.0)
    _made_sparse(model, recipe)
    sparse, dense = side_of(model), side_of(other)
    bridge, config = Bridge(dense.d_model, sparse.d_model, sublayers(dense) + 1, 0.25), BridgeConfig()
    if way == "alone":
        return lambda tokens: model.loss(tokens[:, :-1], tokens[:, 1:]).backward()
    if way in ("bridged", "mixtures"):
        config = config.replace(mixtures=MIXTURES if way == "mixtures" else 0)
        generator = torch.Generator().manual_seed(0)

        def by_location(tokens: Tensor) -> None:
            add_gradients(dense, sparse, bridge, tokens, config, generator=generator)

        return by_location

    def in_one_graph(tokens: Tensor) -> None:
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        with torch.no_grad():
            there = traced(dense, inputs)
            wanted = there.logits.log_softmax(-1)
        here = traced(sparse, inputs)
        total = F.cross_entropy(here.logits.flatten(0, 1), targets.flatten())
        for index in range(len(bridge)):
            streams = there.stream[index], here.stream[index]
            total = total + sum(crossing(dense, sparse, bridge, *streams, index, inputs, wanted))
        total.backward()

    return in_one_graph


def _made_sparse(model: SparseGPT, recipe: TrainConfig) -> None:
    """As after a step at the final density, with the sparse kernels' patterns."""
    optimizer = SparseOptimizer(model, recipe)
    tokens = _tokens(model.config)
    model.loss(tokens[:, :-1], tokens[:, 1:]).backward()
    optimizer.step(recipe.steps // 2)


def _tokens(config: GPTConfig) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(config.vocab_size, (ROWS, config.n_ctx + 1), generator=generator)


if __name__ == "__main__":
    words = argparse.ArgumentParser()
    words.add_argument("--depth", type=int, required=True)
    words.add_argument("--way", choices=WAYS, required=True)
    asked = words.parse_args()
    print(json.dumps(measure_here(asked.depth, asked.way)))
