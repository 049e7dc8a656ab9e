"""What is trained: a model alone, or a model beside something else, by the same loop."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sparsecircuits.model import SparseGPT
from sparsecircuits.train.beside import Beside
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.devices import Team
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.optimizers import optimizer_for
from sparsecircuits.train.worker import Worker


class Method(Protocol):
    """How the gradients of a step come about, and what changes by them."""

    def beside(self, folder: Path) -> Beside | None:
        """What ``run.json`` says of the other model, for the run in a folder; None: there is none."""
        ...

    def require(self, machine: Machine, team: Team) -> None:
        """Refuse how it cannot be computed, before there is a folder.

        Raises:
            ConfigError: it cannot.
        """
        ...

    def verify(self, folder: Path) -> None:
        """Look at what a finished run has beside its model.

        Raises:
            CheckpointError: it is damaged or missing.
        """
        ...

    def optimizer(self, model: SparseGPT, config: TrainConfig) -> SparseOptimizer:
        """Of the model as it is before it is moved or cut."""
        ...

    def worker(self, model: SparseGPT, config: TrainConfig, machine: Machine, team: Team) -> Worker:
        """What computes gradients."""
        ...

    def finish(self, folder: Path, optimizer: SparseOptimizer) -> None:
        """Write what belongs to a finished run beside its model, in the first process."""
        ...


class Alone:
    """A model alone (Gao et al. 2025, §2.1)."""

    def beside(self, folder: Path) -> Beside | None:
        return None

    def require(self, machine: Machine, team: Team) -> None:
        """Nothing."""

    def verify(self, folder: Path) -> None:
        """Nothing."""

    def optimizer(self, model: SparseGPT, config: TrainConfig) -> SparseOptimizer:
        return optimizer_for(model, config)

    def worker(self, model: SparseGPT, config: TrainConfig, machine: Machine, team: Team) -> Worker:
        return Worker(model, config, machine, team)

    def finish(self, folder: Path, optimizer: SparseOptimizer) -> None:
        """Nothing."""
