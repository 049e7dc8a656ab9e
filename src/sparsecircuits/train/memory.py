"""What a run needs of memory at the least, and smaller pieces of a batch where memory runs out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

from sparsecircuits.errors import OutOfMemory
from sparsecircuits.memory import memory_advice, require_room
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.run import RunConfig

KNOBS = (
    "a smaller Machine.micro_rows (--micro-rows), or by itself with Machine.out_of_memory = halve "
    "(--out-of-memory halve; both change the result by rounding alone); or by smaller train.rows "
    "or model.n_ctx"
)

#: Of what does not depend on the rows: weights and moments.
SIZE_KNOBS = "a smaller model.d_model or model.n_layer, or shards on several processes (--parallel shard)"


class Fitted(NamedTuple):
    """What was computed, and in pieces of how many rows."""

    loss: float
    micro_rows: int


def require_memory(config: RunConfig) -> None:
    """Refuse a run whose weights alone, or one batch of whose tokens, this machine could not hold.

    Raises:
        ConfigError: with the bytes that it takes and the bytes that there are.
    """
    count, recipe = config.model.weight_count, config.train
    require_room(4 * count, f"a model of {count:,} weights (model.d_model = {config.model.d_model})")
    tokens = recipe.rows * (config.model.n_ctx + 1)
    require_room(8 * tokens, f"a batch of {recipe.rows} rows of {config.model.n_ctx + 1} tokens")


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
