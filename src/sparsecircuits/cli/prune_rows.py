"""One row of figures for each circuit, or why a task has none, for the tables of ``sparsecircuits prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsecircuits.cli.report import Column

if TYPE_CHECKING:
    from sparsecircuits.circuit import Circuit

COLUMNS = (
    Column("name", "task"),
    Column("state", "circuit"),
    Column("nodes", "nodes", ",d"),
    Column("edges", "edges", ",d"),
    Column("loss", "loss", ".3f"),
    Column("raw_loss", "raw loss", ".3f"),
    Column("accuracy", "accuracy", ".1%"),
    Column("full_loss", "full loss", ".3f"),
    Column("necessity.accuracy", "without it", ".1%"),
    Column("necessity.refitted_accuracy", "refitted", ".1%"),
    Column("necessity.label", ""),
    Column("tests.stochastic_ablation.mean", "restored", ".3f"),
    Column("tests.stochastic_ablation.worst", "worst", ".3f"),
    Column("note", "note"),
)


def circuit_row(circuit: Circuit, note: str | None = None) -> dict[str, Any]:
    """The figures of a saved circuit, as the table shows them."""
    from sparsecircuits.validate import Necessity

    info = circuit.info
    needed = info["necessity"]
    label = "necessary" if Necessity(**needed).necessary else "redundant"
    figures = ("nodes", "edges", "loss", "raw_loss", "accuracy", "full_loss")
    return {
        "name": circuit.task,
        "state": "found" if info["met"] else "missed",
        **{key: info[key] for key in figures},
        "necessity": {**needed, "label": label},
        "tests": info["tests"],
        "note": note,
    }


def no_circuit(score: dict[str, Any], note: str | None = None) -> dict[str, Any]:
    """The row of a task without a circuit, and why it has none."""
    state = "not pruned" if score["fits"] else "does not fit"
    if note is None and score["fits"]:
        note = f"the model does not do it: loss {score['loss']:.3f}, accuracy {score['accuracy']:.1%}"
    row = dict.fromkeys(("nodes", "edges", "loss", "raw_loss", "accuracy", "full_loss", "necessity", "tests"))
    return {"name": score["name"], "state": state, **row, "note": note or score["note"]}
