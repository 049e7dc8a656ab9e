"""What a circuit's page says of the dense model that its model has a bridge to.

It is read from what ``sparsecircuits bridge report``, ``steer`` and ``transfer`` wrote. Results of another
circuit for the same task are left out: of a node that this one does not have, or of other nodes than its own.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from sparsecircuits.bridges.report import FORMAT, Kind, read_result, report_path, result_path
from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.errors import CheckpointError
from sparsecircuits.train import Run

_REPORT = ("dense", "sparse", "mean_excess", "largest_excess", "encode", "decode")
_SHARE = ("estimate", "low", "high")
_CURVE = ("name", "p_other", "p_other_low", "p_other_high", "pair", "pair_low", "pair_high")


def bridge_entry(circuit: Circuit, run: Run) -> dict[str, Any]:
    """Under ``bridge``; nothing where the run has no bridge, or nothing was measured through it."""
    if run.beside is None:
        return {}
    nodes = {str(node) for node in circuit.nodes}
    found: dict[str, Any] = {}
    if (report := _read(report_path(run), FORMAT)) is not None:
        found["report"] = {
            "names": report["locations"],
            "to_sparse": [loss - report["worse"] for loss in report["to_sparse"]],
            "to_dense": [loss - report["worse"] for loss in report["to_dense"]],
            **{key: report[key] for key in _REPORT},
        }
    steering = _result(run, "steering", circuit)
    if steering is not None and steering["node"] in nodes:
        told = {key: steering[key] for key in ("node", "side", "prompts", "right", "strengths")}
        curves = [{key: curve[key] for key in _CURVE} for curve in steering["directions"]]
        found["steering"] = {**told, "curves": curves}
    transfer = _result(run, "transfer", circuit)
    if transfer is not None and _is_of(transfer, nodes):
        shares = {name: {key: share[key] for key in _SHARE} for name, share in transfer["share"].items()}
        told = {key: transfer[key] for key in ("nodes", "left_out", "prompts")}
        flips = {name: share["estimate"] for name, share in transfer["flips"].items()}
        found["transfer"] = {**told, "share": shares, "flips": flips}
    return {"bridge": {"dense": PurePosixPath(run.beside.source).name, **found}} if found else {}


def results_of(run: Run) -> list[Path]:
    """The files that :func:`bridge_entry` may read, of all circuits."""
    folder = report_path(run).parent
    return sorted(
        [*folder.glob("report.json"), *folder.glob("steering/*.json"), *folder.glob("transfer/*.json")]
    )


def _is_of(transfer: dict[str, Any], nodes: set[str]) -> bool:
    """Whether all nodes of the circuit, and no others, were carried over or counted as left out."""
    return nodes.issuperset(transfer["nodes"]) and len(nodes) == len(transfer["nodes"]) + transfer["left_out"]


def _result(run: Run, kind: Kind, circuit: Circuit) -> dict[str, Any] | None:
    found = _read(result_path(run, kind, circuit.task), f"sparsecircuits.{kind}")
    if found is None or found.get("circuit_sha256") not in (None, circuit_hash(circuit)):
        return None
    return {"side": "both", **found}


def _read(path: Path, format: str) -> dict[str, Any] | None:
    """A result, or None where there is none that this version can read."""
    try:
        return read_result(path, format)
    except CheckpointError:
        return None
