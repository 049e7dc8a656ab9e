"""What the processes of the tests of many devices run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import PeerFailed, SparseCircuitsError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import Machine, Progress, RunConfig, TrainResult, train
from sparsecircuits.train.devices import Team, join
from sparsecircuits.train.optimizer import SparseOptimizer, gradient_rms
from sparsecircuits.train.projection import measured_density
from sparsecircuits.train.worker import Worker


def trained(
    config: RunConfig, corpus: Path, folder: Path, machine: Machine, stop: int | None = None
) -> TrainResult | str:
    """Train in ``folder``; after step ``stop`` the first process is interrupted."""

    def watch(progress: Progress) -> None:
        if progress.step == stop:
            raise KeyboardInterrupt

    try:
        return train(config, Corpus.open(corpus), folder, watch, machine)
    except (KeyboardInterrupt, SparseCircuitsError) as error:
        return f"{type(error).__name__}: {error}"
