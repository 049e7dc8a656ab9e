"""What a change of the recipe does to the loss: train with and without it, and say whether it is worse.

Two halves. :func:`run_trial` trains one model and measures it: validation loss, dead neurons, tasks. It keeps
what it found, so that a study goes on where it stopped; a training that diverges is a result too.
:func:`judge` says what the differences to the baseline amount to, by a rule that is written down here:

1. a change's difference is taken seed by seed, on the same seeds, and then in the mean over them;
2. the *noise* of one difference is estimated from how much it varies between seeds, over all changes at once:
   the median of \\|difference of seed 0 - difference of seed 1\\|, divided by 0.6745 sqrt 2, which for normal
   noise is its standard deviation, and which a few unstable trainings do not move;
3. a mean over n seeds is *worse* (or *better*) if all seeds agree on the sign and it exceeds twice
   noise / sqrt n; else it is *equal*;
4. a finding "worse" or "better" holds if that is the verdict; "similar" holds if the verdict is equal or the
   difference at most :data:`SMALL`; "not better" holds if the verdict is not better.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from sparsecircuits.data import Corpus
from sparsecircuits.data.batches import sequential_batches
from sparsecircuits.files import write_atomic
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.hooks import record
from sparsecircuits.study.jobs import Report
from sparsecircuits.tasks import SUITES
from sparsecircuits.tasks.evaluate import evaluate_task
from sparsecircuits.train import Run, RunConfig, load_run, train
from sparsecircuits.train.guard import TrainingDiverged
from sparsecircuits.train.projection import sparse_matrices

Expected = Literal["worse", "better", "similar", "not better"]
Outcome = Literal["worse", "better", "equal"]

#: Differences of at most so many nats count as similar.
SMALL = 0.02
#: In a trial's folder, what was measured.
FIGURES = "figures.json"
#: Prompt pairs of each task; its scale is fitted on half as many others.
PAIRS = 128
#: A neuron is dead if it is zero at every one of so many validation tokens.
NEURON_TOKENS = 65_536


def run_trial(
    config: RunConfig, corpus: Path, folder: Path, report: Report, pairs: int = PAIRS
) -> dict[str, Any]:
    """Train and measure, as far as that is not done; returns what ``figures.json`` holds.

    The vocabulary's size is the corpus'. Where training diverged, ``error`` says how; figures are None.
    """
    path = folder / FIGURES
    if not path.is_file():
        found = Corpus.open(corpus)
        config = config.replace(model=config.model.replace(vocab_size=found.tokenizer.vocab_size))
        try:
            train(config, found, folder, lambda step: report(step.step, step.loss, None))
        except TrainingDiverged as error:
            figures = _nothing(str(error))
        else:
            figures = measure(load_run(folder), found, pairs)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # nothing goes on from here
        write_atomic(path, (json.dumps(figures, indent=2) + "\n").encode())
    report(config.train.steps, None, None)
    return json.loads(path.read_text(encoding="utf-8"))


def measure(run: Run, corpus: Corpus, pairs: int = PAIRS) -> dict[str, Any]:
    """Figures of a finished run: what training stored, nonzero weights, dead neurons, twenty tasks."""
    result = run.result()
    assert result is not None
    model, tokenizer = run.model(), run.tokenizer()
    weights = [matrix.weight for matrix in sparse_matrices(model, floor=0)]
    tasks = {}
    for task in SUITES["python"].values():
        scored = evaluate_task(
            model, task, tokenizer, pairs=pairs, train_pairs=pairs // 2, splits=("heldout",)
        )
        tasks[task.name] = {"loss": scored.loss, "accuracy": scored.accuracy, "done": scored.done}
    return {
        "val_loss": result["val_loss"],
        "seconds": result["seconds"],
        "nonzero": sum(int(torch.count_nonzero(weight)) for weight in weights),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dead": dead_neurons(model, corpus.val[: NEURON_TOKENS + 1]),
        "neurons": model.config.n_layer * model.config.mlp_width,
        "tasks_done": sum(row["done"] for row in tasks.values()),
        "tasks": tasks,
        "error": None,
    }


def _nothing(error: str) -> dict[str, Any]:
    keys = ("val_loss", "seconds", "nonzero", "parameters", "dead", "neurons", "tasks_done")
    return {**dict.fromkeys(keys), "tasks": {}, "error": error}


@torch.no_grad()
def dead_neurons(model: SparseGPT, tokens: np.ndarray, rows: int = 32) -> int:
    """How many MLP neurons, of all layers, are zero behind AbsTopK at every one of ``tokens`` [count]."""
    names = [f"{layer}.mlp.post_act" for layer in range(model.config.n_layer)]
    alive = torch.zeros(model.config.n_layer, model.config.mlp_width, dtype=torch.bool)
    for window in sequential_batches(tokens, rows=rows, n_ctx=model.config.n_ctx):
        with record(model, names) as cache:
            model(window[:, :-1])
        alive |= torch.stack([(cache[name] != 0).flatten(0, 1).any(0) for name in names])
    return int((~alive).sum())


class Verdict(NamedTuple):
    """What a change does to the loss."""

    mean: float | None
    """Mean difference in nats over the seeds; infinite where a training diverged, None without a seed."""
    seeds: int
    """Seeds that both were trained with."""
    outcome: Outcome | None
    """None without a seed, or without an estimate of the noise."""
    holds: bool | None
    """Whether the finding holds; None where nothing is expected, or there is no outcome."""


def differences(changed: Mapping[int, float], reference: Mapping[int, float]) -> dict[int, float]:
    """Loss by seed, minus the reference's, on the seeds of both; infinite where the changed one diverged."""
    return {seed: changed[seed] - reference[seed] for seed in sorted(changed.keys() & reference.keys())}


def noise(all_differences: Sequence[Mapping[int, float]]) -> float | None:
    """Standard deviation of one difference, from changes with two seeds; None if there is none.

    >>> noise([{0: 0.01, 1: 0.03}, {0: 0.5, 1: 0.52}, {0: 1.0, 1: 9.0}])  # median 0.02
    0.02096...
    """
    apart = [
        abs(row[0] - row[1])
        for row in all_differences
        if math.isfinite(row.get(0, math.inf)) and math.isfinite(row.get(1, math.inf))
    ]
    return statistics.median(apart) / (0.6745 * math.sqrt(2)) if apart else None


def judge(by_seed: Mapping[int, float], deviation: float | None, expected: Expected | None) -> Verdict:
    """The verdict on differences by seed; ``deviation`` is :func:`noise`.

    >>> judge({0: 0.05, 1: 0.07}, 0.02, "worse")
    Verdict(mean=0.06, seeds=2, outcome='worse', holds=True)
    """
    if not by_seed or deviation is None:
        return Verdict(None if not by_seed else statistics.fmean(by_seed.values()), len(by_seed), None, None)
    values = list(by_seed.values())
    mean = statistics.fmean(values)
    agree = all(value > 0 for value in values) or all(value < 0 for value in values)
    outcome: Outcome = "equal"
    if agree and abs(mean) > 2 * deviation / math.sqrt(len(values)):
        outcome = "worse" if mean > 0 else "better"
    return Verdict(mean, len(values), outcome, _holds(outcome, mean, expected))


def _holds(outcome: Outcome, mean: float, expected: Expected | None) -> bool | None:
    match expected:
        case None:
            return None
        case "similar":
            return outcome == "equal" or abs(mean) <= SMALL
        case "not better":
            return outcome != "better"
        case _:
            return outcome == expected
