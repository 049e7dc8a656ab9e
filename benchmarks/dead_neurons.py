"""Does reviving dead neurons help? Train the demo's sparse model without and with each scheme, and compare.

For every scheme of ``TrainConfig.revive`` and every seed: validation loss, the share of MLP neurons that
never fire on 65,536 validation tokens, which of the demo's seven tasks the model does, and the circuits for
them. Writes ``docs/results/dead_neurons.json``, the table of ``docs/training.md`` and its picture. What is
done already is kept, so that it goes on where it was stopped. About twenty minutes on one core::

    python benchmarks/dead_neurons.py --data runs/demo/data
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.report import figure, fill, markdown, save, source
from sparsecircuits.data import Corpus, build_corpus
from sparsecircuits.errors import PruneError
from sparsecircuits.presets import DEMO_TASKS, demo, demo_plan
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.tasks import get_task
from sparsecircuits.tasks.evaluate import evaluate_task
from sparsecircuits.train import Run, load_run, train
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.vitals import validate
from sparsecircuits.viz.style import save_chart
from sparsecircuits.viz.training_charts import training_figure

SCRIPT = "benchmarks/dead_neurons.py"
RESULT = Path("docs/results/dead_neurons.json")
PAGE, PICTURE = Path("docs/training.md"), Path("docs/images/dead_neurons.png")
SCHEMES = ("none", "resample", "leak")
TOKENS = 65_536
MEASURED = "dead_neurons.json"


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/dead_neurons"), help="where the runs go")
    parser.add_argument("--data", type=Path, help="the demo's corpus; built in RUNS/data if not given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="0 1 if not given")
    parser.add_argument("--as-is", action="store_true", help="write about what is done so far")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if not asked.as_is:
        data = asked.data or asked.runs / "data"
        corpus = Corpus.open(data) if asked.data else build_corpus(demo().data, data)
        for seed in asked.seeds:
            for scheme in SCHEMES:
                print(f"{scheme}, seed {seed}", flush=True)
                measure(scheme, seed, corpus, asked.runs)
    write(
        [row for row in (stored(asked.runs, s, n) for n in asked.seeds for s in SCHEMES) if row], asked.runs
    )


def measure(scheme: str, seed: int, corpus: Corpus, runs: Path) -> None:
    """Train one model and measure it, unless that is done."""
    folder = runs / f"{scheme}-{seed}"
    recipe = TrainConfig.from_dict({**demo().train.to_dict(), "revive": scheme, "seed": seed})
    train(demo().run.replace(train=recipe), corpus, folder)
    if (folder / MEASURED).is_file():
        return
    run = load_run(folder)
    model, tokenizer = run.model(), run.tokenizer()
    seen = validate(model, corpus.val, limit=TOKENS, sample=TOKENS)
    done = [task for task in DEMO_TASKS if evaluate_task(model, get_task(task), tokenizer, pairs=256).done]
    row = {
        "scheme": scheme,
        "seed": seed,
        "val_loss": seen.loss,
        "dead": seen.vitals.dead_share,
        "dead_by_site": seen.vitals.dead,
        "kurtosis": seen.vitals.kurtosis,
        "revived": run.metrics()[-1].get("revived", 0),
        "done": done,
        "edges": circuits(run, done),
    }
    (folder / MEASURED).write_text(json.dumps(row, indent=2) + "\n")


def circuits(run: Run, tasks: Sequence[str]) -> dict[str, int]:
    """Edges of the circuit for each task, of those for which one is found."""
    pruner = RunPruner(run, demo_plan().prune)
    found = {}
    for name in tasks:
        try:
            circuit = pruner.prune(get_task(name), lambda step, loss, nodes: None)
        except PruneError as error:
            print(f"  {name}: {error}", flush=True)
            continue
        if circuit.info["met"]:
            found[name] = circuit.info["edges"]
    return found


def stored(runs: Path, scheme: str, seed: int) -> dict[str, Any] | None:
    """What was measured of a run, if it was."""
    file = runs / f"{scheme}-{seed}" / MEASURED
    return json.loads(file.read_text()) if file.is_file() else None


def write(rows: Sequence[dict[str, Any]], runs: Path) -> None:
    """The JSON file, the page's table and the picture."""
    shared = set.intersection(*[set(row["edges"]) for row in rows])
    figures = []
    for scheme in SCHEMES:
        of = [row for row in rows if row["scheme"] == scheme]
        if of:
            for key, what in (("val_loss", "validation loss"), ("dead", "share of dead neurons")):
                value = mean(row[key] for row in of)
                figures.append(figure(f"revive {scheme}: {what}, mean", value, None, "min"))
    result = save(RESULT, f"python {SCRIPT}", figures, runs=list(rows))
    curves = {f"{row['scheme']}, seed {row['seed']}": _metrics(runs, row) for row in rows}
    save_chart(training_figure(curves), PICTURE, dpi=100)
    table = [["revive", "seed", "validation loss", "dead neurons", "revivals", "tasks done", "edges"]]
    for row in sorted(rows, key=lambda row: SCHEMES.index(row["scheme"])):
        edges = _geomean([row["edges"][name] for name in shared])
        table.append(
            [
                f"`{row['scheme']}`",
                str(row["seed"]),
                f"{row['val_loss']:.4f}",
                f"{row['dead']:.1%}",
                f"{row['revived']:,}" if row["scheme"] != "none" else "",
                f"{len(row['done'])} of {len(DEMO_TASKS)}",
                f"{edges:.1f}",
            ]
        )
    note = f"Edges: geometric mean over the {len(shared)} tasks that have a circuit in every model."
    block = "\n\n".join([markdown(table), note, verdict(rows), source(result)])
    PAGE.write_text(fill(PAGE.read_text(), SCRIPT, block))


