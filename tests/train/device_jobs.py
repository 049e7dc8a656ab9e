"""What the processes of the tests of many devices run."""

from __future__ import annotations

from pathlib import Path

import torch

from sparsecircuits.data.batches import batch
from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import SparseCircuitsError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import Machine, Progress, RunConfig, TrainResult, train
from sparsecircuits.train.devices import join
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.projection import measured_density
from sparsecircuits.train.worker import Worker


def trained(
    config: RunConfig, corpus: Path, folder: Path, machine: Machine, stop: int | None = None
) -> TrainResult | str:
    """Train in ``folder``; after step ``stop`` the first process is interrupted."""

    def watch(progress: Progress) -> None:
        if progress.step == stop:
            raise KeyboardInterrupt("stop")

    try:
        return train(config, Corpus.open(corpus), folder, watch, machine)
    except (KeyboardInterrupt, SparseCircuitsError) as error:
        return f"{type(error).__name__}: {error}"


def stepped(config: RunConfig, corpus: Path, machine: Machine) -> tuple[list[float], float, int, int]:
    """All steps without a folder: losses, density at the end, entries that lie here, entries in all."""
    tokens = Corpus.open(corpus).train
    with join(machine) as team:
        model = SparseGPT(config.model)
        worker = Worker(model, config.train, machine, team)
        optimizer = worker.optimizer(SparseOptimizer(model, config.train))
        losses = []
        for step in range(config.train.steps):
            rows = batch(tokens, seed=0, step=step, rows=config.train.rows, n_ctx=config.model.n_ctx)
            losses.append(worker.gradients(rows.chunk(team.world)[team.rank]))
            optimizer.step(step)
        here = sum(local.numel() for local in optimizer.locals)
        entries = sum(parameter.numel() for parameter in model.parameters())
        return losses, measured_density(model).matrices, here, entries


def failing(where: int | None, how: str) -> str:
    """Process ``where`` (None: each) fails ``how``: alone, or in what the first one does for all."""

    def fail() -> None:
        raise ValueError("no more of it")

    try:
        with join(Machine()) as team:
            if how == "on_main":
                team.on_main(fail)
            elif where in (None, team.rank):
                fail()
            torch.distributed.barrier()
            return "went on"
    except (ValueError, SparseCircuitsError) as error:
        return f"{type(error).__name__}: {error}"


def told() -> tuple[list[bool], list[list[float]], str]:
    """What processes tell one another."""
    with join(Machine()) as team:
        flags = [team.any(False), team.any(team.rank == 1), team.any(team.main)]
        numbers = team.all_of([team.rank, 0.1])
        text = team.on_main(lambda: f"from {team.rank}")
        return flags, numbers, text
