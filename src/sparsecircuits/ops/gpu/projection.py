"""The weight projection of all matrices of a model on a GPU, in a fixed number of launches (§2.1, §A.2).

Bit for bit what ``ops.projection.definition_`` gives each matrix, in place. Nothing is read back: all that
depends on the weights stays on the GPU. Magnitudes are whole numbers, as in :mod:`~.search`. Steps, each for
all matrices at once:

1. The floor (:func:`_protect`, one launch for each length of a neuron): a neuron's ``floor`` largest entries
   are those above a level, and of those equal to it the ones up to a place along it. Both are noted.
2. The level of the last of the others that may stay, in three rounds over their bits, 8, 12 and 11 of them:
   count how many have which digit (:func:`_count_exponents`, :func:`_count`), go on within the digit where
   the last one lies (:func:`_pick`). The first round counts every entry in shared memory; in the others, few
   entries are left that must be counted one by one.
3. Where more entries than may stay are equal to that level, those with the lowest flat index stay:
   :func:`_count_ties` counts them in each chunk of 2048 entries, so that each knows how many come before it.
   Without such ties, which is the rule in float32, this step reads no weights.
4. :func:`_apply` zeroes the rest.

Bytes moved for each entry: 20 (four reads and a write), 4 more in matrices with a floor.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsecircuits.ops.gpu import device_of
from sparsecircuits.ops.gpu.search import kept, levels

#: A neuron with more weights than this does not fit into the registers of a program.
LONGEST = 8192
#: In wider matrices :func:`_row_of` would round wrongly.
WIDEST = 1 << 20

_CHUNK = tl.constexpr(2048)
#: The table of matrices, int64: the address, entries, entries that may stay beside the protected ones,
#: columns, whether a neuron is a row (1), a column (0) or has no floor (-1), the first neuron, the first chunk.
_FIELDS = tl.constexpr(7)
_ADDRESS, _ENTRIES, _ROOM, _COLUMNS, _AXIS, _NEURON, _FIRST = (tl.constexpr(i) for i in range(7))
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


@triton.jit
def _row_of(place, columns):
    """``place // columns`` for 0 <= place < 2^21: an integer division would take longer than reading."""
    return ((place.to(tl.float32) + 0.5) * tl.div_rn(1.0, columns.to(tl.float32))).to(tl.int32)


