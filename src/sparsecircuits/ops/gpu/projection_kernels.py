"""The kernels of the weight projection on a GPU; :mod:`~.projection` says how they go together.

Each is launched once for all matrices, of which ``table`` [matrices, fields] says what a program must know.
``chunks`` [chunks] says the matrix of each chunk, ``limits`` [neurons, 2] what the floor protects.
"""

# Triton's language has other types than Python's.
# pyright: reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false

from __future__ import annotations

import triton
import triton.language as tl

from sparsecircuits.ops.gpu.search import kept, levels

CHUNK = tl.constexpr(2048)
#: The table of matrices, int64: the address, entries, entries that may stay beside the protected ones,
#: columns, whether a neuron is a row (1), a column (0) or has no floor (-1), its first neuron and chunk.
FIELDS = tl.constexpr(7)
_ADDRESS, _ENTRIES, _ROOM, _COLUMNS, _AXIS, _NEURON, _FIRST = (tl.constexpr(i) for i in range(7))


@triton.jit
def row_of(place, columns):
    """``place // columns`` for 0 <= place < 2^21: an integer division would take longer than reading."""
    return ((place.to(tl.float32) + 0.5) * tl.div_rn(1.0, columns.to(tl.float32))).to(tl.int32)


@triton.jit
def protect(
    table, groups, limits, dim, floor,
    AXIS: tl.constexpr, NEURONS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Note in ``limits`` [neurons, 2] what the floor keeps, for the ``NEURONS`` neurons of one group."""
    matrix = tl.load(groups + 2 * tl.program_id(0))
    first = tl.load(groups + 2 * tl.program_id(0) + 1)
    fields = table + matrix * FIELDS
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
def others(table, matrix, chunk, limits):
    """A chunk of a matrix: where its entries are, their values, which of them exist, and their levels.

    The level of an entry that its neuron's floor protects is -1.
    """
    fields = table + matrix * FIELDS
    start = (chunk - tl.load(fields + _FIRST)) * CHUNK
    columns, axis = tl.load(fields + _COLUMNS), tl.load(fields + _AXIS)
    weight = tl.multiple_of(tl.load(fields + _ADDRESS).to(tl.pointer_type(tl.float32)), 16)
    within = tl.arange(0, CHUNK)
    at = weight + start + within
    inside = within < tl.load(fields + _ENTRIES) - start
    value = tl.load(at, mask=inside, other=0.0)
    size = levels(value, inside, 0)
    if axis >= 0:
        row = start // columns
        column = (start - row * columns).to(tl.int32) + within
        down = row_of(column, columns)
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
def count_exponents(table, chunks, limits, counts):
    """Add this chunk's entries to ``counts`` [matrices, 256] by the highest 8 bits of their levels."""
    matrix = tl.load(chunks + tl.program_id(0))
    _, _, _, size = others(table, matrix, tl.program_id(0), limits)
    found = tl.histogram((size >> 23) & 255, 256, mask=size >= 0)
    tl.atomic_add(counts + matrix * 256 + tl.arange(0, 256), found, mask=found > 0, sem="relaxed")


@triton.jit
def count(table, chunks, limits, state, counts, SHIFT: tl.constexpr, BITS: tl.constexpr):
    """As before, by the ``BITS`` bits from ``SHIFT`` on, of entries with the bits above them that were found.

    Zeros are left out, which may be many: what is missing below the smallest other entry is a zero.
    """
    matrix = tl.load(chunks + tl.program_id(0))
    _, _, _, size = others(table, matrix, tl.program_id(0), limits)
    found = (size > 0) & ((size >> (SHIFT + BITS)) == tl.load(state + 3 * matrix))
    digit = (size >> SHIFT) & ((1 << BITS) - 1)
    tl.atomic_add(counts + matrix * (1 << BITS) + digit, 1, mask=found, sem="relaxed")


@triton.jit
def pick(table, counts, state, FIRST: tl.constexpr, BITS: tl.constexpr):
    """The digit where the last entry that may stay lies, added to what was found of its level.

    ``state`` [matrices, 3]: what was found of the level, how many entries with it may stay, and whether that
    is not all of them.
    """
    matrix, digits = tl.program_id(0), tl.arange(0, 1 << BITS)
    found = state + 3 * matrix
    if FIRST:
        level, room = 0, tl.load(table + matrix * FIELDS + _ROOM).to(tl.int32)
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
def count_ties(table, chunks, limits, state, ties):
    """``ties`` [chunks]: entries of the level, in matrices where not all of them may stay; 0 in others."""
    chunk = tl.program_id(0)
    matrix = tl.load(chunks + chunk)
    if tl.load(state + 3 * matrix + 2) != 0:
        _, _, _, size = others(table, matrix, chunk, limits)
        tl.store(ties + chunk, tl.sum((size == tl.load(state + 3 * matrix)).to(tl.int32), 0))


@triton.jit
def apply(table, chunks, limits, state, ties, until):
    """Zero what does not stay; ``until`` [chunks] counts all ties up to the end of each chunk."""
    chunk = tl.program_id(0)
    matrix = tl.load(chunks + chunk)
    at, value, inside, size = others(table, matrix, chunk, limits)
    level, room = tl.load(state + 3 * matrix), tl.load(state + 3 * matrix + 1)
    keep = (size >= level) | (size < 0)
    if tl.load(state + 3 * matrix + 2) != 0:
        first = tl.load(table + matrix * FIELDS + _FIRST)
        before = tl.load(until + chunk) - tl.load(ties + chunk)
        before -= tl.load(until + first) - tl.load(ties + first)
        tied = size == level
        keep = keep & (~tied | (before + tl.cumsum(tied.to(tl.int32), 0) <= room))
    tl.store(at, tl.where(keep & (value != 0.0), value, 0.0), mask=inside)  # no -0.0 either
