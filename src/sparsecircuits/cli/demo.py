"""``sparsecircuits demo``: the whole line, from nothing to a page with circuits."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from sparsecircuits.cli.progress import Progress, clock_time
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError

COLUMNS = (
    Column("name", "task"),
    Column("loss", "unpruned", ".3f"),
    Column("accuracy", "right", ".1%"),
    Column("circuit.sparse.nodes", "nodes sparse", ",d"),
    Column("circuit.dense.nodes", "dense", ",d"),
    Column("ratio.nodes", "ratio", ".1f"),
    Column("circuit.sparse.edges", "edges sparse", ",d"),
    Column("circuit.dense.edges", "dense", ",d"),
    Column("ratio.edges", "ratio", ".1f"),
    Column("circuit.sparse.loss", "circuit loss", ".3f"),
    Column("circuit.dense.loss", "dense", ".3f"),
    Column("necessity.accuracy", "without it", ".0%"),
    Column("necessity.refitted_accuracy", "refitted", ".0%"),
    Column("note", "so it is"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """See a real circuit: build a corpus, train a sparse model and its dense twin, prune both, draw the page.

    Everything goes into one folder; open its index.html in a browser. Interrupted, the same command goes on
    where it stopped.

    "unpruned" and "right": loss and accuracy of the whole sparse model on held-out prompts. "circuit loss":
    of the circuit alone, everything else frozen. "without it": accuracy of the sparse model when only the
    circuit is removed from it, and after refitting; around 50% the circuit is necessary, else redundant.
    Exit code 1: no circuit for any task.

    Example: sparsecircuits demo --out runs/demo
    """

    out: Path = Path("runs/demo")
    """The folder."""
    seed: int = 0
    """Of models, batches, prompts and masks; the corpus stays the same."""
    quick: bool = False
    """About a minute instead of ten: smaller models, two tasks, rougher figures."""
    workers: int | None = None
    """Processes side by side; by default one for each core, at most two."""
    json: bool = False
    """Print the summary as JSON instead of a table."""


def run(options: Options) -> int:
    """Run the plan and print the summary; 1 if there is no circuit for any of the tasks."""
    from sparsecircuits.presets import demo_plan, quick_demo_plan
    from sparsecircuits.study.demo import PAGE, run_demo

    if options.workers is not None and options.workers < 1:
        raise ConfigError(f"--workers is {options.workers}; it must be at least 1")
    workers = options.workers or min(2, _cores())
    plan = (quick_demo_plan if options.quick else demo_plan)(options.seed)
    with Progress() as progress:
        summary = run_demo(plan, options.out, progress, workers)
    if options.json:
        print_json(summary)
    else:
        print_table([_row(row) for row in summary["tasks"]], COLUMNS)
        print(_in_words(summary))
        print(f"page: {options.out / PAGE}")
    return 0 if any(size for row in summary["tasks"] for size in row["circuit"].values()) else 1


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the summary with its ratios and its verdict."""
    from sparsecircuits.study.demo import is_necessary

    sparse, dense = row["circuit"]["sparse"], row["circuit"]["dense"]
    ratio = {}
    if sparse and dense:
        ratio = {key: max(1, dense[key]) / max(1, sparse[key]) for key in ("nodes", "edges")}
    if not row["done"]:
        note = "not done"
    elif row["necessity"] is None:
        note = "not pruned"
    else:
        note = "necessary" if is_necessary(row) else "redundant"
        missed = [model for model, figures in row["circuit"].items() if figures and not figures["met"]]
        note += f" ({', '.join(missed)} missed the target)" if missed else ""
    return {**row, "ratio": ratio, "note": note}


def _in_words(summary: dict[str, Any]) -> str:
    loss, seconds = summary["val_loss"], summary["seconds"]
    lines = [
        f"validation loss: sparse {loss['sparse']:.3f}, dense {loss['dense']:.3f} nats/token "
        f"({loss['sparse'] - loss['dense']:+.3f}) at density {summary['density']:.4f}, "
        f"{summary['tokens']:,} tokens each",
        f"tasks done: {sum(row['done'] for row in summary['tasks'])} of {len(summary['tasks'])}",
    ]
    for what in ("edges", "nodes"):
        mean = summary[f"geomean_{what}"]
        if mean is not None:
            lines.append(
                f"{what}, geometric mean: sparse {mean['sparse']:.1f}, dense {mean['dense']:.1f}, "
                f"ratio {mean['ratio']:.1f}"
            )
    if summary["left_out"]:
        lines.append(f"in neither mean, since a pruning missed the target: {', '.join(summary['left_out'])}")
    parts = ", ".join(f"{name} {clock_time(spent)}" for name, spent in seconds.items() if name != "total")
    lines.append(f"time: {clock_time(seconds['total'])} ({parts})")
    return "\n".join(lines)