def verdict(rows: Sequence[dict[str, Any]]) -> str:
    """What follows, by a rule: a change counts if it has one sign and is larger than the seeds' spread."""
    base = {row["seed"]: row for row in rows if row["scheme"] == "none"}
    spread = max(r["val_loss"] for r in base.values()) - min(r["val_loss"] for r in base.values())
    lines = []
    for scheme in SCHEMES[1:]:
        of = [row for row in rows if row["scheme"] == scheme and row["seed"] in base]
        if not of:
            continue
        loss = [row["val_loss"] - base[row["seed"]]["val_loss"] for row in of]
        way = "raises" if loss[0] > 0 else "lowers"
        if len({change > 0 for change in loss}) > 1:
            word = "moves the loss now up, now down"
        elif min(map(abs, loss)) > spread:
            word = f"{way} the loss by more than seeds do"
        else:
            word = f"{way} the loss with every seed, but not by more than another seed may"
        dead = [f"{base[row['seed']]['dead']:.1%} to {row['dead']:.1%}" for row in of]
        changes = ", ".join(f"{change:+.4f}" for change in loss)
        lines.append(
            f"- `{scheme}` takes dead neurons from {', '.join(dead)}, and {word}: {changes} nats a token, "
            f"where the seeds without it lie {spread:.4f} apart.{_sizes(of, base)}"
        )
    return "\n".join(lines)


def _sizes(of: Sequence[dict[str, Any]], base: dict[int, dict[str, Any]]) -> str:
    """How circuits change in size: the geometric mean of ratios, over seeds and the tasks of both models."""
    ratios = [
        max(1, edges) / max(1, base[row["seed"]]["edges"][task])
        for row in of
        for task, edges in row["edges"].items()
        if task in base[row["seed"]]["edges"]
    ]
    if not ratios:
        return ""
    larger, smaller = sum(ratio > 1 for ratio in ratios), sum(ratio < 1 for ratio in ratios)
    mean_ratio = math.exp(mean(math.log(ratio) for ratio in ratios))
    return (
        f" Its circuits have {mean_ratio:.2f} times as many edges, as a geometric mean over {len(ratios)} "
        f"pairs of circuits for the same task and seed: {larger} larger, {smaller} smaller."
    )


def _metrics(runs: Path, row: dict[str, Any]) -> list[dict[str, Any]]:
    return load_run(runs / f"{row['scheme']}-{row['seed']}").metrics()


def _geomean(values: Sequence[int]) -> float:
    return math.exp(mean(math.log(max(1, value)) for value in values)) if values else math.nan


if __name__ == "__main__":
    main()
