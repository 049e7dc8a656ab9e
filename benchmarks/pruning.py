"""Measure what pruning promises; write ``docs/results/pruning.json`` and the tables of ``docs/pruning.md``.

Through the commands that users type. Takes ``runs/small`` as ``benchmarks/tasks.py`` leaves it, and trains
its dense twin. What is done already in ``runs/pruning`` is used as it is, so an interrupted call goes on;
from nothing it takes about three hours on two cores::

    python benchmarks/pruning.py
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.report import figure, fill, goals, markdown, number, save, short, source
from sparsecircuits.examples import example_folder
from sparsecircuits.ops.memory import keep_freed_memory
from sparsecircuits.prune import PruneConfig, Splits, pretraining_means
from sparsecircuits.prune.objective import Objective
from sparsecircuits.prune.optimise import MaskJob, optimise_masks
from sparsecircuits.tasks import TASKS, get_task
from sparsecircuits.train import Run, load_run

SCRIPT = "benchmarks/pruning.py"
RESULT = Path("docs/results/pruning.json")
PAGE = Path("docs/pruning.md")

SPARSE, DENSE = "small", "small_dense_7200"
#: The dense twin: as many steps as give the sparse model's validation loss.
TWIN = (
    *("--preset", "small", "--set", "train.density=1", "--set", "train.embed_density=1"),
    *("--set", "train.lr=8e-3", "--set", "train.steps=7200"),
)
TARGET = 0.15
#: Prompts of at most so many tokens, which those of one task are longer than.
TOKENS, LONG = 32, {"class_init": 64}
FEWER = ("--set", "selection_pairs=128", "--set", "validation_pairs=128")
EDGES = ("--set", "edges=true")
FLAGS = ("--selection-pairs", "128", "--validation-pairs", "128")
TARGETS = (0.05, 0.15, 0.5)
TUNED = ("single_double_quote", "bracket_counting", "for_while", "set_or_string_fixedvarname")
LONG_SEARCH, SHORT_SEARCH, PAPERS = 48, 32, 256
#: Planted models: pruner -> seeds of eight; the baseline that learns longest gets fewer.
PLANTED = {"faithful": 8, "task": 8, "paper": 1, "attribution": 8, "random": 8}


def main() -> None:
    """Measure what is missing, and write the figures."""
    options = _arguments().parse_args()
    keep_freed_memory()
    bench = Bench(options.runs, options.workers, short=options.short, as_is=options.as_is)
    found = {name: step(bench) for name, step in STEPS.items() if not options.only or name in options.only}
    if options.only:
        return
    rows = figures(found)
    words = "".join(f" {word}" for word in ("--short", "--as-is") if word in sys.argv)
    result = save(RESULT, f"python {SCRIPT}{words}", rows, models=found.pop("twin"), **summaries(found))
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), SCRIPT, tables(result)), encoding="utf-8")
    print(short(result), RESULT, PAGE, sep="\n")


# --- What is measured ---


class Bench:
    """Where runs are and measurements go."""

    def __init__(self, runs: Path, workers: int, *, short: bool = False, as_is: bool = False) -> None:
        self.runs, self.out, self.workers = runs, runs / "pruning", workers
        self.short, self.as_is = short, as_is

    def command(self, *words: object, check: bool = True) -> str:
        """What ``sparsecircuits WORDS`` prints; its progress goes to the terminal."""
        line = [sys.executable, "-m", "sparsecircuits", *map(str, words)]
        return subprocess.run(line, check=check, stdout=subprocess.PIPE, encoding="utf-8").stdout

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """What ``measure`` gives, kept as ``runs/pruning/NAME.json``."""
        path = self.out / f"{name}.json"
        if not path.is_file():
            value = measure()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))

    def study(self, name: str, runs: Sequence[str], *words: object) -> list[dict[str, Any]]:
        """Rows of a fan-out over all twenty tasks, failed ones too."""
        rows = []
        for tokens in (TOKENS, *(() if self.short else LONG.values())):
            tasks = [task for task in python_tasks() if LONG.get(task, TOKENS) == tokens]
            folder = self.out / (name if tokens == TOKENS else f"{name}-{tokens}")
            chosen = [word for run in runs for word in ("--run", self.runs / run)]
            chosen += [word for task in tasks for word in ("--task", task)]
            chosen += ["--set", f"max_tokens={tokens}", *FEWER, *words, "--workers", self.workers]
            if not self.as_is:
                self.command("study", "prune", folder, *chosen, check=False)  # 1: some job has failed
            else:
                self.command("study", "status", folder, check=False)  # gathers the results
            rows += [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        return [{**row, "run": Path(row["run"]).name} for row in rows]


def python_tasks() -> list[str]:
    """The twenty tasks."""
    return [task.name for task in TASKS.values() if task.suite == "python"]


def twin(bench: Bench) -> dict[str, float]:
    """Validation losses of the sparse model and of its dense twin."""
    if not (bench.runs / DENSE / "result.json").is_file():
        bench.command("train", bench.runs / DENSE, *TWIN, "--data", bench.runs / SPARSE / "data")
    losses = {}
    for name in (SPARSE, DENSE):
        result = load_run(bench.runs / name).result()
        assert result is not None, f"{name} is not trained to its end"
        losses[name] = result["val_loss"]
    return losses


def planted(bench: Bench) -> dict[str, Any]:
    """Each pruner's means over the planted models, of all programs and levels."""

    def measure(pruner: str, seeds: int) -> dict[str, Any]:
        words = ("planted", "score", "--pruner", pruner, "--seeds", seeds, "--json")
        return json.loads(bench.command(*words))["means"][pruner]

    return {
        pruner: bench.once(f"planted-{pruner}", lambda p=pruner, n=seeds: measure(p, n))
        for pruner, seeds in PLANTED.items()
    }


