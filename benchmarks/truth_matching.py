"""What it takes for a circuit's inside to be the model's (T13), and whether what joins is idle (T16)."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.report import figure, markdown
from sparsecircuits.circuit import load_circuit
from sparsecircuits.study.check import corpus_of
from sparsecircuits.tasks import get_task
from sparsecircuits.train import Run, load_run
from sparsecircuits.validate.basics import outcome_of_output_match, outcome_of_stochastic_ablation
from sparsecircuits.validate.catalogue import PAIRS
from sparsecircuits.validate.matching import match_inside
from sparsecircuits.validate.minimality import minimality
from sparsecircuits.validate.subject import Subject

Row = dict[str, Any]


def matching(bench: Bench, runs: Mapping[str, Path], circuits: Mapping[str, Sequence[Path]]) -> list[Row]:
    """One row a circuit, each kept as it is measured."""
    rows = []
    for name, folders in circuits.items():
        run = load_run(runs[name])
        for folder in folders:
            circuit = load_circuit(folder)
            if not circuit.info.get("met", True):
                continue  # no circuit was found that holds the target
            path = bench.out / "matching" / f"{name}-{circuit.task}.json"
            if not path.is_file() and not bench.as_is:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps({"run": name, **_measure(run, folder)}), encoding="utf-8")
            if path.is_file():
                rows.append(json.loads(path.read_text(encoding="utf-8")))
    return rows


def _measure(run: Run, folder: Path) -> Row:
    circuit = load_circuit(folder)
    subject = Subject.of(
        run.model(),
        circuit,
        get_task(circuit.task),
        run.tokenizer(),
        corpus_of(run),
        pairs=PAIRS["standard"],
    )
    found = match_inside(subject)
    about = subject.about(found.circuit)
    others = (outcome_of_output_match(about), outcome_of_stochastic_ablation(about))
    return {
        "task": circuit.task,
        "nodes": len(circuit),
        "added": found.added,
        "passed": found.passed,
        "minimal_before": minimality(subject).estimate if circuit.nodes else None,
        "minimal": minimality(about).estimate if found.circuit.nodes else None,
        "others": {one.test: one.passed for one in others},
    }


def matching_figures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """How many can be matched, by how many nodes, and what T16 says of them then."""
    some = [row for row in rows if row["nodes"]]
    done = [row for row in some if row["passed"]]
    if not done:
        return []
    growth = math.exp(statistics.fmean(math.log((r["nodes"] + r["added"]) / r["nodes"]) for r in done))
    robust = [row for row in done if all(row["others"].values())]
    return [
        figure(f"inside matched with more nodes: share, of {len(some)}", len(done) / len(some), None, "max"),
        figure("inside matched: nodes, times, geometric mean", growth, None, "min"),
        figure("inside matched: share with T3, T4 and T13", len(robust) / len(some), None, "max"),
        figure(
            "inside matched: share with T3, T4, T13 and T16",
            sum(row["minimal"] >= 0.95 for row in robust) / len(some),
            None,
            "max",
        ),
        figure(
            "inside matched: nodes that are not idle, median",
            statistics.median(row["minimal"] for row in done),
            None,
            "max",
        ),
    ]


def matching_table(rows: Sequence[Row]) -> str:
    """One line a circuit."""
    lines = [["model", "task", "nodes", "added", "T13 then", "T3, T4 then", "not idle before", "then"]]
    for row in rows:
        if not row["nodes"]:
            continue
        others = ", ".join("pass" if row["others"][test] else "fail" for test in ("T3", "T4"))
        before, then = (f"{row[key]:.0%}" for key in ("minimal_before", "minimal"))
        lines.append(
            [
                row["run"],
                f"`{row['task']}`",
                str(row["nodes"]),
                str(row["added"]),
                "pass" if row["passed"] else "fail",
                others,
                before,
                then,
            ]
        )
    return markdown(lines)
