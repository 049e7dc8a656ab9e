"""The kernels of the sparse product on a GPU; :mod:`~.linear` says what they do.

``start`` and ``index`` are a pattern's, by rows or by columns, ``longest`` its rows, the longest first.
Tensors are contiguous.
"""

# Triton's language has other types than Python's.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def gather(weight, start, index, values, columns, BLOCK: tl.constexpr):
    """values [count] of weight [rows, columns]; a program has a row."""
    row = tl.program_id(0)
    first, end = tl.load(start + row), tl.load(start + row + 1)
    for entry in range(first, end, BLOCK):
        at = entry + tl.arange(0, BLOCK)
        column = tl.load(index + at, mask=at < end, other=0)
        value = tl.load(weight + row.to(tl.int64) * columns + column, mask=at < end, other=0)
        tl.store(values + at, value, mask=at < end)


@triton.jit
def turn(x, y, rows, columns, step, wide, SIDE: tl.constexpr):
    """y [columns, wide] of x [rows, columns] whose rows lie ``step`` apart; 0 behind the rows."""
    i = tl.program_id(0).to(tl.int64) * SIDE + tl.arange(0, SIDE)
    j = tl.program_id(1).to(tl.int64) * SIDE + tl.arange(0, SIDE)
    seen = (i[:, None] < rows) & (j[None, :] < columns)
    part = tl.load(x + i[:, None] * step + j[None, :], mask=seen, other=0)
    kept = (j[:, None] < columns) & (i[None, :] < wide)
    tl.store(y + j[:, None] * wide + i[None, :], tl.trans(part), mask=kept)


@triton.jit
def multiply(
    start, index, order, values, bias, longest, x, y, rows, tokens,
    HAS_ORDER: tl.constexpr, HAS_BIAS: tl.constexpr,
    ROWS: tl.constexpr, TOKENS: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    """y [rows, tokens] from x [columns, tokens]; ``order`` says where an entry's value is."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    t = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    row = tl.load(longest + i, mask=i < rows, other=0)
    first = tl.load(start + row)
    length = tl.where(i < rows, tl.load(start + row + 1) - first, 0)
    total = tl.zeros([ROWS, TOKENS], tl.float32)
    if HAS_BIAS:
        total += tl.load(bias + row).to(tl.float32)[:, None]
    for entry in range(0, tl.max(length, 0), AHEAD):
        for ahead in tl.static_range(AHEAD):
            has = entry + ahead < length
            place = first + entry + ahead
            column = tl.load(index + place, mask=has, other=0).to(tl.int64)
            if HAS_ORDER:
                place = tl.load(order + place, mask=has, other=0)
            value = tl.load(values + place, mask=has, other=0).to(tl.float32)
            seen = has[:, None] & (t[None, :] < tokens)
            part = tl.load(x + column[:, None] * tokens + t[None, :], mask=seen, other=0)
            total += value[:, None] * part.to(tl.float32)
    out = y + row.to(tl.int64)[:, None] * tokens + t[None, :]
    tl.store(out, total.to(y.dtype.element_ty), mask=(i[:, None] < rows) & (t[None, :] < tokens))


@triton.jit
def sample(
    start, index, longest, grad, x, out, tokens, count,
    PIECE: tl.constexpr, ENTRIES: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """out [pieces, count]: for each entry the sum over a piece of the tokens of grad[row] * x[column]."""
    row = tl.load(longest + tl.program_id(0))
    piece = tl.program_id(1).to(tl.int64)
    first, end = tl.load(start + row), tl.load(start + row + 1)
    upto = tl.minimum(tokens, (piece + 1) * PIECE)
    for entry in range(first, end, ENTRIES):
        place = entry + tl.arange(0, ENTRIES)
        has = place < end
        column = tl.load(index + place, mask=has, other=0).to(tl.int64)
        total = tl.zeros([ENTRIES, TOKENS], tl.float32)
        for token in range(piece * PIECE, upto, TOKENS):
            t = token + tl.arange(0, TOKENS)
            slope = tl.load(grad + row.to(tl.int64) * tokens + t, mask=t < tokens, other=0)
            seen = has[:, None] & (t[None, :] < tokens)
            part = tl.load(x + column[:, None] * tokens + t[None, :], mask=seen, other=0)
            total += slope.to(tl.float32)[None, :] * part.to(tl.float32)
        tl.store(out + piece * count + place, tl.sum(total, 1), mask=has)
