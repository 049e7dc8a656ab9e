"""A corpus and runs that train in a fraction of a second, and what must be equal after faults."""

from __future__ import annotations

import hashlib
import json
import os
import random
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sparsecircuits.bridges.config import BridgeConfig
from sparsecircuits.bridges.dense import DenseModel
from sparsecircuits.bridges.files import BRIDGE_FILE
from sparsecircuits.bridges.training import Bridged
from sparsecircuits.data.shards import Corpus, DataConfig, build_corpus
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.train import Machine, Progress, Run, RunConfig, TrainConfig, load_run, train
from sparsecircuits.train.checkpoint import find_checkpoint, found_checkpoints, latest_checkpoint
from sparsecircuits.train.method import Alone, Method
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.run import TIMING
from tests.faults.forks import forked

DATA = DataConfig(mix={"idioms": 1.0}, vocab_size=300, train_tokens=4000, val_tokens=600)
MODEL = GPTConfig(vocab_size=300, n_ctx=8, n_layer=1, d_model=16, d_head=8)
#: Annealing over steps 6 to 12 of 24, the rate falls to the end; checkpoints at 4, 8, 12, ...
RECIPE = TrainConfig(
    steps=24,
    rows=2,
    density=1 / 4,
    embed_density=1 / 2,
    warmup=0.1,
    anneal_start=0.25,
    anneal_stop=0.5,
    eval_every=6,
    eval_tokens=256,
    checkpoint_every=4,
    log_every=1,
)
KINDS = ("sparse", "dense", "bridged")
#: Of the dense model that a bridged run has beside it.
DENSE = MODEL.replace(d_model=24)


def config(kind: str = "sparse", seed: int = 0, **changes: Any) -> RunConfig:
    """A sparse run, its dense twin; a bridged one is sparse, and has a method of its own."""
    dense = {"density": 1.0, "embed_density": None} if kind == "dense" else {}
    return RunConfig(model=MODEL, train=RECIPE.replace(seed=seed, **dense, **changes))


def method(kind: str, config: RunConfig) -> Method:
    """How a kind of run is trained."""
    if kind != "bridged":
        return Alone()
    dense = DenseModel.of(SparseGPT(DENSE, seed=9))
    return Bridged(dense, BridgeConfig(mixtures=1, lr=1e-2), config)


class Bench(NamedTuple):
    """Where the cases of a fault work, and what they share."""

    folder: Path
    corpus: Corpus
    sabotage: bool
    """Whether the code is to be broken on purpose, so that the cases must notice."""

    def new(self, name: str) -> Path:
        """A folder that is not there yet."""
        return self.folder / name

    @classmethod
    def open(cls, folder: Path, sabotage: bool = False) -> Bench:
        """Build the corpus, in a process of its own, so that no thread of it is left in this one."""
        if not (folder / "corpus").is_dir():
            built = forked(lambda: None if build_corpus(DATA, folder / "corpus") else 1)
            assert built.code == 0, built.said
        return cls(folder, Corpus.open(folder / "corpus"), sabotage)

    def straight(self, config: RunConfig, kind: str = "sparse") -> Fingerprint:
        """What a run ends with that nothing stopped."""
        told = json.dumps(config.to_dict(), sort_keys=True)
        return _straight(self.folder, self.corpus.folder, told, kind == "bridged")

    def train(
        self,
        folder: Path,
        config: RunConfig,
        watch: Callable[[Progress], None] | None = None,
        machine: Machine | None = None,
        kind: str = "sparse",
    ) -> None:
        """Train; every process has other global generators, on which nothing may depend."""
        torch.manual_seed(os.getpid())
        random.seed(os.getpid())
        np.random.seed(os.getpid())  # noqa: NPY002
        train(config, self.corpus, folder, watch, machine, method=method(kind, config))


class Fingerprint(NamedTuple):
    """SHA-256 of everything that a finished run may not differ in."""

    weights: str
    bridge: str
    moments: str
    metrics: str
    result: str

    def difference(self, other: Fingerprint) -> str:
        """Which of them differ; nothing if none does."""
        return ", ".join(name for name in self._fields if getattr(self, name) != getattr(other, name))


def fingerprint(folder: Path) -> Fingerprint:
    """Of a finished run: its model, the last checkpoint's moments, metrics and result, but for times."""
    run = load_run(folder)
    rows = [{key: value for key, value in row.items() if key not in TIMING} for row in run.metrics()]
    result = {key: value for key, value in (run.result() or {}).items() if key != "seconds"}
    last = find_checkpoint(run.checkpoints, run.config.train.steps)
    bridge = folder / "model" / BRIDGE_FILE
    return Fingerprint(
        _sha((folder / "model" / "model.safetensors").read_bytes()),
        _sha(bridge.read_bytes()) if bridge.is_file() else "",
        _sha((last.path / "optimizer.safetensors").read_bytes()),
        _sha(json.dumps(rows).encode()),
        _sha(json.dumps(result).encode()),
    )


def whole_checkpoints(folder: Path) -> list[int]:
    """The steps of those that verify."""
    found = []
    for path in found_checkpoints(folder / "checkpoints"):
        try:
            found.append(find_checkpoint(folder / "checkpoints", int(path.name[5:])).step)
        except CheckpointError:
            continue
    return found


def resumable_step(folder: Path, config: RunConfig) -> int:
    """The step at which a run would go on, as training itself finds it."""
    model = SparseGPT(config.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = {"optimizer": SparseOptimizer(model, config.train)}
        return latest_checkpoint(folder / "checkpoints", model, parts).step


def leftovers(folder: Path) -> list[str]:
    """What was being written when something went wrong."""
    left = [path for path in folder.rglob("*") if path.name.endswith((".partial", ".tmp"))]
    return [str(path.relative_to(folder)) for path in [*left, *folder.rglob(".tmp*")]]


def open_run(folder: Path) -> Run:
    """The run in a folder."""
    return load_run(folder)


@cache
def _straight(folder: Path, corpus: Path, told: str, bridged: bool) -> Fingerprint:
    config = RunConfig.from_dict(json.loads(told))
    target = folder / f"straight-{_sha(told.encode())[:8]}{'-bridged' * bridged}"
    way = method("bridged" if bridged else "sparse", config)
    train(config, Corpus.open(corpus), target, method=way)  # here, so that copies of this process start warm
    return fingerprint(target)


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
