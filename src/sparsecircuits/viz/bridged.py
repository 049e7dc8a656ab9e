"""What a circuit's page says of the dense model that its model has a bridge to.

It is read from what ``sparsecircuits bridge report``, ``steer`` and ``transfer`` wrote. Results of another
circuit for the same task, pruned before this one, are left out: they speak of nodes that it does not have.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from sparsecircuits.bridges.report import report_path, result_path
from sparsecircuits.circuit import Circuit
from sparsecircuits.model.sites import READS
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
    if (report := _read(report_path(run))) is not None:
        found["report"] = {
            "names": report["locations"],
            "to_sparse": [loss - report["worse"] for loss in report["to_sparse"]],
            "to_dense": [loss - report["worse"] for loss in report["to_dense"]],
            **{
                key: report[key]
                for key in ("dense", "sparse", "mean_excess", "largest_excess", "encode", "decode")
            },
        }
    steering = _read(result_path(run, "steering", circuit.task))
    if steering is not None and steering["node"] in nodes:
        told = {key: steering[key] for key in ("node", "side", "prompts", "right", "strengths")}
        curves = [{key: curve[key] for key in _CURVE} for curve in steering["directions"]]
        found["steering"] = {**told, "curves": curves}
    transfer = _read(result_path(run, "transfer", circuit.task))
    reads = {str(node) for node in circuit.nodes if node.site in READS}
    others = len(nodes) - len(reads)
    if transfer is not None and set(transfer["nodes"]) == reads and transfer["left_out"] == others:
        shares = {
            name: {key: share[key] for key in ("estimate", "low", "high")}
            for name, share in transfer["share"].items()
        }
        told = {key: transfer[key] for key in ("nodes", "left_out", "prompts")}
        flips = {name: share["estimate"] for name, share in transfer["flips"].items()}
        found["transfer"] = {**told, "share": shares, "flips": flips}
    return {"bridge": {"dense": PurePosixPath(run.beside.source).name, **found}} if found else {}


def _read(path: Path) -> dict[str, Any] | None:
    """A result, or None where there is none that can be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {"side": "both", **data} if isinstance(data, dict) else None