def studies(bench: Bench) -> dict[str, list[dict[str, Any]]]:
    """``task`` and ``faithful`` in both models, ``paper`` in the sparse one; then single edges."""
    return {
        "task": bench.study("task", (SPARSE, DENSE), "--method", "task", *EDGES),
        "faithful": bench.study("faithful", (SPARSE, DENSE), "--method", "faithful", *EDGES),
        "paper": bench.study("paper", (SPARSE,), "--method", "paper", *EDGES),
    }


def complete(bench: Bench) -> list[dict[str, Any]]:
    """Complete circuits of every task."""
    rows = []
    for name in python_tasks():
        words = ("prune", bench.runs / SPARSE, name, "--complete", "--objective", "task", *FLAGS)
        words += ("--max-tokens", LONG.get(name, TOKENS))
        rows += json.loads(bench.command(*words, "--json", check=False))["tasks"]
    return rows


def curves(bench: Bench) -> list[dict[str, Any]]:
    """Circuit size by target loss, learned and by attribution; what is learned at TARGET is there already."""
    targets = [word for target in TARGETS for word in ("--target", target)]
    others = [word for target in TARGETS if target != TARGET for word in ("--target", target)]
    there = bench.study("task", (SPARSE, DENSE), "--method", "task", *EDGES)
    return [
        *bench.study("learned", (SPARSE,), "--method", "task", *others),
        *({**row, **row["before_edges"]} for row in by_task(there, SPARSE).values()),
        *bench.study("attribution", (SPARSE,), "--method", "attribution", *targets),
    ]


def tuning(bench: Bench) -> dict[str, Any]:
    """Edges of every pruning of both samplers, in order, for each tuned task."""
    tried = {}
    for sampler in ("tpe", "random"):
        run = bench.out / f"tuned-{sampler}"
        if not run.is_dir():
            shutil.copytree(
                bench.runs / SPARSE, run, ignore=shutil.ignore_patterns("circuits", "checkpoints")
            )
        for name in TUNED:
            words = ("prune", run, name, "--tune", LONG_SEARCH, "--sampler", sampler, "--objective", "task")
            words += ("--max-tokens", TOKENS, *FLAGS)
            row = json.loads(bench.command(*words, "--json"))["tasks"][0]
            trials = [trial["edges"] if trial["met"] else None for trial in row["tuning"]["trials"]]
            tried.setdefault(name, {})[sampler] = trials
    return tried


def batched(bench: Bench) -> dict[str, float]:
    """Seconds of 20 mask steps of one set and of eight, and the median ratio of seven turns."""

    def measure() -> dict[str, float]:
        torch.set_num_threads(2)
        one, eight = [], []
        run = load_run(bench.runs / SPARSE)
        for turn in range(8):
            single, many = _mask_steps(run, 1), _mask_steps(run, 8)
            if turn:  # the first turn warms up
                one.append(single)
                eight.append(many)
        ratio = statistics.median(b / a for a, b in zip(one, eight, strict=True))
        return {"one": statistics.median(one), "eight": statistics.median(eight), "ratio": ratio}

    return bench.once("batched", measure)


def _mask_steps(run: Run, sets: int, steps: int = 20) -> float:
    config = PruneConfig(objective="task", max_tokens=TOKENS)
    model, tokenizer = run.model().to_sparse(), run.tokenizer()
    pairs = Splits.draw(get_task("bracket_counting"), tokenizer, config, model.config.n_ctx).train
    means = pretraining_means(model, run.corpus().train)
    jobs = [
        MaskJob(Objective(config=config, pairs=pairs, means=means, seed=seed), 14.0, steps)
        for seed in range(sets)
    ]
    start = time.perf_counter()
    optimise_masks(model, jobs, at_once=sets)
    return time.perf_counter() - start


def on_demo(bench: Bench) -> dict[str, float]:
    """Seconds of ``sparsecircuits prune`` for one task on the demo's bundled model, to its table."""

    def measure() -> dict[str, float]:
        run, seconds = bench.out / "demo", {}
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(example_folder("example"), run, ignore=shutil.ignore_patterns("circuits"))
        words = ("--tokenizer", run / "tokenizer.json", "--train-tokens", 2_400_000)
        bench.command("data", "--out", run / "data", *words)  # as the bundle's README.md has it
        for objective in ("task", "faithful"):
            start = time.perf_counter()
            bench.command("prune", run, "bracket_counting", "--objective", objective, "--json")
            seconds[objective] = time.perf_counter() - start
        return seconds

    return bench.once("demo", measure)


STEPS: Mapping[str, Callable[[Bench], Any]] = {
    "twin": twin,
    "studies": studies,
    "planted": planted,
    "curves": curves,
    "complete": lambda bench: bench.once("complete", lambda: complete(bench)),
    "tuning": lambda bench: bench.once("tuning", lambda: tuning(bench)),
    "batched": batched,
    "demo": on_demo,
}


# --- Figures ---


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
    for name in PLANTED:
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
        short_search = SHORT_SEARCH
        rows += [
            figure(
                f"tuned {name}: edges / best known", smallest(tried["tpe"], short_search) / best, 1.05, "min"
            ),
            figure(
                f"random {name}: edges / best known",
                smallest(tried["random"], short_search) / best,
                None,
                "min",
            ),
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


# --- Tables ---


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


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument("--workers", type=int, default=2, help="processes of a study")
    parser.add_argument("--short", action="store_true", help="leave long prompts out of the studies")
    parser.add_argument("--as-is", action="store_true", help="take the studies as far as they are")
    parser.add_argument("--only", nargs="+", choices=STEPS, help="measure these alone, and write no figures")
    return parser


if __name__ == "__main__":
    main()
