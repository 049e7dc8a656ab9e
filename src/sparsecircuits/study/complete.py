"""Complete circuits of a run: prune again without what was found, until the model is at chance.

What :func:`~sparsecircuits.prune.prune_complete` finds lies in ``RUN/complete/TASK``: the disjoint circuits
as ``1``, ``2``, ..., the one of all their nodes as ``union``, and the figures as ``result.json``, which names
the model, task and settings; of the same ones nothing is pruned again.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from sparsecircuits.circuit import save_circuit
from sparsecircuits.prune import prune_complete
from sparsecircuits.prune.complete import Watch
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.tasks import Task
from sparsecircuits.train import Run

RESULT_FILE = "result.json"


def find_complete(pruner: RunPruner, task: Task, watch: Watch | None = None) -> dict[str, Any]:
    """Find, save and tell the complete circuit of one task.

    Args:
        pruner: of the run, with its settings; single edges stay (``PruneConfig.edges`` plays no part).
        task: what the circuits must do.
        watch: called with (circuit, stage, done, of, loss).

    Returns:
        ``task``, ``circuits`` (each with nodes, edges, loss, target and what is left without it and those
        before it), ``nodes`` and ``edges`` of the union, ``complete``, ``accuracy`` and
        ``refitted_accuracy`` of what is left at last, ``why``, ``folder``.

    Raises:
        TaskError: the task does not fit the tokenizer.
        PruneError: the model itself misses the target.
    """
    folder = folder_of(pruner.run, task)
    config = pruner.config.replace(edges=False)
    key = pruner.digest(task, config)
    there = _read(folder / RESULT_FILE)
    if there.get("key") == key:
        return there
    tokens = pruner.run.corpus().train
    found = prune_complete(
        pruner.model, task, pruner.tokenizer, tokens, config, means=pruner.means, watch=watch
    )
    circuits = []
    for number, (result, left) in enumerate(zip(found.found, found.remainders, strict=True), start=1):
        save_circuit(result.circuit, folder / str(number))
        sizes = {name: getattr(result, name) for name in ("nodes", "edges", "loss")}
        target = result.circuit.info["target"]
        circuits.append({**sizes, "target": target, "left": dataclasses.asdict(left)})
    save_circuit(found.union, folder / "union")
    last = found.remainders[-1]
    row = {
        "key": key,
        "task": task.name,
        "circuits": circuits,
        "nodes": len(found.union),
        "edges": found.union.edge_count(pruner.model),
        "complete": found.complete,
        "accuracy": last.accuracy,
        "refitted_accuracy": last.refitted_accuracy,
        "why": found.why,
        "folder": str(folder),
    }
    (folder / RESULT_FILE).write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    return row


def folder_of(run: Run, task: Task) -> Path:
    """Where the circuits of a task lie; a variant's ``:`` becomes ``_``."""
    return run.folder / "complete" / task.name.replace(":", "_")


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
