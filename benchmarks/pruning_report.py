"""From what the pruning benchmark found to figures with their goals, and the tables of ``docs/pruning.md``.

Pure functions of rows: those of ``sparsecircuits study`` (a pruning each), ``planted score`` (a mean each),
``prune --complete`` (a task each), and the edges of every pruning that tuning tried.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.report import figure, goals, markdown, number, short, source
from sparsecircuits.prune import PruneConfig
from sparsecircuits.tasks import TASKS

#: Names of the two runs.
SPARSE, DENSE = "small", "small_dense_7200"
#: Task loss that circuits are pruned to, in nats; and those of the curves.
TARGET = 0.15
TARGETS = (0.05, 0.15, 0.5)
#: Prunings of the best search known, of the one that is judged, and of the paper's.
LONG_SEARCH, SHORT_SEARCH, PAPERS = 48, 32, 256


def python_tasks() -> list[str]:
    """The twenty tasks."""
    return [task.name for task in TASKS.values() if task.suite == "python"]


def geomean(values: Iterable[float]) -> float:
    """Geometric mean; a size of 0 counts as 1."""
    logs = [math.log(max(1.0, value)) for value in values]
    return math.exp(statistics.fmean(logs))


def by_task(rows: Iterable[dict[str, Any]], run: str) -> dict[str, dict[str, Any]]:
    """Task -> row, of one run; without those that have no circuit."""
    return {row["task"]: row for row in rows if row["run"] == run and not row["error"] and row["met"]}


def before(row: dict[str, Any], size: str) -> float:
    """A size before single edges were cut."""
    return row["before_edges"][size]


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Dense over sparse, geometric means over the tasks with a circuit in both."""
    sparse, dense = by_task(rows, SPARSE), by_task(rows, DENSE)
    both = sorted(sparse.keys() & dense.keys())
    told: dict[str, float] = {"tasks": len(both)}
    for size in ("edges", "nodes"):
        told[size] = geomean(before(dense[t], size) for t in both) / geomean(
            before(sparse[t], size) for t in both
        )
        told[f"{size}_after"] = geomean(dense[t][size] for t in both) / geomean(sparse[t][size] for t in both)
    return told


