"""What the processes of the tests of many devices run."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from sparsecircuits.data.batches import batch
from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError, SparseCircuitsError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import Machine, Progress, RunConfig, TrainResult, loop, train
from sparsecircuits.train.devices import join
from sparsecircuits.train.keeper import Keeper
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.projection import measured_density
from sparsecircuits.train.revive import Reviver
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
    """Process ``where`` (None: each) fails ``how``: alone, killed, or in what the first one does for all."""

    def fail() -> None:
        raise ValueError("no more of it")

    try:
        with join(Machine()) as team:
            if how == "killed" and where == team.rank:
                os.kill(os.getpid(), signal.SIGKILL)
            elif how == "on_main":
                team.on_main(fail)
            elif how == "alone" and where in (None, team.rank):
                fail()
            torch.distributed.barrier()
            return "went on"
    except (ValueError, SparseCircuitsError) as error:
        return f"{type(error).__name__}: {error}"


def parting(config: RunConfig, corpus: Path, folder: Path, how: str, parallel: str) -> TrainResult | str:
    """Train where the last process alone sees something ``how``; the others are to go the same way.

    - ``best``: it knows of a checkpoint that is better than any to come;
    - ``term``: SIGTERM in step 3;
    - ``weight``: NaN in the last row of a matrix that it holds, before step 3.
    """
    machine = Machine.from_dict({"parallel": parallel})
    with pytest.MonkeyPatch.context() as patch, join(machine) as team:
        real, last = loop.train_step, team.rank == team.world - 1
        if how == "best" and last:
            patch.setattr(Keeper, "is_best", lambda *_: False)

        def step(model: SparseGPT, optimizer: SparseOptimizer, tokens: torch.Tensor, number: int, *rest):
            if number == 2 and last and how == "term":
                os.kill(os.getpid(), signal.SIGTERM)
            return real(model, optimizer, tokens, number, *rest)

        def constrain(self: SparseOptimizer, densities) -> None:
            constrained(self, densities)
            if how == "weight" and last and float(self.adam.state[self.locals[0]]["step"]) == 3:
                rows_here = self.locals[self.names.index("transformer.h.0.mlp.c_fc.weight")]
                rows_here.data[-1] = torch.nan

        constrained = SparseOptimizer.constrain
        patch.setattr(loop, "train_step", step)
        patch.setattr(SparseOptimizer, "constrain", constrain)
        try:
            return train(config, Corpus.open(corpus), folder, None, machine, team)
        except (KeyboardInterrupt, SparseCircuitsError) as error:
            return f"{type(error).__name__}: {error}"


def held(config: RunConfig, corpus: Path, folder: Path) -> tuple[int, int]:
    """Whole matrices that lie in memory during a sharded training; models that were made beside the first."""
    found, made = [], []
    with pytest.MonkeyPatch.context() as patch, join(Machine(parallel="shard")) as team:
        real, init = loop.train_step, SparseGPT.__init__

        def step(*arguments):
            taken = real(*arguments)
            whole = [one for one in gc.get_objects() if type(one) is nn.Parameter]
            found.append(sum(one.untyped_storage().size() > 0 for one in whole))
            return taken

        def count(self: SparseGPT, *arguments, **named) -> None:
            made.append(id(self))
            init(self, *arguments, **named)

        patch.setattr(loop, "train_step", step)
        patch.setattr(SparseGPT, "__init__", count)
        train(config, Corpus.open(corpus), folder, None, Machine(parallel="shard"), team)
    return max(found), len(made) - 1


def revived(config: RunConfig) -> str:
    """What a sharded model says to who would revive its neurons."""
    with join(Machine(parallel="shard")) as team:
        model = SparseGPT(config.model)
        Worker(model, config.train, Machine(parallel="shard"), team)
        with pytest.raises(ConfigError) as caught:
            Reviver(model, config.train)
        return str(caught.value)


def patience() -> list[float]:
    """Seconds that a process waits: in an exchange, and for what the first one does."""
    with join(Machine()) as team:
        groups = (team._talk, team._wait)
        cpu = torch.device("cpu")
        return [group._get_backend(cpu).options._timeout.total_seconds() for group in groups]  # type: ignore[union-attr]


def told() -> tuple[list[bool], list[list[float]], str]:
    """What processes tell one another."""
    with join(Machine()) as team:
        flags = [team.any(False), team.any(team.rank == 1), team.any(team.main)]
        numbers = team.all_of([team.rank, 0.1])
        text = team.on_main(lambda: f"from {team.rank}")
        return flags, numbers, text
