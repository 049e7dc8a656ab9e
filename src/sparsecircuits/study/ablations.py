"""What a change of the recipe does to the loss: train with and without it, and say whether it is worse.

Two halves. :func:`run_trial` trains one model and measures it: validation loss, dead neurons, tasks. It keeps
what it found, so that a study goes on where it stopped; a training that diverges is a result too.
:func:`judge` says what the differences to the baseline amount to, by a rule that is written down here:

1. a change's difference is the mean loss over its n seeds minus that over the reference's m seeds, and its
   standard error (SE) is sigma sqrt(1/n + 1/m); sigma, the spread of seeds, is pooled over all settings;
2. "worse" is confirmed ("yes") if the difference exceeds 2 SE, contradicted ("opposite") if it is below
   -2 SE, and else "not seen"; "better" the other way round;
3. "similar" holds ("yes") if |difference| + 2 SE is at most :data:`SMALL`, fails ("no") if
   |difference| - 2 SE exceeds it, and is else "undecided"; "not better" holds if difference - 2 SE is at
   least -SMALL, fails if difference + 2 SE is below -SMALL, and is else "undecided";
4. a change of which a training diverged is worse; against a reference that diverged, and with fewer than two
   seeds on a side, there is no verdict.

Where nothing differs, one row in 22 lies beyond 2 SE by chance: about two of 40. As all rows share the
reference's runs, such errors come together: a reference that is good by luck makes many rows worse.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from sparsecircuits.data import Corpus
from sparsecircuits.data.batches import sequential_batches
from sparsecircuits.data.manifest import read_manifest
from sparsecircuits.data.shards import MANIFEST, SHARDS
from sparsecircuits.errors import ConfigError
from sparsecircuits.files import write_atomic
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.hooks import record
from sparsecircuits.study.jobs import Report
from sparsecircuits.tasks import SUITES
from sparsecircuits.tasks.evaluate import evaluate_task
from sparsecircuits.train import Run, RunConfig, load_run, train
from sparsecircuits.train.guard import TrainingDiverged
from sparsecircuits.train.projection import sparse_matrices
from sparsecircuits.train.run import RUN_FILE

Expected = Literal["worse", "better", "similar", "not better"]
Outcome = Literal["worse", "better", "not seen"]
Finding = Literal["yes", "opposite", "not seen", "no", "undecided"]

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

    Raises:
        ConfigError: what is there was measured with another config or corpus.
    """
    path = folder / FIGURES
    manifest = read_manifest(corpus / MANIFEST)
    config = config.replace(model=config.model.replace(vocab_size=manifest.vocab_size))
    made_of = {"config": config.to_dict(), "tokens_sha256": manifest.files[SHARDS["train"]].sha256}
    if path.is_file():
        _require_same(path, made_of)
    else:
        found = Corpus.open(corpus)
        try:
            train(config, found, folder, lambda step: report(step.step, step.loss, None))
        except TrainingDiverged as error:
            figures = _nothing(str(error))
        else:
            figures = measure(load_run(folder), found, pairs)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # nothing goes on from here
        write_atomic(path, (json.dumps(figures | made_of, indent=2) + "\n").encode())
    report(config.train.steps, None, None)
    return json.loads(path.read_text(encoding="utf-8"))


def _require_same(path: Path, made_of: Mapping[str, Any]) -> None:
    """Raise unless the figures are of this config and corpus; older ones leave that to their run.json."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    if "config" not in stored:
        stored = json.loads((path.parent / RUN_FILE).read_text(encoding="utf-8"))
    # Through the config's own reading, so that a setting which came later has its default there.
    stored["config"] = RunConfig.from_dict(stored["config"], where=str(path)).to_dict()
    there, asked = ({"corpus": of["tokens_sha256"][:12], **_flat(of["config"])} for of in (stored, made_of))
    apart = [
        f"{key} {there.get(key)!r} there, {asked.get(key)!r} asked for"
        for key in sorted(there.keys() | asked.keys())
        if there.get(key) != asked.get(key)
    ]
    if apart:
        raise ConfigError(
            f"{path}: measured with other settings ({'; '.join(apart)}); name another folder, or remove it"
        )


def _flat(config: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        f"{part}.{key}": list(value) if isinstance(value, tuple) else value
        for part, fields in config.items()
        for key, value in fields.items()
    }


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
    """Difference of the means in nats; infinite where the change diverged, None without a reference."""
    seeds: int
    """Seeds that the change was trained with."""
    error: float | None
    """Standard error of the difference."""
    outcome: Outcome | None
    """None with fewer than two seeds on a side, a reference that diverged, or no estimate of the spread."""
    holds: Finding | None
    """What becomes of the finding; None where nothing is expected, or there is no outcome."""


def differences(changed: Mapping[int, float], reference: Mapping[int, float]) -> dict[int, float]:
    """Loss by seed minus the reference's mean; infinite where it diverged, none if the reference did."""
    if not reference or not all(map(math.isfinite, reference.values())):
        return {}
    mean = statistics.fmean(reference.values())
    return {seed: changed[seed] - mean for seed in sorted(changed)}


def seed_spread(settings: Iterable[Mapping[int, float]]) -> float | None:
    """Standard deviation of the loss between seeds, pooled over settings; None without two seeds of one.

    >>> seed_spread([{0: 2.00, 1: 2.02}, {0: 3.00, 1: 3.02}, {0: 9.0}])
    0.01414...
    """
    squares, degrees = 0.0, 0
    for losses in settings:
        values = [loss for loss in losses.values() if math.isfinite(loss)]
        if len(values) > 1:
            squares += statistics.variance(values) * (len(values) - 1)
            degrees += len(values) - 1
    return math.sqrt(squares / degrees) if degrees else None


def judge(
    changed: Mapping[int, float],
    reference: Mapping[int, float],
    sigma: float | None,
    expected: Expected | None,
) -> Verdict:
    """The verdict on losses by seed, infinite where training diverged; ``sigma`` is :func:`seed_spread`.

    >>> judge({0: 2.0, 1: 2.5}, {0: 1.5, 1: 1.0}, 0.125, "worse")
    Verdict(mean=1.0, seeds=2, error=0.125, outcome='worse', holds='yes')
    """
    if not changed or not reference or not all(map(math.isfinite, reference.values())):
        return Verdict(None, len(changed), None, None, None)
    mean = statistics.fmean(changed.values()) - statistics.fmean(reference.values())
    if min(len(changed), len(reference)) < 2 or sigma is None:
        return Verdict(mean, len(changed), None, None, None)
    error = sigma * math.sqrt(1 / len(changed) + 1 / len(reference))
    low, high = mean - 2 * error, mean + 2 * error
    outcome: Outcome = "worse" if low > 0 else "better" if high < 0 else "not seen"
    return Verdict(mean, len(changed), error, outcome, _holds(outcome, low, high, expected))


def _holds(outcome: Outcome, low: float, high: float, expected: Expected | None) -> Finding | None:
    match expected:
        case None:
            return None
        case "similar":
            within, beyond = low >= -SMALL and high <= SMALL, low > SMALL or high < -SMALL
        case "not better":
            within, beyond = low >= -SMALL, high < -SMALL
        case _:
            return "not seen" if outcome == "not seen" else "yes" if outcome == expected else "opposite"
    return "yes" if within else "no" if beyond else "undecided"
