"""Circuits in models of the exact step and of amortised ones: ``speed.py --part circuits``.

Each model of the preset ``demo`` is pruned for the demo's tasks with the demo's own settings. Sizes are
compared pair by pair, the same task and seed in both; what either model does not do, or does not do in a
circuit, is left out of the comparison, and counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sparsecircuits.errors import PruneError
from sparsecircuits.files import write_atomic
from sparsecircuits.prune import PruneConfig
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.tasks import get_task
from sparsecircuits.train import load_run
from sparsecircuits.validate.interval import Interval, clustered_interval

#: In a model's folder: sizes by task.
SIZES = "circuits.json"
KINDS = ("edges", "nodes")

Sizes = Mapping[str, Mapping[str, Any] | None]
"""By task, nodes, edges, loss and whether the target is met; None where the model misses it itself."""


def prune(folder: Path, config: PruneConfig, tasks: Sequence[str]) -> None:
    """Prune one model for all tasks, as far as that is not done."""
    path = folder / SIZES
    found = dict(sizes_of(folder))
    if all(name in found for name in tasks):
        return
    pruner = RunPruner(load_run(folder), config)
    for name in tasks:
        if name not in found:
            found[name] = _sizes(pruner, name)
            write_atomic(path, (json.dumps(found, indent=2) + "\n").encode())
            print(f"{folder.parent.name}/{folder.name} {name}: {found[name]}", flush=True)


def _sizes(pruner: RunPruner, name: str) -> dict[str, Any] | None:
    task = get_task(name)
    circuit = pruner.load(task).circuit
    if circuit is None:
        try:
            circuit = pruner.prune(task, lambda done, loss, nodes: None)
        except PruneError:  # the model itself misses the target
            return None
    return {key: circuit.info[key] for key in (*KINDS, "loss", "met")}


def sizes_of(folder: Path) -> Sizes:
    """What :func:`prune` found; nothing before."""
    path = folder / SIZES
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


class Ratio(NamedTuple):
    """How much larger one arm's circuits are, as a geometric mean over pairs."""

    value: float
    interval: Interval
    """95%, by a bootstrap that draws whole tasks: their seeds resemble one another."""
    mine: float
    """Geometric means of the sizes themselves."""
    theirs: float
    pairs: int
    left_out: int
    """Pairs that were pruned in both, of which a circuit is missing or misses the target."""


def ratio(mine: Mapping[int, Sizes], theirs: Mapping[int, Sizes], kind: str) -> Ratio | None:
    """The sizes of one arm's circuits over another's.

    Args:
        mine, theirs: by seed.
        kind: "edges" or "nodes"; a size of 0 counts as 1.

    Returns:
        None where no circuit can be compared.
    """
    logs: list[tuple[str, float, float]] = []
    left_out = 0
    for seed in sorted(mine.keys() & theirs.keys()):
        for task in (name for name in mine[seed] if name in theirs[seed]):
            one, other = mine[seed][task], theirs[seed][task]
            if one and other and one["met"] and other["met"]:
                logs.append((task, math.log(max(1, one[kind])), math.log(max(1, other[kind]))))
            else:
                left_out += 1
    if not logs:
        return None
    tasks, ours, others = zip(*logs, strict=True)
    a, b = torch.tensor(ours, dtype=torch.double), torch.tensor(others, dtype=torch.double)
    low, high = clustered_interval(a - b, list(tasks))
    return Ratio(
        math.exp(float((a - b).mean())), Interval(math.exp(low), math.exp(high)),
        math.exp(float(a.mean())), math.exp(float(b.mean())), len(logs), left_out,
    )  # fmt: skip
