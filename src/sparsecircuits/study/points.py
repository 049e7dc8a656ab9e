"""Points of size against target loss, from wherever they are kept (Gao et al. 2025, §3.1, Fig 2).

A *source* is a run, a study's folder, or a ``results.jsonl``. A run's points are those of its sweeps
(``RUN/sweeps/TASK.jsonl``, the last of a task and target) and, where a task has none at that target, the
circuit in ``RUN/circuits``. Prunings that differ in their seed alone are one point, the geometric mean of
their sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsecircuits.circuit.files import CIRCUIT_FILE, load_circuit
from sparsecircuits.errors import CheckpointError
from sparsecircuits.study.lines import read_lines
from sparsecircuits.train.run import RUN_FILE

RESULTS = "results.jsonl"
#: What a point says.
POINT = ("run", "task", "target", "edges", "nodes", "loss", "met", "seeds")


def size_points(sources: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows as :func:`~sparsecircuits.study.charts.sweep_figure` takes them, with the keys of :data:`POINT`.

    A run goes by the name of its folder, with more of the path where two are called alike, and with the
    method where there are several.

    Raises:
        CheckpointError: a source that is none, or holds no point.
    """
    rows: list[dict[str, Any]] = []
    for source in sources:
        file = source / RESULTS if source.is_dir() else source
        if file.is_file():
            keys = ("run", "task", "target")
            found = [row for row in read_lines(file) if all(key in row for key in keys)]
        elif (source / RUN_FILE).is_file():
            found = _of_run(source)
        else:
            raise CheckpointError(f"{source}: neither a run, nor a study, nor a {RESULTS}")
        if not found:
            raise CheckpointError(
                f"{source}: no circuits; sparsecircuits prune RUN TASK --sweep 0.05 0.15 makes points"
            )
        rows += [{**row, "run": str(Path(row["run"]).resolve())} for row in found]
    names = short_names([row["run"] for row in rows])
    several = len({row.get("method") for row in rows} - {None}) > 1
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for row in rows:
        name = names[row["run"]] + (f", {row['method']}" if several and row.get("method") else "")
        groups.setdefault((name, row["task"], row["target"]), []).append(row)
    return [_point(name, some) for (name, _, _), some in groups.items()]


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Path -> its last parts, as many as it takes to tell all apart.

    >>> short_names(["a/demo/sparse", "b/demo/sparse"])
    {'a/demo/sparse': 'a/demo/sparse', 'b/demo/sparse': 'b/demo/sparse'}
    >>> short_names(["runs/small", "runs/demo"])
    {'runs/small': 'small', 'runs/demo': 'demo'}
    """
    different = list(dict.fromkeys(paths))
    depth = 1
    while True:
        names = {path: "/".join(Path(path).parts[-depth:]) for path in different}
        if len(set(names.values())) == len(different):
            return names
        depth += 1


def _of_run(folder: Path) -> list[dict[str, Any]]:
    found: dict[tuple[str, float], dict[str, Any]] = {}
    for file in sorted((folder / "sweeps").glob("*.jsonl")):
        for row in read_lines(file):
            found[row["task"], row["target"]] = {**row, "run": str(folder)}
    for path in sorted((folder / "circuits").glob(f"*/{CIRCUIT_FILE}")):
        circuit = load_circuit(path.parent)
        if all(key in circuit.info for key in ("target", "edges", "nodes", "met")):
            key = circuit.task, circuit.info["target"]
            found.setdefault(key, {**circuit.info, "run": str(folder), "task": circuit.task})
    return list(found.values())


def _point(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One point of one or several seeds: met where all are."""
    point = {key: rows[0].get(key) for key in POINT} | {"run": name, "seeds": len(rows)}
    circuits = [row for row in rows if row.get("edges") is not None]
    if len(rows) == 1 or not circuits:
        return point
    for key in ("edges", "nodes"):
        logs = [math.log(max(row[key], 0.5)) for row in circuits]
        point[key] = math.exp(sum(logs) / len(logs))
    point["loss"] = sum(row["loss"] for row in circuits) / len(circuits)
    point["met"] = len(circuits) == len(rows) and all(row["met"] for row in rows)
    return point
