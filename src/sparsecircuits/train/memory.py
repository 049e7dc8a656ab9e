"""What a run needs of memory at the least, and smaller pieces of a batch where memory runs out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch

from sparsecircuits.errors import OutOfMemory
from sparsecircuits.memory import memory_advice, require_room
from sparsecircuits.train.estimate import gradient_bytes
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.run import RunConfig

KNOBS = (
    "a smaller Machine.micro_rows (--micro-rows), or by itself with Machine.out_of_memory = halve "
    "(--out-of-memory halve; both change the result by rounding alone); by Machine.activations = blocks or "
    "sparse (--activations blocks; the same result in more time); or by smaller train.rows or model.n_ctx"
)

#: Of what does not depend on the rows: weights and moments.
SIZE_KNOBS = "a smaller model.d_model or model.n_layer, or shards on several processes (--parallel shard)"


class Fitted(NamedTuple):
    """What was computed, and in pieces of how many rows."""

    loss: float
    micro_rows: int


def require_memory(config: RunConfig, machine: Machine | None = None, processes: int = 1) -> None:
    """Refuse a run that this machine could not hold: its weights alone, a batch of tokens, or a step.

    A step is estimated (:func:`~sparsecircuits.train.estimate.gradient_bytes`, to about a third), so what is
    refused is what takes more than all memory even if the estimate is a third too high. Nothing is said
    of shards, nor of a device with memory of its own.

    Args:
        config: the run.
        machine: how it is computed; None: as it comes.
        processes: that share the batch.

    Raises:
        ConfigError: with the bytes that it takes and the bytes that there are.
    """
    machine = machine or Machine()
    model, recipe, count = config.model, config.train, config.model.weight_count
    require_room(4 * count, f"a model of {count:,} weights (model.d_model = {model.d_model})")
    tokens = recipe.rows * (model.n_ctx + 1)
    require_room(8 * tokens, f"a batch of {recipe.rows} rows of {model.n_ctx + 1} tokens")
    elsewhere = machine.device.startswith("cuda") or (machine.device == "auto" and torch.cuda.is_available())
    if elsewhere or machine.parallel == "shard":
        return
    rows = rows_at_once(recipe.rows // processes, machine)
    share = recipe.rows // processes
    at_peak = gradient_bytes(model, rows * config.context, machine.activations, parts=share // rows)
    what = f"a step on {rows} rows of {config.context} tokens at once (about{_less(rows, machine)})"
    require_room(int((12 * count + at_peak) / 1.3), what)


def _less(rows: int, machine: Machine) -> str:
    """What takes less memory than this, if anything does."""
    fewer = max((count for count in range(1, rows) if rows % count == 0), default=None)
    knobs = [] if fewer is None else [f"--micro-rows {fewer}"]
    if machine.activations in ("all", "sparse"):
        knobs.append("--activations blocks")
    return f"; {' or '.join(knobs)} takes less" if knobs else ""


def rows_at_once(rows: int, machine: Machine) -> int:
    """The fewest of a process's ``rows`` that may be computed at once: halved as often as it can be."""
    rows = machine.micro_rows or rows
    if machine.out_of_memory == "halve":
        rows //= rows & -rows
    return rows


def fitting(compute: Callable[[int], float], rows: int, step: int, machine: Machine) -> Fitted:
    """``compute(micro_rows)``, with pieces of a batch of ``rows`` rows that are small enough.

    Where memory runs out and the machine may, it is called again with half as many rows at once, as often as
    it takes: the same sum of gradients, in another order.

    Raises:
        OutOfMemory: it may not, or the pieces cannot be halved.
    """
    micro = machine.micro_rows or rows
    while True:
        try:
            with memory_advice(f"training, step {step + 1}, {micro} rows at once", KNOBS):
                return Fitted(compute(micro), micro)
        except OutOfMemory as error:
            if machine.out_of_memory == "stop" or micro % 2:
                raise
            micro //= 2
            warnings.warn(f"{error}: going on with {micro} rows at once", stacklevel=3)
