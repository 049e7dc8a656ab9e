"""A library of one small run whose circuit is known, and a server that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sparsecircuits.circuit import Circuit, model_hash, save_circuit
from sparsecircuits.prune import pretraining_means
from sparsecircuits.train import Run
from tests.prune import planted

pytest.importorskip("starlette", reason="the extra app is not installed")
pytest.importorskip("uvicorn", reason="the extra app is not installed")

from sparsecircuits.viz.server.app import build_app
from sparsecircuits.viz.server.library import Library
from tests.viz.server import asking

NAME = planted.STRING_CLOSING.name


@pytest.fixture(scope="session")
def served_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The planted run with its circuit, and one that has a node more; tests do not write into it."""
    run = planted.planted_run(tmp_path_factory.mktemp("served"))
    model = run.model()
    means = pretraining_means(model, run.corpus().train, count=512, seed=0)
    info = {"model_sha256": model_hash(model)}
    circuit = Circuit(NAME, planted.ATTENTION_CIRCUIT, means, scale=1.0, info=info)
    save_circuit(circuit, run.circuits / NAME)
    save_circuit(circuit.keeping([*circuit.nodes, *planted.NEURON_CIRCUIT]), run.circuits / "larger")
    return run


def library_of(run: Run) -> Library:
    return Library(lambda: [("planted", run)], tasks={NAME: planted.STRING_CLOSING})


@pytest.fixture(scope="session")
def library(served_run: Run) -> Library:
    return library_of(served_run)


@pytest.fixture(scope="module")
def app(library: Library) -> Any:
    """The application, asked without a socket."""
    return build_app(library, asking.POLICY)


@pytest.fixture(scope="module")
def running(library: Library) -> Iterator[asking.Running]:
    """A server that listens."""
    with asking.listening(library) as server:
        yield server
