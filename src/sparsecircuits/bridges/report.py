"""The report of a bridge, as data and as ``RUN/bridge/report.json``; where its other results lie.

::

    RUN/bridge/
      report.json           what it is worth, location by location (:mod:`.measure`)
      report.png            the same as a picture
      steering.png          curves of the tasks that were steered last
      steering/TASK.json    the dense model steered through a node (:mod:`.steering`)
      transfer.png          the same of transfer
      transfer/TASK.json    how much of the dense model's change of mind a circuit gives (:mod:`.transfer`)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from sparsecircuits.bridges.measure import Measured
from sparsecircuits.errors import CheckpointError
from sparsecircuits.files import make_folder, write_atomic
from sparsecircuits.train.run import Run

FORMAT, VERSION = "sparsecircuits.bridge_report", 1
FOLDER = "bridge"
Kind = Literal["steering", "transfer"]


def report_of(measured: Measured, locations: list[str], unbridged: float | None = None) -> dict[str, Any]:
    """What :func:`write_result` keeps of a measuring.

    Args:
        measured: the figures.
        locations: names of the sparse model's locations, in forward order.
        unbridged: loss of the same sparse model trained alone, if it is known.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        **measured._asdict(),
        "worse": measured.worse,
        "mean_excess": measured.mean_excess,
        "largest_excess": measured.largest_excess,
        "locations": locations,
        "unbridged": unbridged,
    }


def report_path(run: Run) -> Path:
    """Where the report of a run's bridge is."""
    return run.folder / FOLDER / "report.json"


def result_path(run: Run, kind: Kind, task: str) -> Path:
    """Where what was found for a task is."""
    return run.folder / FOLDER / kind / f"{task}.json"


def picture_path(run: Run, kind: Kind) -> Path:
    """Where the picture of the tasks that were tried last is."""
    return run.folder / FOLDER / f"{kind}.png"


def write_result(result: dict[str, Any], path: Path) -> None:
    """Write a result; its folder is made.

    Raises:
        SaveError: it could not be written.
    """
    make_folder(path.parent)
    write_atomic(path, (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())


def read_result(path: Path, format: str) -> dict[str, Any]:
    """Read a result.

    Raises:
        CheckpointError: it is missing, damaged, or of another format.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable JSON: {error}") from error
    if not isinstance(data, dict) or data.get("format") != format or data.get("version") != VERSION:
        raise CheckpointError(f"{path}: expected {format}, version {VERSION}")
    return data
