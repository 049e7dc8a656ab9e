"""Sparse training: schedules, projection, optimizer, the loop, run folders."""

from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.evaluate import evaluate
from sparsecircuits.train.loop import Progress, TrainResult, train
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.run import Run, RunConfig, load_run

__all__ = [
    "Machine",
    "Progress",
    "Run",
    "RunConfig",
    "TrainConfig",
    "TrainResult",
    "evaluate",
    "load_run",
    "train",
]
