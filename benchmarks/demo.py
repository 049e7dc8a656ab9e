"""Measure what the demo promises; write ``docs/results/demo.json`` and the tables of ``docs/demo.md``.

Runs the demo with two seeds, and trains the dense twin at two more learning rates; whatever is done
already in ``runs/`` is used as it is. About twenty minutes on two cores from nothing::

    python benchmarks/demo.py
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import figure, fill, goals, markdown, number, save, short, source
from sparsecircuits.cli.progress import Progress
from sparsecircuits.data import Corpus
from sparsecircuits.ops.memory import keep_freed_memory
from sparsecircuits.presets import demo_plan
from sparsecircuits.study.demo import is_necessary, run_demo, train_jobs, with_bars
from sparsecircuits.train import load_run

RATES = {"dense": (4e-3, 8e-3, 1.6e-2)}
RESULT = Path("docs/results/demo.json")
SCRIPT = "benchmarks/demo.py"
PAGE = Path("docs/demo.md")


def main() -> None:
    """Run what is missing, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    options = parser.parse_args()
    keep_freed_memory()
    with Progress() as progress:
        first, second = (
            run_demo(demo_plan(seed), options.runs / name, progress, workers=2)
            for seed, name in ((0, "demo"), (1, "demo-seed1"))
        )
        rates = measure_rates(options.runs, progress)
    rows = [*figures(first), *rate_figures(first, rates), *seed_figures(first, second)]
    result = save(RESULT, f"python {SCRIPT}", rows, rates=rates, summaries=[first, second])
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), SCRIPT, tables(result)), encoding="utf-8")
    print(short(result), RESULT, PAGE, sep="\n")


def tables(result: dict[str, Any]) -> str:
    """What the page says of a result, in tables."""
    parts = [source(result)]
    for summary in result["summaries"]:
        seconds = ", ".join(f"{stage} {value:.0f} s" for stage, value in summary["seconds"].items())
        undone = [f"`{row['name']}`" for row in summary["tasks"] if not row["done"]]
        parts += [
            f"## Seed {summary['seed']}",
            seed_table(summary),
            f"Seconds: {seconds}. Tasks not done by the sparse model: {', '.join(undone) or 'none'}.",
        ]
    rates = [["model", "rate", "validation loss"]]
    for model, losses in result["rates"].items():
        rates += [[model, rate, f"{loss:.3f}"] for rate, loss in losses.items()]
    promised = ["## What was promised", goals(result["figures"]), short(result)]
    return "\n\n".join([*parts, *promised, "## Learning rates", markdown(rates)])


def seed_table(summary: dict[str, Any]) -> str:
    """The pruned tasks of one seed, and the geometric means."""
    sides = ("sparse", "dense")
    head = ["task", "unpruned loss", "sparse: nodes / edges", "dense: nodes / edges", "edges, dense / sparse"]
    head += ["circuit loss, sparse (raw), dense (raw)", "without it: raw, refitted", "random circuits"]
    lines = [[*head, "so it is"]]
    for row in pruned_rows(summary):
        sizes = [row["circuit"][side] for side in sides]
        needed = row["necessity"]
        lines.append(
            [
                f"`{row['name']}`",
                f"{row['loss']:.3f}",
                *(f"{size['nodes']:,} / {size['edges']:,}" for size in sizes),
                f"{sizes[1]['edges'] / max(1, sizes[0]['edges']):.0f}×",
                ", ".join(f"{size['loss']:.3f} ({size['raw_loss']:.3f})" for size in sizes),
                f"{needed['accuracy']:.0%}, {needed['refitted_accuracy']:.0%}",
                f"{needed['random_loss'] - needed['full_loss']:+.3f}",
                "necessary" if is_necessary(row) else "redundant",
            ]
        )
    nodes, edges = summary["geomean_nodes"], summary["geomean_edges"]
    means = [f"{nodes[side]:.1f} / {number(edges[side])}" for side in sides]
    ratio = f"{edges['ratio']:.1f}× (nodes {nodes['ratio']:.1f}×)"
    lines.append(["**geometric mean**", "", *means, ratio, "", "", "", ""])
    return markdown(lines)


def pruned_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The tasks of a summary with a circuit in both models."""
    return [row for row in summary["tasks"] if all(row["circuit"].values())]


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
    pruned = pruned_rows(summary)
    quotes = next(row for row in summary["tasks"] if row["name"] == "single_double_quote")["circuit"][
        "sparse"
    ]
    losses = [circuit["loss"] for row in pruned for circuit in row["circuit"].values()]
    changes = [row["necessity"]["random_loss"] - row["necessity"]["full_loss"] for row in pruned]
    loss = summary["val_loss"]
    return [
        figure("demo, seconds", summary["seconds"]["total"], 300, "min"),
        figure("tasks pruned in both models", len(pruned), 6, "max"),
        figure("validation loss, sparse above its dense twin's", loss["sparse"] - loss["dense"], 0.10, "min"),
        figure("density of the matrices", summary["density"], 1 / 16, "min"),
        figure("tasks done by the sparse model", sum(row["done"] for row in summary["tasks"]), 9, "max"),
        figure("edges, geometric mean, dense / sparse", summary["geomean_edges"]["ratio"], 12, "max"),
        figure("nodes, geometric mean, dense / sparse", summary["geomean_nodes"]["ratio"], None, "max"),
        figure("tasks left out of the means", len(summary["left_out"]), 0, "min"),
        figure("string closing, nodes", quotes["nodes"], 12, "min"),
        figure("string closing, edges", quotes["edges"], 9, "min"),
        figure("worst held-out loss of a circuit", max(losses), 0.17, "min"),
        figure("share of circuits that are necessary", _share(map(is_necessary, pruned)), 0.5, "max"),
        figure("random circuits: mean change of loss over tasks", sum(changes) / len(changes), 0.05, "min"),
        figure("random circuits: largest change of a task", max(changes), 0.05, "min"),
    ]


def rate_figures(summary: dict[str, Any], rates: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """The sparse model against the dense twin at the best of its rates."""
    gap = summary["val_loss"]["sparse"] - min(rates["dense"].values())
    return [figure("validation loss, sparse above the best dense of three rates", gap, 0.10, "min")]


def seed_figures(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """The second seed's rows, and how far apart the two are."""
    ratios = [summary["geomean_edges"]["ratio"] for summary in (first, second)]
    done = [sum(row["done"] for row in summary["tasks"]) for summary in (first, second)]
    shift = abs(first["val_loss"]["sparse"] - second["val_loss"]["sparse"])
    return [
        *({**row, "name": f"second seed: {row['name']}"} for row in figures(second)),
        figure("seeds: ratio of the edge ratios", max(ratios) / min(ratios), 1.5, "min"),
        figure("seeds: difference of sparse validation losses", shift, 0.03, "min"),
        figure("seeds: difference of tasks done", abs(done[0] - done[1]), 1, "min"),
    ]


def _share(flags: Any) -> float:
    found = list(flags)
    return sum(found) / len(found)


def _val_loss(folder: Path) -> float:
    result = load_run(folder).result()
    assert result is not None
    return result["val_loss"]


if __name__ == "__main__":
    main()
