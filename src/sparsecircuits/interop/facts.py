"""What a model card can say of a model and a run, read from the weights and the run's files."""

from __future__ import annotations

import json
from typing import NamedTuple

import torch

from sparsecircuits.circuit.files import CIRCUIT_FILE, circuit_hash, load_circuit
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import SparseGPT
from sparsecircuits.tasks.evaluate import TaskScore
from sparsecircuits.train.projection import sparse_matrices
from sparsecircuits.train.run import Run
from sparsecircuits.validate.card import CARD_FILE, Card

SCORES_FILE = "tasks.json"
BIGRAM = "bigram table (dense)"
#: Kinds of parameters, in this order: what is in a parameter's name -> what it is called.
KINDS = {
    "wte.": "embedding",
    "wpe.": "positions",
    "attn.c_": "attention matrices",
    "mlp.c_": "MLP matrices",
    "lm_head.": "unembedding",
    "bigram_table": BIGRAM,
    ".bias": "biases",
    "ln_": "norms",
    "sink_logit": "sinks",
}


class WeightFacts(NamedTuple):
    """How many parameters of one kind there are, and how many of them are not zero."""

    kind: str
    entries: int
    nonzero: int
    in_l0: bool
    """Whether training makes them sparse; L0 counts these (:func:`~sparsecircuits.train.vitals.nonzeros`)."""


class TaskFacts(NamedTuple):
    """A model's score on the held-out prompts of a task."""

    name: str
    loss: float
    accuracy: float


class CircuitFacts(NamedTuple):
    """A circuit, as its files say; None where they do not."""

    name: str
    nodes: int
    edges: int | None
    loss: float | None
    accuracy: float | None
    verdicts: str | None
    """Such as ``Sufficient: yes, Robust: no``; None: there is no report card of this very circuit."""


def kind_of(parameter: str) -> str:
    """What a parameter is.

    >>> kind_of("transformer.h.0.attn.c_attn.bias"), kind_of("transformer.h.0.attn.c_attn.weight")
    ('biases', 'attention matrices')
    """
    if parameter.endswith(".bias"):
        return KINDS[".bias"]
    return next(kind for part, kind in KINDS.items() if part in parameter)


def weights_of(model: SparseGPT) -> tuple[WeightFacts, ...]:
    """All parameters by kind, those that L0 counts first."""
    entries, nonzero = (dict.fromkeys(KINDS.values(), 0) for _ in range(2))
    for name, parameter in model.named_parameters():
        entries[kind_of(name)] += parameter.numel()
        nonzero[kind_of(name)] += int(torch.count_nonzero(parameter))
    sparse = {kind_of(matrix.name) for matrix in sparse_matrices(model, floor=0)}
    facts = (WeightFacts(kind, entries[kind], nonzero[kind], kind in sparse) for kind in entries)
    return tuple(sorted((row for row in facts if row.entries), key=lambda row: not row.in_l0))


def tasks_of(run: Run) -> tuple[TaskFacts, ...]:
    """The stored scores of a run; none if it holds none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = run.folder / SCORES_FILE
    if not path.is_file():
        return ()
    try:
        scores = [TaskScore.from_dict(row) for row in json.loads(path.read_text())]
        return tuple(TaskFacts(score.task, score.loss, score.accuracy) for score in scores)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged: {error}") from error


def circuits_of(run: Run) -> tuple[CircuitFacts, ...]:
    """The circuits in a run's folder, in the order of their names.

    Raises:
        CheckpointError: one of them, or its report card, is damaged.
    """
    found = []
    for path in sorted(run.circuits.glob(f"*/{CIRCUIT_FILE}")):
        circuit = load_circuit(path.parent)
        info = circuit.info
        verdicts = None
        if (path.parent / CARD_FILE).is_file():
            card = Card.load(path.parent / CARD_FILE)
            if card.circuit_sha256 == circuit_hash(circuit):
                verdicts = ", ".join(f"{verdict.name}: {verdict.state}" for verdict in card.verdicts)
        figures = {key: info.get(key) for key in ("edges", "loss", "accuracy")}
        found.append(CircuitFacts(path.parent.name, len(circuit), **figures, verdicts=verdicts))
    return tuple(found)
