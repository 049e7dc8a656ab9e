"""Measure everything that the demo promises, and write ``docs/results/demo.json``.

Runs the demo with two seeds, and trains the dense twin at two more learning rates; whatever is done
already in ``runs/`` is used as it is. About twenty minutes on two cores from nothing::

    python benchmarks/demo.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from sparsecircuits.cli.progress import Progress
from sparsecircuits.data import Corpus
from sparsecircuits.ops.memory import keep_freed_memory
from sparsecircuits.presets import demo_plan
from sparsecircuits.study.demo import is_necessary, run_demo, train_jobs, with_bars
from sparsecircuits.train import load_run

RATES = {"dense": (4e-3, 8e-3, 1.6e-2)}
RESULT = Path("docs/results/demo.json")


def main() -> None:
    """Run what is missing, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument("--out", type=Path, default=RESULT, help="the file that is written")
    options = parser.parse_args()
    keep_freed_memory()
    with Progress() as progress:
        first, second = (
            run_demo(demo_plan(seed), options.runs / name, progress, workers=2)
            for seed, name in ((0, "demo"), (1, "demo-seed1"))
        )
        rates = measure_rates(options.runs, progress)
    result = {
        "command": "python benchmarks/demo.py",
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, no GPU used, "
        f"Python {platform.python_version()}, torch {torch.__version__}",
        "figures": [*figures(first), *rate_figures(first, rates), *seed_figures(first, second)],
        "rates": rates,
        "summaries": [first, second],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(options.out)


def measure_rates(runs: Path, progress: Progress) -> dict[str, dict[str, float]]:
    """Validation loss at every rate: model -> rate -> nats/token."""
    plan = demo_plan(0)
    corpus = Corpus.open(runs / "demo" / "data")
    jobs = []
    folders: dict[str, dict[str, Path]] = {name: {} for name in RATES}
    for name, rates in RATES.items():
        config = getattr(plan, name)
        for rate in rates:
            folders[name][f"{rate:g}"] = runs / "demo" / name
            if rate != config.train.lr:
                changed = {f"{name}-{rate:g}": config.replace(train=config.train.replace(lr=rate))}
                jobs += train_jobs(changed, corpus, runs / "demo-rates")
                folders[name][f"{rate:g}"] = runs / "demo-rates" / f"{name}-{rate:g}"
    with_bars(jobs, progress, workers=2)
    return {
        name: {rate: _val_loss(folder) for rate, folder in by_rate.items()}
        for name, by_rate in folders.items()
    }


def figures(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the demo's promises for one seed."""
    pruned = [row for row in summary["tasks"] if all(row["circuit"].values())]
    quotes = next(row for row in summary["tasks"] if row["name"] == "single_double_quote")["circuit"][
        "sparse"
    ]
    losses = [circuit["loss"] for row in pruned for circuit in row["circuit"].values()]
    changes = [row["necessity"]["random_loss"] - row["necessity"]["full_loss"] for row in pruned]
    loss = summary["val_loss"]
    return [
        _row("demo, seconds", summary["seconds"]["total"], 300, "min"),
        _row("tasks pruned in both models", len(pruned), 6, "max"),
        _row("validation loss, sparse above its dense twin's", loss["sparse"] - loss["dense"], 0.10, "min"),
        _row("density of the matrices", summary["density"], 1 / 16, "min"),
        _row("tasks done by the sparse model", sum(row["done"] for row in summary["tasks"]), 9, "max"),
        _row("edges, geometric mean, dense / sparse", summary["geomean_edges"]["ratio"], 12, "max"),
        _row("nodes, geometric mean, dense / sparse", summary["geomean_nodes"]["ratio"], None, "max"),
        _row("tasks left out of the means", len(summary["left_out"]), 0, "min"),
        _row("string closing, nodes", quotes["nodes"], 12, "min"),
        _row("string closing, edges", quotes["edges"], 9, "min"),
        _row("worst held-out loss of a circuit", max(losses), 0.17, "min"),
        _row("share of circuits that are necessary", _share(map(is_necessary, pruned)), 0.5, "max"),
        _row("random circuits: mean change of loss over tasks", sum(changes) / len(changes), 0.05, "min"),
        _row("random circuits: largest change of a task", max(changes), 0.05, "min"),
    ]


def rate_figures(summary: dict[str, Any], rates: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """The sparse model against the dense twin at the best of its rates."""
    gap = summary["val_loss"]["sparse"] - min(rates["dense"].values())
    return [_row("validation loss, sparse above the best dense of three rates", gap, 0.10, "min")]


def seed_figures(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """The second seed's rows, and how far apart the two are."""
    ratios = [summary["geomean_edges"]["ratio"] for summary in (first, second)]
    done = [sum(row["done"] for row in summary["tasks"]) for summary in (first, second)]
    shift = abs(first["val_loss"]["sparse"] - second["val_loss"]["sparse"])
    return [
        *({**row, "name": f"second seed: {row['name']}"} for row in figures(second)),
        _row("seeds: ratio of the edge ratios", max(ratios) / min(ratios), 1.5, "min"),
        _row("seeds: difference of sparse validation losses", shift, 0.03, "min"),
        _row("seeds: difference of tasks done", abs(done[0] - done[1]), 1, "min"),
    ]


def _row(name: str, value: float, goal: float | None, sense: str) -> dict[str, Any]:
    return {"name": name, "value": value, "goal": goal, "sense": sense}


def _share(flags: Any) -> float:
    found = list(flags)
    return sum(found) / len(found)


def _val_loss(folder: Path) -> float:
    result = load_run(folder).result()
    assert result is not None
    return result["val_loss"]


if __name__ == "__main__":
    main()