def price(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """What each objective's circuits in the sparse model are like, over the tasks that all have."""
    tables = {name: by_task(rows, SPARSE) for name, rows in found.items()}
    common = sorted(set.intersection(*(set(table) for table in tables.values())))
    told = {}
    for name, table in tables.items():
        rows = [table[task] for task in common]
        told[name] = {
            "tasks": len(rows),
            "nodes": geomean(before(row, "nodes") for row in rows),
            "edges": geomean(before(row, "edges") for row in rows),
            "mean": statistics.fmean(before(row, "mean") for row in rows),
            "within mean": sum(before(row, "mean") <= TARGET for row in rows),
            "within worst": sum(before(row, "worst") <= 2 * TARGET for row in rows),
            "worst": statistics.median(before(row, "worst") for row in rows),
            "raw": statistics.fmean(row["necessity"]["accuracy"] for row in rows),
            "refitted": statistics.fmean(row["necessity"]["refitted_accuracy"] for row in rows),
            "necessary": sum(row["necessity"]["necessary"] for row in rows),
        }
    return told


def cleaned(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The share of edges and nodes that went after pruning; geometric means over tasks."""
    table = by_task(rows, SPARSE).values()
    return {
        size: 1 - geomean(row[size] for row in table) / geomean(before(row, size) for row in table)
        for size in ("edges", "nodes")
    }


def against_attribution(rows: list[dict[str, Any]]) -> dict[float, dict[str, float]]:
    """By target: tasks with a circuit of both methods, and the two geometric means of edges."""
    told = {}
    for target in TARGETS:
        edges: dict[str, dict[str, int]] = {"task": {}, "attribution": {}}
        for row in rows:
            if row["target"] == target and not row["error"] and row["met"]:
                edges[row["method"]][row["task"]] = row["edges"]
        both = sorted(edges["task"].keys() & edges["attribution"].keys())
        if not both:
            continue
        means = {method: geomean(found[task] for task in both) for method, found in edges.items()}
        told[target] = {"tasks": len(both), **means, "ratio": means["attribution"] / means["task"]}
    return told


def smallest(trials: Sequence[int | None], count: int) -> float:
    """The fewest edges among the first ``count`` prunings."""
    return min((edges for edges in trials[:count] if edges is not None), default=math.inf)


def figures(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Every row of the promises."""
    means = {name: {row_key(row): row for row in rows} for name, rows in found["planted"].items()}
    whole = {name: rows["all", None] for name, rows in means.items()}
    rows = [
        figure("planted, faithful: node F1", whole["faithful"]["node_f1"], 0.95, "max"),
        figure("planted, faithful: edge F1", whole["faithful"]["edge_f1"], 0.90, "max"),
    ]
    for name in whole:
        if name != "faithful":
            rows.append(figure(f"planted, {name}: node F1", whole[name]["node_f1"], None, "max"))
            rows.append(figure(f"planted, {name}: edge F1", whole[name]["edge_f1"], None, "max"))
    gap = abs(found["twin"][SPARSE] - found["twin"][DENSE])
    rows.append(figure("validation loss, difference to the dense twin", gap, 0.03, "min"))
    for method in ("task", "faithful"):
        table, told = by_task(found["studies"][method], SPARSE), ratios(found["studies"][method])
        rows += [
            figure(f"{method}: tasks with a circuit in the sparse model, of 20", len(table), 20, "max"),
            figure(f"{method}: tasks with a circuit in both models, of 20", told["tasks"], 20, "max"),
            figure(f"{method}: edges, dense / sparse", told["edges"], 16, "max"),
            figure(f"{method}: nodes, dense / sparse", told["nodes"], None, "max"),
            figure(f"{method}: edges, dense / sparse, after edge removal", told["edges_after"], None, "max"),
            figure(f"{method}: nodes, dense / sparse, after edge removal", told["nodes_after"], None, "max"),
        ]
    told = price({method: found["studies"][method] for method in ("task", "faithful")})
    faithful, task = told["faithful"], told["task"]
    rows += [
        figure("faithful: stochastic mean, mean over tasks", faithful["mean"], TARGET, "min"),
        figure(
            "faithful: share of tasks with a stochastic mean within the target",
            faithful["within mean"] / faithful["tasks"], 1, "max",
        ),
        figure(
            "faithful: share of tasks with a stochastic worst within twice the target",
            faithful["within worst"] / faithful["tasks"], 1, "max",
        ),
        figure("faithful: nodes, of those of task", faithful["nodes"] / task["nodes"], 1.2, "min"),
        figure(
            "complete circuits: share of tasks at chance without them",
            sum(row["state"] == "complete" for row in found["complete"]) / len(found["complete"]), 1, "max",
        ),
    ]  # fmt: skip
    for target, one in against_attribution(found["curves"]).items():
        rows.append(figure(f"attribution / learned, edges at {target:g}", one["ratio"], 4, "max"))
    for method, goal in (("paper", 0.25), ("task", None), ("faithful", None)):
        share = cleaned(found["studies"][method])
        rows.append(figure(f"clean-up of {method}: share of edges removed", share["edges"], goal, "max"))
        rows.append(figure(f"clean-up of {method}: share of nodes removed", share["nodes"], None, "max"))
    for name, tried in found["tuning"].items():
        best = min(smallest(trials, LONG_SEARCH) for trials in tried.values())
        tuned, drawn = (smallest(tried[sampler], SHORT_SEARCH) / best for sampler in ("tpe", "random"))
        rows += [
            figure(f"tuned {name}: edges / best known", tuned, 1.05, "min"),
            figure(f"random {name}: edges / best known", drawn, None, "min"),
        ]
    return [
        *rows,
        figure("tuning: prunings, of the paper's 256", SHORT_SEARCH / PAPERS, 1 / 8, "min"),
        figure("prunings of every other task", len(PruneConfig().penalties), 4, "min"),
        figure("eight mask sets: time, of one's", found["batched"]["ratio"], 2.5, "min"),
        figure("one task on the demo's model, task: seconds", found["demo"]["task"], 60, "min"),
        figure("one task on the demo's model, faithful: seconds", found["demo"]["faithful"], None, "min"),
    ]


def row_key(row: dict[str, Any]) -> tuple[str, int | None]:
    """(program, level) of a planted mean; (``all``, None) is over everything."""
    return row["program"] or "all", row["level"]


def summaries(found: dict[str, Any]) -> dict[str, Any]:
    """What the tables are made of, and every pruning."""
    keep = (
        "run",
        "task",
        "method",
        "nodes",
        "edges",
        "loss",
        "met",
        "necessity",
        "stochastic",
        "before_edges",
    )
    kept = ("task", "method", "target", "nodes", "edges", "loss", "met", "error")
    return {
        "planted": found["planted"],
        "prunings": [
            {key: row.get(key) for key in (*keep, "error")}
            for rows in found["studies"].values()
            for row in rows
        ],
        "price": price(found["studies"]),
        "complete": [{k: v for k, v in row.items() if k != "folder"} for row in found["complete"]],
        "curves": [{key: row.get(key) for key in kept} for row in found["curves"]],
        "tuning": found["tuning"],
        "batched": found["batched"],
        "demo": found["demo"],
    }


def tables(result: dict[str, Any]) -> str:
    """What stands in the page."""
    losses = ", ".join(f"`{name}` {loss:.3f}" for name, loss in result["models"].items())
    parts = [
        source(result),
        goals(result["figures"]),
        short(result),
        "## Planted models",
        planted_table(result["planted"]),
        "## Sparse against dense",
        f"Nodes / edges before single edges were cut → after. Validation losses: {losses}.",
        sizes_table(result["prunings"]),
        "## The price of faithfulness",
        "The sparse model, before single edges were cut; necessity after. Sizes: geometric means over tasks.",
        price_table(result["price"]),
        "## Complete circuits",
        complete_table(result["complete"]),
        "## Learned against attribution",
        curves_table(result["curves"]),
        "## Tuning",
        tuning_table(result["tuning"]),
    ]
    return "\n\n".join(parts)


def planted_table(planted: dict[str, list[dict[str, Any]]]) -> str:
    """F1 by pruner and level."""
    columns = ("node_f1", "node_precision", "node_recall", "edge_f1", "completeness")
    lines = [
        ["pruner", "level", "models", "node F1", "precision", "recall", "edge F1", "complete", "s a model"]
    ]
    for pruner, rows in planted.items():
        for row in rows:
            if row["program"] is None:
                values = [f"{row[key]:.3f}" for key in columns]
                level = str(row["level"] or "all")
                lines.append([f"`{pruner}`", level, str(row["models"]), *values, f"{row['seconds']:.1f}"])
    return markdown(lines)


def sizes_table(rows: list[dict[str, Any]]) -> str:
    """Each task's circuits in both models."""
    table = {(row["task"], row["method"], row["run"]): row for row in rows}
    heads = [f"`{method}`, {run}" for method in ("task", "faithful") for run in ("sparse", "dense")]
    lines = [["task", *heads]]
    for task in python_tasks():
        cells = [f"`{task}`"]
        for method in ("task", "faithful"):
            for run in (SPARSE, DENSE):
                cells.append(_sizes(table.get((task, method, run))))
        lines.append(cells)
    return markdown(lines)


def _sizes(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not run"
    if row["error"]:
        return "none"
    first = f"{before(row, 'nodes'):,} / {before(row, 'edges'):,} → {row['nodes']:,} / {row['edges']:,}"
    return first if row["met"] else f"missed: {first}"


def price_table(told: dict[str, dict[str, float]]) -> str:
    """One line for each objective."""
    heads = [
        "nodes",
        "edges",
        "restored: mean",
        "tasks within the target",
        "worst, median",
        "tasks within twice",
    ]
    lines = [["objective", *heads, "without it: raw", "refitted", "necessary"]]
    for name, row in told.items():
        of = f" of {row['tasks']:.0f}"
        cells = [
            f"{row['nodes']:.1f}",
            f"{row['edges']:.1f}",
            f"{row['mean']:.3f}",
            f"{row['within mean']}{of}",
        ]
        cells += [
            f"{row['worst']:.2f}",
            f"{row['within worst']}{of}",
            f"{row['raw']:.1%}",
            f"{row['refitted']:.1%}",
        ]
        lines.append([f"`{name}`", *cells, f"{row['necessary']}{of}"])
    return markdown(lines)


def complete_table(rows: list[dict[str, Any]]) -> str:
    """Each task's disjoint circuits."""
    lines = [["task", "circuits: nodes", "all: nodes / edges", "without them: raw, refitted", "so they are"]]
    for row in rows:
        sizes = " + ".join(str(one["nodes"]) for one in row["circuits"]) or "none"
        if row["nodes"] is None:
            lines.append([f"`{row['name']}`", sizes, "", "", row["note"]])
            continue
        left = f"{row['accuracy']:.0%}, {row['refitted_accuracy']:.0%}"
        state = row["state"] + (f": {row['note']}" if row["note"] else "")
        lines.append([f"`{row['name']}`", sizes, f"{row['nodes']:,} / {row['edges']:,}", left, state])
    return markdown(lines)


def curves_table(rows: list[dict[str, Any]]) -> str:
    """Geometric means by target."""
    lines = [["target", "tasks with both", "learned: edges", "attribution: edges", "ratio"]]
    for target, one in against_attribution(rows).items():
        sizes = [number(one["task"]), number(one["attribution"]), f"{one['ratio']:.1f}×"]
        lines.append([f"{target:g}", f"{one['tasks']:.0f}", *sizes])
    return markdown(lines)


def tuning_table(tried: dict[str, dict[str, list[int | None]]]) -> str:
    """The fewest edges after so many prunings."""
    counts = (1, 4, 8, 16, SHORT_SEARCH, LONG_SEARCH)
    lines = [["task", "sampler", *(f"{count}" for count in counts)]]
    for task, samplers in tried.items():
        for sampler, trials in samplers.items():
            sizes = [smallest(trials, count) for count in counts]
            lines.append([f"`{task}`", sampler, *(f"{size:.0f}" for size in sizes)])
    return markdown(lines)
