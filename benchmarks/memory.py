"""Measure what a training step takes of memory and time, by which activations are saved for its gradients.

Writes ``docs/results/memory.json`` and the table of ``docs/memory.md``::

    python benchmarks/memory.py

Bytes are the growth of a fresh process, which ``metrics.jsonl`` has as ``peak_bytes_per_token``, with freed
memory kept or given back as the command would; times are the processor's, of such processes in turn, and of
steps in turn within one process that keeps freed memory. It takes some minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, get_args

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor

from benchmarks.report import Sense, figure, fill, goals, markdown, number, save, source
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.ops.memory import keep_freed_memory, return_freed_memory
from sparsecircuits.recipes.demo import demo
from sparsecircuits.train import Machine, TrainConfig
from sparsecircuits.train.estimate import gradient_bytes
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.saved import Activations
from sparsecircuits.train.step import train_step
from sparsecircuits.train.worker import Worker

SCRIPT = "benchmarks/memory.py"
RESULT, PAGE = Path("docs/results/memory.json"), Path("docs/memory.md")
CHOICES: tuple[Activations, ...] = get_args(Activations)
#: Processes of each kind.
ROUNDS = 1


class Case(NamedTuple):
    """A model and a batch of ``rows`` sequences of 64 tokens."""

    name: str
    d_model: int
    n_layer: int
    rows: int
    density: float

    @property
    def model(self) -> GPTConfig:
        """Its shape: the demo's but for these numbers."""
        return demo().model.replace(d_model=self.d_model, n_layer=self.n_layer)

    @property
    def tokens(self) -> int:
        """Computed at once."""
        return self.rows * self.model.n_ctx


CASES = (
    Case("width 256, 8 layers", 256, 8, 32, 1 / 50),
    Case("width 1024, 2 layers", 1024, 2, 16, 1 / 200),
)


class Steps:
    """A training at its final density, to take steps of."""

    def __init__(self, case: Case) -> None:
        ends = {"anneal_start": 0.0, "anneal_stop": 0.0, "warmup": 0.0, "steps": 10_000}
        self.recipe = TrainConfig(rows=case.rows, density=case.density, embed_density=case.density, **ends)
        self.model = SparseGPT(case.model)
        self.optimizer = SparseOptimizer(self.model, self.recipe)
        shape = (case.rows, case.model.n_ctx + 1)
        self.tokens: Tensor = torch.randint(
            0, case.model.vocab_size, shape, generator=torch.Generator().manual_seed(0)
        )
        self.workers = {name: Worker(self.model, self.recipe, Machine(activations=name)) for name in CHOICES}

    def take(self, activations: Activations) -> float:
        """One step; its seconds of the processor."""
        worker, began = self.workers[activations], time.process_time()
        train_step(self.model, self.optimizer, self.tokens, 0, self.recipe, worker.machine, worker)
        return time.process_time() - began


class Alone(NamedTuple):
    """What a process saw that took steps of one kind."""

    bytes: float
    """Of the gradients' peak, a token."""
    seconds: float
    """Of a step, the median."""


def alone(case: Case, activations: Activations, steps: int) -> Alone:
    """Steps in a process of their own."""
    asked = [json.dumps(case), activations, str(steps)]
    command = [sys.executable, "-m", "benchmarks.memory", "--alone", *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Alone(*json.loads(done.stdout))


def alone_here(case: Case, activations: Activations, steps: int) -> Alone:
    """The same in this process, which does with freed memory what ``sparsecircuits train`` does."""
    torch.set_num_threads(1)
    keep_freed_memory() if activations == "all" else return_freed_memory()
    taken = Steps(case)
    seconds = [taken.take(activations) for _ in range(steps + 3)]
    return Alone(
        taken.workers[activations].peak.row()["peak_bytes_per_token"], statistics.median(seconds[2:])
    )


def together(case: Case, steps: int) -> dict[str, float]:
    """Time of a step over one that saves all, the medians of steps taken in turn; freed memory is kept."""
    torch.set_num_threads(1)
    keep_freed_memory()
    taken, found = Steps(case), {name: [] for name in CHOICES}
    for _ in range(steps + 1):
        times = {name: taken.take(name) for name in CHOICES}
        for name in CHOICES:
            found[name].append(times[name] / times["all"])
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def rows_of(case: Case, steps: int) -> list[dict[str, Any]]:
    """All figures of a case, a row for each choice."""
    computing, rows = together(case, steps), []
    rounds = [{name: alone(case, name, steps) for name in CHOICES} for _ in range(ROUNDS)]
    for name in CHOICES:
        measured = statistics.median(one[name].bytes for one in rounds)
        guess = gradient_bytes(case.model, case.tokens, name) / case.tokens
        row = {"case": case.name, "activations": name, "bytes": measured, "estimate": guess / measured}
        row["computing"] = computing[name]
        row["time"] = statistics.median(one[name].seconds / one["all"].seconds for one in rounds)
        print(row, flush=True)
        rows.append(row)
    return rows


def figures_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is judged: estimates within 30%, and what sparse activations and recomputing save and cost."""
    worst = max(abs(row["estimate"] - 1) for row in rows)
    goal: Sense = "min"
    figures = [figure("largest error of the estimate of a step's peak", worst, 0.3, goal)]
    for case in dict.fromkeys(row["case"] for row in rows):
        own = {row["activations"]: row for row in rows if row["case"] == case}
        for name in CHOICES[1:]:
            share = own[name]["bytes"] / own["all"]["bytes"]
            figures.append(figure(f"{case}: {name}, bytes a token over all's", share, None, goal))
            figures.append(
                figure(f"{case}: {name}, time of a step over all's", own[name]["time"], None, goal)
            )
    return figures


def table(rows: list[dict[str, Any]]) -> str:
    """All of it, for the page."""
    heads = ["kB a token at the peak", "time of a step", "with freed memory kept", "estimate / measured"]
    lines = [["model", "`activations`", *heads]]
    for row in rows:
        numbers = (row["bytes"] / 1000, row["time"], row["computing"], row["estimate"])
        lines.append([row["case"], f"`{row['activations']}`", *map(number, numbers)])
    return markdown(lines, words=2)


def main() -> None:
    """Measure, and write."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("--steps", type=int, default=4, help="of each kind for each model (default: 4)")
    words.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    chosen = words.parse_args()
    if chosen.alone is not None:
        case, asked, steps = chosen.alone
        which = Machine.from_dict({"activations": asked}).activations
        print(json.dumps(alone_here(Case(*json.loads(case)), which, int(steps))))
        return
    rows = [row for case in CASES for row in rows_of(case, chosen.steps)]
    result = save(RESULT, f"python {SCRIPT}", figures_of(rows), rows=rows)
    block = f"{table(rows)}\n\n{goals(result['figures'][:1])}\n\n{source(result)}"
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), SCRIPT, block), encoding="utf-8")
    print(block)


if __name__ == "__main__":
    main()
