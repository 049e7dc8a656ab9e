"""Do other seeds and other data give the same circuit? Many prunings of one task, and what they agree on.

The prunings are those of so many seeds, which decide pairs and masks, and of so many data bootstraps: the
first seed's pairs drawn again with replacement, those that masks learn from and those that circuits are
chosen on apart. Frozen values are the same for all. Each pruning is a line of ``RUN/consensus/TASK.jsonl`` as
soon as its round is done, and is not done again; the core is saved, tested, in ``RUN/consensus/TASK``.
(T20, 10 seeds and 5 bootstraps; the figures: :mod:`sparsecircuits.validate.stability`.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from sparsecircuits.circuit import Circuit, count_edges
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import ConfigError, PruneError
from sparsecircuits.model import Node
from sparsecircuits.prune import PruneConfig, PruneJob, PruneResult, Splits
from sparsecircuits.study.lines import append_line, read_lines
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.study.sweep import point
from sparsecircuits.tasks import Split, Task, TokenPairs
from sparsecircuits.tasks.score import Calibration, fit_scale, pair_logits, score
from sparsecircuits.validate.stability import (
    CORE,
    Stability,
    consensus_core,
    mean_jaccard,
    random_jaccard,
)

#: ``watch(pruning's name, mask steps done, loss)``.
Watch = Callable[[str, int, float], None]


@dataclasses.dataclass(frozen=True)
class Consensus:
    """What the prunings agree on.

    Attributes:
        stability: Jaccard indices, the core and its loss.
        core: the core as a circuit, with its figures and all tests in ``info``.
        rows: one for each pruning: ``name`` (``seed 0``, ``bootstrap 0``), sizes, losses, ``names`` of the
            nodes, or ``error``.
    """

    stability: Stability
    core: Circuit
    rows: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Bootstrapped(Task):
    """A task whose pairs, all but the held-out ones, are drawn again with replacement."""

    draw: int = 0
    """Which bootstrap."""
    share: float = 0.5
    """So much of the train split masks learn from; it is drawn apart from the rest, on which circuits are
    chosen."""

    @classmethod
    def of(cls, task: Task, draw: int, config: PruneConfig) -> Bootstrapped:
        """The bootstrap number ``draw`` of a task, for prunings with ``config``."""
        fields = {field.name: getattr(task, field.name) for field in dataclasses.fields(Task)}
        share = config.train_pairs / (config.train_pairs + config.selection_pairs)
        return cls(**fields, draw=draw, share=share)

    def pairs(
        self, tokenizer: TextTokenizer, split: Split, count: int, *, seed: int = 0, max_tokens: int = 64
    ) -> TokenPairs:
        found = super().pairs(tokenizer, split, count, seed=seed, max_tokens=max_tokens)
        if split == "heldout":
            return found
        generator = torch.Generator().manual_seed(1_000_003 * seed + self.draw)
        cut = max(1, round(len(found) * self.share)) if split == "train" else len(found)
        parts = [
            first + torch.randint(last - first, (last - first,), generator=generator)
            for first, last in ((0, cut), (cut, len(found)))
            if last > first
        ]
        return found.rows(torch.cat(parts))


def consensus(
    pruner: RunPruner,
    task: Task,
    *,
    seeds: int = 10,
    bootstraps: int = 5,
    batch: int = 4,
    watch: Watch | None = None,
) -> Consensus:
    """Prune with ``seeds`` seeds and ``bootstraps`` bootstraps, compare, test and save the core.

    Args:
        pruner: of the run; its seed is the first.
        task: what the circuits must do.
        seeds: how many, one at least.
        bootstraps: how many.
        batch: prunings side by side.
        watch: told of every mask step.

    Raises:
        ConfigError: fewer than two prunings.
        PruneError: fewer than two of them gave a circuit; or no node is in the core.
        TaskError: the task does not fit the tokenizer.
    """
    if seeds < 1 or bootstraps < 0 or seeds + bootstraps < 2 or batch < 1:
        raise ConfigError(
            f"{seeds} seeds, {bootstraps} bootstraps, batches of {batch}; needed are a seed, two prunings in "
            f"all and a batch of at least 1"
        )
    rows = _prunings(pruner, task, seeds, bootstraps, batch, watch)
    found = [row for row in rows if row["error"] is None]
    if len(found) < 2:
        why = next((row["error"] for row in rows if row["error"]), "")
        raise PruneError(f"{task.name}: {len(found)} of {len(rows)} prunings gave a circuit: {why}")
    circuits = [frozenset(map(Node.parse, row["names"])) for row in found]
    nodes = consensus_core(circuits)
    if not nodes:
        raise PruneError(f"{task.name}: no node is in {CORE:.0%} of the {len(circuits)} circuits")
    core = _core(pruner, task, nodes)
    stability = Stability(
        circuits=len(circuits),
        jaccard=mean_jaccard(circuits),
        random_jaccard=random_jaccard([len(c) for c in circuits], pruner.model.config.node_count),
        core=nodes,
        core_loss=core.info["loss"],
        mean_loss=fmean(row["loss"] for row in found),
    )
    told = {**dataclasses.asdict(stability), "core": len(nodes), "passed": stability.passed}
    more = {"stability": {**told, "seeds": seeds, "bootstraps": bootstraps}}
    folder = lines_of(pruner, task).with_suffix("")
    return Consensus(stability, pruner.keep(task, core, folder, more=more), rows)


def lines_of(pruner: RunPruner, task: Task) -> Path:
    """Where the prunings of a task lie; a variant's ``:`` becomes ``_``."""
    return pruner.run.folder / "consensus" / f"{task.name.replace(':', '_')}.jsonl"