@triton.jit
def _protect(
    table, groups, limits, dim, floor,
    AXIS: tl.constexpr, NEURONS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Note in ``limits`` [neurons, 2] what the floor keeps, for the ``NEURONS`` neurons of one group."""
    matrix = tl.load(groups + 2 * tl.program_id(0))
    first = tl.load(groups + 2 * tl.program_id(0) + 1)
    fields = table + matrix * _FIELDS
    weight = tl.multiple_of(tl.load(fields + _ADDRESS).to(tl.pointer_type(tl.float32)), 16)
    entries, columns = tl.load(fields + _ENTRIES), tl.load(fields + _COLUMNS)
    neuron, place = first + tl.arange(0, NEURONS), tl.arange(0, BLOCK)
    if AXIS == 1:
        here = neuron < entries // columns
        at = neuron.to(tl.int64)[:, None] * columns + place[None, :]
    else:
        here = neuron < columns
        at = neuron[:, None] + place.to(tl.int64)[None, :] * columns
    inside = here[:, None] & (place < dim)[None, :]
    size = levels(tl.load(weight + at, mask=inside, other=0.0), inside, 0)
    keep, low, split = kept(size, dim, floor, tl.max(size, 1) - (1 << 23), 0)
    # Where just `floor` entries reach a level, all of them are above the one below it.
    level = tl.where(split, low, low - 1)
    last = tl.max(tl.where(keep & (size == level[:, None]), place[None, :], -1), 1)
    row = limits + 2 * (tl.load(fields + _NEURON) + neuron)
    tl.store(row, level, mask=here)
    tl.store(row + 1, last, mask=here)


@triton.jit
def _others(table, matrix, chunk, limits):
    """A chunk of a matrix: where its entries are, their values, which of them exist, and their levels.

    The level of an entry that its neuron's floor protects is -1.
    """
    fields = table + matrix * _FIELDS
    start = (chunk - tl.load(fields + _FIRST)) * _CHUNK
    columns, axis = tl.load(fields + _COLUMNS), tl.load(fields + _AXIS)
    weight = tl.multiple_of(tl.load(fields + _ADDRESS).to(tl.pointer_type(tl.float32)), 16)
    within = tl.arange(0, _CHUNK)
    at = weight + start + within
    inside = within < tl.load(fields + _ENTRIES) - start
    value = tl.load(at, mask=inside, other=0.0)
    size = levels(value, inside, 0)
    if axis >= 0:
        row = start // columns
        column = (start - row * columns).to(tl.int32) + within
        down = _row_of(column, columns)
        column -= down * columns.to(tl.int32)
        row = row.to(tl.int32) + down
        neuron, place = tl.where(axis == 1, row, column), tl.where(axis == 1, column, row)
        limit = limits + 2 * (tl.load(fields + _NEURON) + neuron)
        level = tl.load(limit, mask=inside, other=0)
        tied = inside & (size == level)
        last = tl.load(limit + 1, mask=tied, other=-1)
        size = tl.where((size > level) | (tied & (place <= last)), -1, size)
    return at, value, inside, size


@triton.jit
def _count_exponents(table, chunks, limits, counts):
    """Add this chunk's entries to ``counts`` [matrices, 256] by the highest 8 bits of their levels."""
    matrix = tl.load(chunks + tl.program_id(0))
    _, _, _, size = _others(table, matrix, tl.program_id(0), limits)
    found = tl.histogram((size >> 23) & 255, 256, mask=size >= 0)
    tl.atomic_add(counts + matrix * 256 + tl.arange(0, 256), found, mask=found > 0, sem="relaxed")


@triton.jit
def _count(table, chunks, limits, state, counts, SHIFT: tl.constexpr, BITS: tl.constexpr):
    """As before, by the ``BITS`` bits from ``SHIFT`` on, of entries with the bits above them that were found.

    Zeros are left out, which may be many: what is missing below the smallest other entry is a zero.
    """
    matrix = tl.load(chunks + tl.program_id(0))
    _, _, _, size = _others(table, matrix, tl.program_id(0), limits)
    found = (size > 0) & ((size >> (SHIFT + BITS)) == tl.load(state + 3 * matrix))
    digit = (size >> SHIFT) & ((1 << BITS) - 1)
    tl.atomic_add(counts + matrix * (1 << BITS) + digit, 1, mask=found, sem="relaxed")


@triton.jit
def _pick(table, counts, state, FIRST: tl.constexpr, BITS: tl.constexpr):
    """The digit where the last entry that may stay lies, added to what was found of its level.

    ``state`` [matrices, 3]: what was found of the level, how many entries with it may stay, and whether that
    is not all of them.
    """
    matrix, digits = tl.program_id(0), tl.arange(0, 1 << BITS)
    found = state + 3 * matrix
    if FIRST:
        level, room = 0, tl.load(table + matrix * _FIELDS + _ROOM).to(tl.int32)
    else:
        level, room = tl.load(found), tl.load(found + 1)
    count = tl.load(counts + matrix * (1 << BITS) + digits)
    reach = tl.cumsum(count, 0, reverse=True)
    digit = tl.maximum(tl.sum((reach >= room).to(tl.int32), 0) - 1, 0)
    room -= tl.sum(tl.where(digits > digit, count, 0), 0)
    tl.store(found, (level << BITS) | digit)
    tl.store(found + 1, room)
    tl.store(found + 2, (tl.sum(tl.where(digits == digit, count, 0), 0) > room).to(tl.int32))


@triton.jit
def _count_ties(table, chunks, limits, state, ties):
    """``ties`` [chunks]: entries of the level, in matrices where not all of them may stay; 0 in others."""
    chunk = tl.program_id(0)
    matrix = tl.load(chunks + chunk)
    if tl.load(state + 3 * matrix + 2) != 0:
        _, _, _, size = _others(table, matrix, chunk, limits)
        tl.store(ties + chunk, tl.sum((size == tl.load(state + 3 * matrix)).to(tl.int32), 0))


@triton.jit
def _apply(table, chunks, limits, state, ties, until):
    """Zero what does not stay; ``until`` [chunks] counts all ties up to the end of each chunk."""
    chunk = tl.program_id(0)
    matrix = tl.load(chunks + chunk)
    at, value, inside, size = _others(table, matrix, chunk, limits)
    level, room = tl.load(state + 3 * matrix), tl.load(state + 3 * matrix + 1)
    keep = (size >= level) | (size < 0)
    if tl.load(state + 3 * matrix + 2) != 0:
        first = tl.load(table + matrix * _FIELDS + _FIRST)
        before = tl.load(until + chunk) - tl.load(ties + chunk)
        before -= tl.load(until + first) - tl.load(ties + first)
        tied = size == level
        keep = keep & (~tied | (before + tl.cumsum(tied.to(tl.int32), 0) <= room))
    tl.store(at, tl.where(keep & (value != 0.0), value, 0.0), mask=inside)  # no -0.0 either


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
    with device_of(weights[0]):
        _launch_floors(matrices, table, limits)
        here = 0
        for shift, bits in _ROUNDS:
            part = counts[here : here + count * (1 << bits)]
            if here == 0:
                _count_exponents[grid](table, chunks, limits, part, num_warps=4)
            else:
                _count[grid](table, chunks, limits, state, part, SHIFT=shift, BITS=bits, num_warps=4)
            _pick[(count,)](table, part, state, FIRST=here == 0, BITS=bits, num_warps=4)
            here += len(part)
        _count_ties[grid](table, chunks, limits, state, ties, num_warps=4)
        _apply[grid](table, chunks, limits, state, ties, ties.cumsum(0), num_warps=4)
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
        chunks += triton.cdiv(entries, _CHUNK.value)
    return torch.tensor(rows, dtype=torch.int64, pin_memory=matrices[0].weight.is_cuda)


@functools.lru_cache(maxsize=16)
def _chunks(entries: tuple[int, ...], device: torch.device) -> Tensor:
    """[chunks] int32: the matrix that each chunk is of. The same in every step."""
    each = [triton.cdiv(count, _CHUNK.value) for count in entries]
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
        _protect[(len(groups),)](
            table, groups, limits, length, floor,
            AXIS=axis, NEURONS=neurons, BLOCK=block, num_warps=max(1, block * neurons // 1024),
        )  # fmt: skip


@functools.lru_cache(maxsize=16)
def _groups(members: tuple[tuple[int, int], ...], size: int, device: torch.device) -> Tensor:
    """[groups, 2] int32: a matrix, and the first of ``size`` of its neurons."""
    rows = [(index, first) for index, neurons in members for first in range(0, neurons, size)]
    return torch.tensor(rows, dtype=torch.int32).to(device)
