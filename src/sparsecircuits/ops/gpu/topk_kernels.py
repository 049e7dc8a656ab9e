"""The kernels of AbsTopK on a GPU, alone and with GELU or RMSNorm before it; :mod:`~.topk` says what they do.

Tensors are contiguous but ``x``, whose rows may lie ``step`` entries apart. A program takes ``ROWS`` rows of
``BLOCK`` entries, padding included.
"""

# Triton's language has other types than Python's.
# pyright: reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false

from __future__ import annotations

import triton
import triton.language as tl

from sparsecircuits.ops.gpu.search import bit, kept, levels, words


@triton.jit
def _gelu(x):
    return x * 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def forward(
    x, weight, y, mask, scale, rows, dim, step, k, z, eps,
    BEFORE: tl.constexpr, SHIFT: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """``x`` [rows, dim], ``step`` entries apart, to ``y`` [rows, dim] and ``mask`` [rows, words]."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < dim)[None, :]
    value = tl.load(x + row[:, None] * step + column[None, :], mask=inside, other=0.0)
    type: tl.constexpr = value.dtype
    value = value.to(tl.float32)
    if BEFORE == "gelu":
        value = _gelu(value).to(type).to(tl.float32)
    if BEFORE == "norm":
        factor = 1.0 / tl.sqrt_rn(tl.sum(value * value, 1) / dim + eps)
        tl.store(scale + row, factor, mask=row < rows)
        gain = tl.load(weight + column, mask=column < dim, other=0.0).to(tl.float32)
        value = (value * factor[:, None] * gain[None, :]).to(type).to(tl.float32)
    size = levels(value, inside, SHIFT)
    # As if the entries were normal: the right level to a few percent then, and any other number does no harm.
    typical = z * tl.sum(tl.minimum(tl.abs(value), 1e30), 1) / dim
    keep, _, _ = kept(size, dim, k, levels(typical, row < rows, SHIFT), SHIFT)
    tl.store(y + row[:, None] * dim + column[None, :], tl.where(keep, value, 0.0).to(type), mask=inside)
    word, wide = tl.arange(0, BLOCK // 32), tl.cdiv(dim, 32)
    tl.store(
        mask + row[:, None] * wide + word[None, :],
        words(keep, ROWS, BLOCK),
        mask=(row < rows)[:, None] & (word < wide)[None, :],
    )


@triton.jit
def backward(grad, x, mask, out, rows, dim, GELU: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """``out`` [rows, dim]: the gradient at kept entries, through GELU where it came before."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    column = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[None, :]
    inside = (row < rows) & (column < dim)
    word = tl.load(mask + row * tl.cdiv(dim, 32) + column // 32, mask=inside, other=0)
    keep = bit(word, column) & inside
    place = row * dim + column
    value = tl.load(grad + place, mask=inside, other=0.0)
    if GELU:
        at = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        below = 0.5 * (1.0 + tl.erf(at * 0.7071067811865476))
        density = 0.3989422804014327 * tl.exp(-0.5 * at * at)
        value = (value.to(tl.float32) * (below + at * density)).to(value.dtype)
    tl.store(out + place, tl.where(keep, value, 0.0), mask=inside)


@triton.jit
def norm_backward(
    grad, x, weight, scale, mask, dx, partial, rows, dim, each,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """``dx`` of this program's rows and its ``partial`` [programs, dim] of the weight's gradient.

    ``each`` is how many rows a program has, a multiple of ``ROWS``.
    """
    column = tl.arange(0, BLOCK)
    gain = tl.load(weight + column, mask=column < dim, other=0.0).to(tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    first = tl.program_id(0).to(tl.int64) * each
    for start in range(0, each, ROWS):
        row = first + start + tl.arange(0, ROWS)
        here = row < rows
        inside = here[:, None] & (column < dim)[None, :]
        place = row[:, None] * dim + column[None, :]
        word = tl.load(mask + row[:, None] * tl.cdiv(dim, 32) + (column // 32)[None, :], mask=inside, other=0)
        keep = bit(word, column[None, :]) & inside
        slope = tl.load(grad + place, mask=inside, other=0.0).to(tl.float32)
        slope = tl.where(keep, slope, 0.0)
        value = tl.load(x + place, mask=inside, other=0.0)
        factor = tl.load(scale + row, mask=here, other=0.0)[:, None]
        unit = value.to(tl.float32) * factor
        total += tl.sum(slope * unit, 0)
        slope = slope * gain[None, :]
        along = tl.sum(slope * unit, 1) / dim
        tl.store(dx + place, ((slope - unit * along[:, None]) * factor).to(value.dtype), mask=inside)
    tl.store(partial + tl.program_id(0) * dim + column, total, mask=column < dim)