def _prunings(
    pruner: RunPruner, task: Task, seeds: int, bootstraps: int, batch: int, watch: Watch | None
) -> list[dict[str, Any]]:
    config = pruner.config
    jobs = {
        f"seed {config.seed + i}": PruneJob(task, config.replace(seed=config.seed + i)) for i in range(seeds)
    }
    jobs |= {f"bootstrap {i}": PruneJob(Bootstrapped.of(task, i, config), config) for i in range(bootstraps)}
    keys = {
        name: pruner.digest(task, job.config) + ("" if job.task is task else f"-{name}")
        for name, job in jobs.items()
    }
    path = lines_of(pruner, task)
    done = {row["key"]: row for row in read_lines(path) if row.get("key") in keys.values()}
    missing = [name for name in jobs if keys[name] not in done]
    for start in range(0, len(missing), batch):
        some = missing[start : start + batch]

        def heard(job: int, stage: str, steps: int, of: int, loss: float, some: list[str] = some) -> None:
            if stage == "masks" and watch is not None:
                watch(some[job], steps, loss)

        for name, result in zip(some, pruner.search([jobs[name] for name in some], heard), strict=True):
            row = {"key": keys[name], "name": name, **point(task.name, jobs[name].config, result)}
            if isinstance(result, PruneResult):
                row["names"] = sorted(map(str, result.circuit.nodes))
            append_line(path, row)
            done[keys[name]] = row
    return [done[keys[name]] for name in jobs]


def _core(pruner: RunPruner, task: Task, nodes: frozenset[Node]) -> Circuit:
    """The core as a circuit, with the figures that a pruning's has."""
    model, config = pruner.model, pruner.config
    pairs = Splits.draw(task, pruner.tokenizer, config, model.config.n_ctx)
    full_scale = fit_scale(pair_logits(model, pairs.train), pairs.train)
    full = score(pair_logits(model, pairs.heldout), pairs.heldout, Calibration(full_scale, 0.0))
    circuit = Circuit(task.name, nodes, pruner.means)
    with circuit.installed(model):
        scale = fit_scale(pair_logits(model, pairs.train), pairs.train)
        logits, chosen = pair_logits(model, pairs.heldout), pair_logits(model, pairs.validation)
    scaled = score(logits, pairs.heldout, Calibration(scale, 0.0))
    validation = score(chosen, pairs.validation, Calibration(full_scale, 0.0)).loss
    info = {
        "model_sha256": pruner.hash,
        "target": config.target,
        "met": validation <= config.target,
        "loss": scaled.loss,
        "raw_loss": score(logits, pairs.heldout).loss,
        "accuracy": scaled.accuracy,
        "full_loss": full.loss,
        "full_accuracy": full.accuracy,
        "full_scale": full_scale,
        "validation_loss": validation,
        "nodes": len(nodes),
        "edges": count_edges(model, nodes),
        "total_nodes": model.config.node_count,
        "config": config.to_dict(),
    }
    return Circuit(task.name, nodes, pruner.means, scale, info)
