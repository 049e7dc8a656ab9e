"""The weight projection of all matrices of a model on a GPU, in a fixed number of launches (§2.1, §A.2).

Bit for bit what ``ops.projection.definition_`` gives each matrix, in place. Nothing is read back: all that
depends on the weights stays on the GPU. Magnitudes are whole numbers, as in :mod:`~.search`. Steps, each for
all matrices at once:

1. The floor (``protect``, one launch for each length of a neuron): a neuron's ``floor`` largest entries
   are those above a level, and of those equal to it the ones up to a place along it. Both are noted.
2. The level of the last of the others that may stay, in three rounds over their bits, 8, 12 and 11 of them:
   count how many have which digit (``count_exponents``, ``count``), go on within the digit where
   the last one lies (``pick``). The first round counts every entry in shared memory; in the others, few
   entries are left that must be counted one by one.
3. Where more entries than may stay are equal to that level, those with the lowest flat index stay:
   ``count_ties`` counts them in each chunk of 2048 entries, so that each knows how many come before it.
   Without such ties, which is the rule in float32, this step reads no weights.
4. ``apply`` zeroes the rest.

Bytes moved for each entry: 20 (four reads and a write), 4 more in matrices with a floor.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import triton
from torch import Tensor

from sparsecircuits.ops.gpu import launch
from sparsecircuits.ops.gpu import projection_kernels as kernels

#: A neuron with more weights than this does not fit into the registers of a program.
LONGEST = 8192
#: In wider matrices ``row_of`` would round wrongly.
WIDEST = 1 << 20

#: The three rounds: how many bits lie below the digit, and how many it has.
_ROUNDS = ((23, 8), (11, 12), (0, 11))


class Matrix(NamedTuple):
    """A matrix to project."""

    weight: Tensor
    """Contiguous float32, fewer than 2^31 entries; :func:`takes_matrix` says whether it can be taken."""
    k: int
    """How many places are kept: 0 < k < entries."""
    floor: int
    """At least so many in every neuron; below its length."""
    axis: int
    """The dimension along which a neuron's weights lie: 0 or 1."""

    @property
    def length(self) -> int:
        """Of a neuron."""
        return self.weight.shape[self.axis]

    @property
    def neurons(self) -> int:
        """How many have a floor."""
        return self.weight.shape[1 - self.axis] if self.floor > 0 else 0


def takes_matrix(weight: Tensor, floor: int, axis: int) -> bool:
    """Whether the kernels can project a float32 ``weight``."""
    fits = weight.is_contiguous() and weight.numel() < 2**31 and weight.data_ptr() % 16 == 0
    return fits and (floor == 0 or (weight.shape[axis] <= LONGEST and weight.shape[1] < WIDEST))


def keep_largest_all_(matrices: Sequence[Matrix]) -> None:
    """Project matrices of one GPU, at least one, in place."""
    weights = [matrix.weight for matrix in matrices]
    device = weights[0].device
    table = _table(matrices).to(device, non_blocking=True)
    chunks = _chunks(tuple(weight.numel() for weight in weights), device)
    count = len(matrices)
    limits = torch.empty((max(1, sum(m.neurons for m in matrices)), 2), dtype=torch.int32, device=device)
    state = torch.empty((count, 3), dtype=torch.int32, device=device)
    counts = torch.zeros(count * sum(1 << bits for _, bits in _ROUNDS), dtype=torch.int32, device=device)
    ties = torch.zeros(len(chunks), dtype=torch.int32, device=device)
    grid = (len(chunks),)
    _launch_floors(matrices, table, limits)
    here = 0
    for shift, bits in _ROUNDS:
        part = counts[here : here + count * (1 << bits)]
        if here == 0:
            launch(kernels.count_exponents, grid, table, chunks, limits, part, warps=4)
        else:
            launch(kernels.count, grid, table, chunks, limits, state, part, SHIFT=shift, BITS=bits, warps=4)
        launch(kernels.pick, (count,), table, part, state, FIRST=here == 0, BITS=bits, warps=4)
        here += len(part)
    launch(kernels.count_ties, grid, table, chunks, limits, state, ties, warps=4)
    launch(kernels.apply, grid, table, chunks, limits, state, ties, ties.cumsum(0), warps=4)
    for weight in weights:
        torch.autograd.graph.increment_version(weight)


def _table(matrices: Sequence[Matrix]) -> Tensor:
    """[matrices, fields], in memory that a GPU copies while the program goes on."""
    rows, neurons, chunks = [], 0, 0
    for matrix in matrices:
        weight, floored = matrix.weight, matrix.floor > 0
        entries, room = weight.numel(), matrix.k - matrix.neurons * matrix.floor
        shape = (weight.shape[1], matrix.axis) if floored else (entries, -1)
        rows.append([weight.data_ptr(), entries, room, *shape, neurons, chunks])
        neurons += matrix.neurons
        chunks += triton.cdiv(entries, kernels.CHUNK.value)
    return torch.tensor(rows, dtype=torch.int64, pin_memory=matrices[0].weight.is_cuda)


@functools.lru_cache(maxsize=16)
def _chunks(entries: tuple[int, ...], device: torch.device) -> Tensor:
    """[chunks] int32: the matrix that each chunk is of. The same in every step."""
    each = [triton.cdiv(count, kernels.CHUNK.value) for count in entries]
    return torch.from_numpy(np.repeat(np.arange(len(each), dtype=np.int32), each)).to(device)


def _launch_floors(matrices: Sequence[Matrix], table: Tensor, limits: Tensor) -> None:
    """One launch for all matrices that have the same floor along the same axis of the same length."""
    kinds: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for index, matrix in enumerate(matrices):
        if matrix.floor > 0:
            kinds.setdefault((matrix.axis, matrix.length, matrix.floor), []).append((index, matrix.neurons))
    for (axis, length, floor), members in kinds.items():
        block = max(32, triton.next_power_of_2(length))
        neurons = max(1, 1024 // block) if axis == 1 else max(1, 16384 // block)
        groups = _groups(tuple(members), neurons, table.device)
        launch(
            kernels.protect, (len(groups),), table, groups, limits, length, floor,
            AXIS=axis, NEURONS=neurons, BLOCK=block, warps=max(1, block * neurons // 1024),
        )  # fmt: skip


@functools.lru_cache(maxsize=16)
def _groups(members: tuple[tuple[int, int], ...], size: int, device: torch.device) -> Tensor:
    """[groups, 2] int32: a matrix, and the first of ``size`` of its neurons."""
    rows = [(index, first) for index, neurons in members for first in range(0, neurons, size)]
    return torch.tensor(rows, dtype=torch.int32).to(device)
