"""Curves: circuit size against target loss (Gao et al. 2025, §3.1, Fig 2).

For each target the model is pruned anew, several targets side by side. Every point is a line of
``RUN/sweeps/TASK.jsonl`` as soon as its round is done, and its circuit lies in ``RUN/sweeps/TASK/TARGET``; a
point of the same model, task and settings is not pruned again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparsecircuits.circuit import save_circuit
from sparsecircuits.errors import ConfigError, PruneError
from sparsecircuits.prune import PruneConfig, PruneJob, PruneResult
from sparsecircuits.study.lines import append_line, read_lines
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.tasks import Task

#: ``watch(target, mask steps done, loss)``.
Watch = Callable[[float, int, float], None]
#: The figures of a point; None where there is no circuit.
FIGURES = ("nodes", "edges", "loss", "raw_loss", "accuracy", "validation_loss", "met")


def sweep(
    pruner: RunPruner,
    task: Task,
    targets: Sequence[float],
    *,
    batch: int = 4,
    watch: Watch | None = None,
) -> list[dict[str, Any]]:
    """One point for each target, by target.

    Args:
        pruner: of the run, with all other settings.
        task: what the circuits must do.
        targets: losses to reach, in nats, each positive.
        batch: prunings side by side.
        watch: told of every mask step.

    Returns:
        Rows with ``key``, ``task``, ``target``, those of :data:`FIGURES`, and ``error``: why there is no
        circuit, or None.

    Raises:
        ConfigError: a target that is not positive, or a batch below 1.
        TaskError: the task does not fit the tokenizer.
    """
    if batch < 1:
        raise ConfigError(f"a batch of {batch} prunings; it must be at least 1")
    configs = {target: pruner.config.replace(target=target) for target in sorted(set(targets))}
    keys = {target: pruner.digest(task, config) for target, config in configs.items()}
    path = lines_of(pruner.run.folder, task)
    done = {row["key"]: row for row in read_lines(path) if row.get("key") in keys.values()}
    missing = [target for target in configs if keys[target] not in done]
    for start in range(0, len(missing), batch):
        some = missing[start : start + batch]

        def heard(job: int, stage: str, steps: int, of: int, loss: float, some: list[float] = some) -> None:
            if stage == "masks" and watch is not None:
                watch(some[job], steps, loss)

        found = pruner.search([PruneJob(task, configs[target]) for target in some], heard)
        for target, result in zip(some, found, strict=True):
            row = point(task.name, configs[target], result)
            if isinstance(result, PruneResult):
                save_circuit(result.circuit, path.with_suffix("") / f"{target:g}")
            done[keys[target]] = {"key": keys[target], **row}
            append_line(path, done[keys[target]])
    return [done[keys[target]] for target in configs]


def point(task: str, config: PruneConfig, result: object) -> dict[str, Any]:
    """The row of one pruning.

    Raises:
        SparseCircuitsError: the result is an error that is not a PruneError.
    """
    row: dict[str, Any] = {"task": task, "target": config.target, **dict.fromkeys(FIGURES), "error": None}
    if isinstance(result, PruneResult):
        return row | {name: getattr(result, name) for name in FIGURES}
    if isinstance(result, PruneError):
        return row | {"error": str(result)}
    assert isinstance(result, Exception)
    raise result


def lines_of(run: Path, task: Task) -> Path:
    """Where the points of a task lie in a run's folder; a variant's ``:`` becomes ``_``."""
    return run / "sweeps" / f"{task.name.replace(':', '_')}.jsonl"
