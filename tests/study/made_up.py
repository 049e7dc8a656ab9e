"""A demo's results, made up so that its means can be worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sparsecircuits.study.demo import summarise
from sparsecircuits.tasks.evaluate import Measured, PairSet, TaskScore
from sparsecircuits.train import Run, RunConfig

#: Planned, in this order; "unable" is a task that the model cannot do.
NAMES = ("needed", "spare", "missed", "failed")


def score(task: str, loss: float = 0.05, accuracy: float = 0.99) -> TaskScore:
    which = PairSet(task=task, split="heldout", seed=0, first=0, count=9, max_tokens=64, sha256="0")
    measured = Measured(loss=loss, raw_loss=2 * loss, accuracy=accuracy, pairs=which)
    return TaskScore(task=task, scale=1.0, fitted_on=which, splits={"heldout": measured})


def entry(
    model: str, task: str, nodes: int, edges: int, *, met: bool = True, accuracy: float = 0.5
) -> dict[str, Any]:
    """What a summary reads of a circuit on the page."""
    necessity = {
        "accuracy": accuracy,
        "refitted_accuracy": 0.5,
        "loss": 0.7,
        "refitted_loss": 0.69,
        "random_loss": 0.06,
        "full_loss": 0.05,
    }
    sizes = {"nodes": nodes, "edges": edges, "loss": 0.14, "raw_loss": 0.2, "met": met}
    return {"id": f"{model}/{task}", "metrics": {**sizes, "accuracy": 0.99, "necessity": necessity}}


ENTRIES = (
    entry("sparse", "needed", 3, 0),
    entry("dense", "needed", 6, 8),
    entry("sparse", "spare", 12, 4, accuracy=0.9),
    entry("dense", "spare", 54, 32),
    entry("sparse", "missed", 5, 5),
    entry("dense", "missed", 999, 9999, met=False),
    entry("sparse", "failed", 7, 7, met=False),
)


def runs(folder: Path) -> dict[str, Run]:
    """Two folders that hold nothing but a result."""
    found = {}
    for name, val_loss, density in (("sparse", 1.25, 1 / 32), ("dense", 1.2, 1.0)):
        found[name] = Run(folder / name, RunConfig(), folder)
        found[name].folder.mkdir()
        result = {"val_loss": val_loss, "density": density, "tokens": 1000, "seconds": 9.0, "steps": 10}
        (found[name].folder / "result.json").write_text(json.dumps(result))
    return found


def summary(folder: Path) -> dict[str, Any]:
    """Two tasks in the means, two left out, one not done."""
    scores = [*map(score, NAMES), score("unable", loss=0.6, accuracy=0.7)]
    return summarise(runs(folder), scores, NAMES, ENTRIES, seed=3)
