"""Two processes against one, over a run that spans annealing: are the bits the same, and what does it cost?

Five runs of the same recipe and corpus, by the command line as anybody would start them: one process that
takes each batch whole, one that takes its halves one after the other, two processes with ``ddp`` and with
``shard``, and one process with other kernels, as a control. Compared are weights (their zeros among them),
moments and losses. ``training.py`` writes the page.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks import report
from sparsecircuits.data.batches import batch
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.checkpoint import load_model
from sparsecircuits.ops.memory import keep_freed_memory
from sparsecircuits.presets import get_preset
from sparsecircuits.train import Machine, load_run
from sparsecircuits.train.optimizer import SparseOptimizer, gradient_rms
from sparsecircuits.train.step import train_step

STEPS, CHECKPOINT = 200, 200
#: Every name of these rows begins so; others' rows of the same file stay.
TOPIC = "two processes: "
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
WAYS: dict[str, tuple[list[str], list[str]]] = {
    "whole": ([], []),
    "halves": ([], ["--micro-rows", "8"]),
    "ddp": (TORCHRUN, ["--parallel", "ddp"]),
    "shard": (TORCHRUN, ["--parallel", "shard"]),
    # One process again, that rounds otherwise: how far runs part that differ in nothing else.
    "control": ([], []),
}
CONTROL = "plain"


def measure(folder: Path) -> list[dict[str, Any]]:
    """Train in ``folder``, where runs that are there are not repeated, and compare."""
    return compared(train_all(folder)) + rms_cost()


def train_all(folder: Path) -> dict[str, Path]:
    """The runs; the first one builds the corpus of all."""
    for name, (launcher, options) in WAYS.items():
        data = [] if name == "whole" else ["--data", str(folder / "whole" / "data")]
        settings = {"steps": STEPS, "log_every": 1, "eval_every": 50, "checkpoint_every": 50}
        words = [word for key, value in settings.items() for word in ("--set", f"train.{key}={value}")]
        command = [sys.executable, *launcher, "-m", "sparsecircuits", "train", str(folder / name)]
        command += ["--preset", "demo", "--device", "cpu", *words, *data, *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if name == "control":
            environment["SPARSECIRCUITS_KERNELS"] = CONTROL
        subprocess.run(command, check=True, env=environment)
    return {name: folder / name for name in WAYS}


def compared(runs: dict[str, Path]) -> list[dict[str, Any]]:
    """How much of each run of two processes equals the halves' run bit for bit; how far the whole's is."""
    figures = []
    right = runs["halves"]
    for name in ("ddp", "shard"):
        for what, share in {
            "weights and their zeros": same_tensors(weights(runs[name]), weights(right)),
            f"moments after step {CHECKPOINT}": same_tensors(moments(runs[name]), moments(right)),
            f"losses and gradient RMS of {STEPS} steps": same_rows(metrics(runs[name]), metrics(right)),
        }.items():
            figures.append(
                report.figure(f"{TOPIC}{name}, share of {what} equal bit for bit", share, 1, "max")
            )
    for name in ("ddp", "shard", "control"):
        what = f"one process with kernels for {CONTROL} processors" if name == "control" else name
        goal = None if name == "control" else 1e-3
        pairs = zip(metrics(runs[name]), metrics(runs["whole"]), strict=True)
        apart = [one["loss"] - other["loss"] for one, other in pairs]
        text = f"{TOPIC}{what}, difference of the mean loss of {STEPS} steps from one process'"
        figures.append(report.figure(text, abs(statistics.mean(apart)), goal, "min"))
        text = f"{TOPIC}{what}, largest difference of a step's loss from one process'"
        figures.append(report.figure(text, max(map(abs, apart)), goal, "min"))
        ends = [load_run(runs[one]).result() or {} for one in (name, "whole")]
        end = abs(ends[0]["val_loss"] - ends[1]["val_loss"])
        figures.append(report.figure(f"{TOPIC}{what}, difference of the last validation", end, goal, "min"))
    return figures


def weights(run: Path) -> dict[str, torch.Tensor]:
    """By name, dense."""
    return dict(load_model(run / "model").state_dict())


def moments(run: Path) -> dict[str, torch.Tensor]:
    """By name."""
    return load_file(run / "checkpoints" / f"step_{CHECKPOINT:06d}" / "optimizer.safetensors")


def metrics(run: Path) -> list[dict[str, Any]]:
    """What a line has that no clock decides."""
    keys = ("step", "loss", "grad_rms", "val_loss")
    return [{key: row[key] for key in keys if key in row} for row in load_run(run).metrics()]


def same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Share of tensors whose bits are equal; -0.0 is not 0."""
    assert set(one) == set(other)
    equal = [one[name].numpy().tobytes() == other[name].numpy().tobytes() for name in one]
    return sum(equal) / len(equal)


def same_rows(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> float:
    """Share of equal lines."""
    assert len(one) == len(other) == STEPS
    return sum(a == b for a, b in zip(one, other, strict=True)) / STEPS


def rms_cost() -> list[dict[str, Any]]:
    """What the gradients' RMS takes of a step, and what torch's in float32 would take."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as commands do
    preset = get_preset("demo")
    model, recipe = SparseGPT(preset.model), preset.train
    optimizer = SparseOptimizer(model, recipe)
    tokens = torch.randint(preset.model.vocab_size, (100_000,), generator=torch.Generator().manual_seed(0))
    steps, ours, torchs = [], [], []
    for step in range(recipe.steps // 2, recipe.steps // 2 + 40):
        rows = batch(tokens.numpy(), seed=0, step=step, rows=recipe.rows, n_ctx=preset.model.n_ctx)
        steps.append(timed(lambda: train_step(model, optimizer, rows, step, recipe, Machine())))  # noqa: B023
        for parameter in optimizer.parameters:
            parameter.grad = parameter.detach().clone()
        gradients = [parameter.grad for parameter in optimizer.parameters if parameter.grad is not None]
        ours.append(timed(lambda: gradient_rms(optimizer.parameters)))
        torchs.append(timed(lambda: float(torch.nn.utils.get_total_norm(gradients))))  # noqa: B023
        for parameter in optimizer.parameters:
            parameter.grad = None
    step, own, other = (statistics.median(times) for times in (steps, ours, torchs))
    name = f"{TOPIC}share of a step that the gradients' RMS takes beyond torch's in float32"
    return [report.figure(name, (own - other) / step, 0.01, "min")]


def timed(function: Any) -> float:
    """Seconds of processor time."""
    start = time.process_time()
    function()
    return time.process_time() - start
