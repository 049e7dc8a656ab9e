"""Curves for the page: training, pruning, size against loss; each thinned to what a screen can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.files import CIRCUIT_FILE, load_circuit
from sparsecircuits.viz.numbers import brief

#: Points of a curve, at most.
POINTS = 300
#: Significant digits: losses differ in their third.
DIGITS = 5
_TRAINING = ("loss", "val_loss", "density")
#: What a pruning's ``info["curve"]`` holds, by mask step.
PRUNING = ("step", "loss", "nodes")
#: What a point of size against loss says.
_SWEEP = ("target", "nodes", "edges", "loss", "met")


def training_curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float | int]]] | None:
    """Training loss, validation loss and density by tokens seen, each a list of [tokens, value].

    Args:
        rows: a run's metrics (:meth:`~sparsecircuits.train.Run.metrics`).

    Returns:
        None where there are none. The training loss is noisy, so where there are too many points each is the
        mean of a few, at the last one's tokens; of the others some are taken.
    """
    curves = {
        name: [(row["tokens"], row[name]) for row in rows if name in row and "tokens" in row]
        for name in _TRAINING
    }
    if not curves["loss"]:
        return None
    thinned = {name: (_means if name == "loss" else _some)(points) for name, points in curves.items()}
    return {name: [[x, brief(y, DIGITS)] for x, y in points] for name, points in thinned.items()}


def pruning_curve(circuit: Circuit) -> dict[str, list[float | int]] | None:
    """Steps of the mask run that found the circuit, with task loss and kept nodes; None where not stored."""
    curve = circuit.info.get("curve")
    if not isinstance(curve, Mapping) or not all(curve.get(name) for name in PRUNING):
        return None
    return {name: list(curve[name]) for name in PRUNING}


def sweep_points(folder: Path, like: Circuit) -> list[dict[str, Any]]:
    """Size and loss of the circuits that a run was pruned to at several targets, by target.

    Args:
        folder: ``RUN/sweeps``; its circuits lie in ``TASK/TARGET``.
        like: only circuits of its task and of the model that it was cut out of count.

    Raises:
        CheckpointError: a damaged circuit.
    """
    model = like.info.get("model_sha256")
    points = []
    for path in sorted(folder.glob(f"*/*/{CIRCUIT_FILE}")):
        circuit = load_circuit(path.parent)
        info = circuit.info
        if circuit.task == like.task and info.get("model_sha256") == model and all(k in info for k in _SWEEP):
            points.append({key: info[key] for key in _SWEEP})
    return sorted(points, key=lambda point: point["target"])


def _some(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Every so many, and the last."""
    if not points:
        return []
    every = -(-len(points) // POINTS)
    return [*points[:-1][::every], points[-1]]


def _means(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    every = -(-len(points) // POINTS)
    groups = [points[first : first + every] for first in range(0, len(points), every)]
    return [(group[-1][0], _mean(y for _, y in group)) for group in groups]


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
