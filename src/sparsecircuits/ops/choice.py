"""Dense or sparse? A small rule with a few measured constants for each number of threads.

Time of a dense product: entries of the matrix times tokens. Of a sparse one: a call, moving inputs and
outputs, and kept entries times tokens. The faster one is taken; so while density anneals down, each matrix
changes over by itself. The constants that ship were measured on one machine; ``sparsecircuits tune-ops``
measures this one and writes them to ``ops.json`` in :func:`cache_folder`.

On a GPU the rule is a density alone, :data:`GPU_DENSITY`. It is not measured: the paper (§B) has sparse
products win below about 1%, since a GPU's dense ones run on units of their own.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError
from sparsecircuits.ops import gpu, native
from sparsecircuits.ops.linear import FEW, Pattern

VARIABLE = "SPARSECIRCUITS_CACHE"
FILE = "ops.json"
#: Below this density, from so many tokens on, sparse products are taken on a GPU.
GPU_DENSITY, GPU_TOKENS = 0.01, 128


@dataclass(frozen=True, kw_only=True)
class Costs(Config):
    """Nanoseconds, at one number of threads."""

    dense: float
    """One entry of a dense matrix, one of many tokens."""
    entry: float
    """One kept entry of a sparse one, one of many tokens."""
    move: float
    """One input or output of a sparse one, one of many tokens."""
    few_dense: float
    """One entry of a dense matrix for one token alone: bound by memory."""
    few_entry: float
    """One kept entry for one token alone."""
    call: float
    """What a sparse call takes beyond a dense one."""

    def validate(self) -> None:
        for name, value in self.to_dict().items():
            if value <= 0:
                raise ConfigError(f"Costs.{name} is {value}; it must be positive")


#: Measured with ``sparsecircuits tune-ops`` on two cores with AVX-512.
DEFAULT = {
    1: Costs(dense=0.013, entry=0.0275, move=0.3, few_dense=0.11, few_entry=0.95, call=17_500),
    2: Costs(dense=0.0065, entry=0.014, move=0.145, few_dense=0.058, few_entry=1.9, call=14_800),
}


def sparse_pays(pattern: Pattern, tokens: int) -> bool:
    """Whether the sparse path is the faster one for so many tokens, by the rule above."""
    if gpu.takes(pattern.start, types=(torch.int32,)):
        return pattern.density <= GPU_DENSITY and tokens >= GPU_TOKENS
    if pattern.start.device.type != "cpu":
        return False
    if native.kernels() == native.OFF:
        return False
    return predicted(costs(torch.get_num_threads()), pattern.rows, pattern.columns, pattern.count, tokens)


def predicted(costs: Costs, rows: int, columns: int, count: int, tokens: int) -> bool:
    """The rule itself: whether ``count`` kept entries of [rows, columns] are cheaper than all of them."""
    entries = rows * columns
    if tokens <= FEW:
        return costs.call + tokens * count * costs.few_entry < tokens * entries * costs.few_dense
    sparse = costs.call + tokens * (count * costs.entry + (rows + columns) * costs.move)
    return sparse < tokens * entries * costs.dense


def costs(threads: int) -> Costs:
    """The constants for so many threads, or for the nearest number that was measured below it."""
    table = _table()
    return table[max((n for n in table if n <= threads), default=min(table))]


def cache_folder() -> Path:
    """Where measurements of this machine are kept: ``SPARSECIRCUITS_CACHE``, or the user's cache folder."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sparsecircuits"


def store(table: dict[int, Costs]) -> Path:
    """Keep measured constants, by number of threads, beside those there; returns the file. In use at once."""
    path = cache_folder() / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        before = _table() if path.is_file() else {}
    except ConfigError:  # damaged: written anew
        before = {}
    table = dict(sorted({**before, **table}.items()))
    path.write_text(
        json.dumps({str(threads): one.to_dict() for threads, one in table.items()}, indent=2) + "\n"
    )
    _table.cache_clear()
    return path


@functools.cache
def _table() -> dict[int, Costs]:
    path = cache_folder() / FILE
    if not path.is_file():
        return DEFAULT
    try:
        data = json.loads(path.read_text())
        table = {int(threads): Costs.from_dict(one) for threads, one in data.items()}
        if not table or min(table) < 1:
            raise ValueError("its keys must be numbers of threads")
        return table
    except (ValueError, AttributeError, OSError) as error:
        raise ConfigError(
            f"{path}: not what tune-ops writes ({error}); remove it, or run sparsecircuits tune-ops again"
        ) from error
