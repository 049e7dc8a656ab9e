"""Paths to draw: of the planted quote program, and of the bundled run's circuits."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.cli.arguments import saved_circuits
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.examples import example_folder
from sparsecircuits.model import SparseGPT
from sparsecircuits.prune.means import pretraining_means
from sparsecircuits.tasks import Task
from sparsecircuits.train import Run
from sparsecircuits.validate.planted import PlantedModel, plant
from sparsecircuits.viz.drawing import ActivePath, active_path


@dataclass(frozen=True)
class Planted:
    """A planted model with its true circuit."""

    known: PlantedModel
    circuit: Circuit

    def path(self, prompt: str, answers: str, least: float = 0.04) -> ActivePath:
        encode = self.known.tokenizer.encode
        tokens = torch.tensor([self.known.tokenizer.eot_id, *encode(prompt)])
        asked = [encode(answer)[0] for answer in answers]
        return active_path(self.known.model, self.circuit, tokens, asked, least=least)


def planted(name: str) -> Planted:
    known = plant(name, seed=0, level=1)
    means = pretraining_means(known.model, known.corpus, count=2048)
    return Planted(known, Circuit(name, known.truth.union.nodes, means))


@pytest.fixture(scope="session")
def quote() -> Planted:
    return planted("quote")


@pytest.fixture(scope="session")
def depth() -> Planted:
    return planted("depth")


@dataclass(frozen=True)
class Example:
    """The bundled run."""

    model: SparseGPT
    tokenizer: Tokenizer
    circuits: dict[str, Circuit]
    tasks: dict[str, Task]


@pytest.fixture(scope="session")
def example() -> Example:
    from sparsecircuits.viz.collect import task_of

    run = Run.open(example_folder())
    circuits = {circuit.task: circuit for circuit in saved_circuits(run)}
    tasks = {name: task_of(circuit, run) for name, circuit in circuits.items()}
    return Example(run.model(), run.tokenizer(), circuits, tasks)
