"""Which entries of a row are its ``k`` largest: a search for a threshold in registers, ties by index.

The parts of the kernels for AbsTopK and for the floor of the weight projection. A magnitude is looked at as
the whole number that its bits are, without the sign: it orders like the magnitude, and every NaN is made the
one number above infinity. Steps, for several rows at a time:

1. Between 0, where all entries are as large or larger, and one more than the row's largest, where none is,
   lies the k-th largest magnitude. Try a level between them, count the entries that reach it, and go on above
   or below. The first level is a guess; from there the search first takes short steps, which grow, and halves
   what is left once that is shorter. It ends as soon as exactly ``k`` entries reach a level.
2. Where no level has exactly ``k``, the search ends at the one that the k-th entry has. All entries above
   it stay, and of those equal to it the first ones, by a running count along the row.
"""

# Triton's language has other types than Python's.
# pyright: reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def levels(x, inside, SHIFT: tl.constexpr):
    """Magnitudes of float32 ``x`` as int32, -1 outside. ``SHIFT``: low bits that its type never sets."""
    infinity: tl.constexpr = 0x7F800000 >> SHIFT
    size = (x.to(tl.int32, bitcast=True) & 0x7FFFFFFF) >> SHIFT
    return tl.where(inside, tl.minimum(size, infinity + 1), -1)


@triton.jit
def kept(size, dim, k, guess, SHIFT: tl.constexpr):
    """Mark the ``k`` largest of each row.

    ``size`` [rows, block] are :func:`levels`, ``dim`` of them in each row, and ``guess`` [rows] the first
    level to try, any number. Beside the marks [rows, block] it gives, for each row, the level that all marked
    entries reach, and whether others reach it too (then it is the level of the k-th largest).
    """
    longest: tl.constexpr = 1 << 28
    first: tl.constexpr = (1 << 20) >> SHIFT  # an eighth of an octave
    high = tl.max(size, 1) + 1
    low = tl.zeros_like(high)
    at_low, at_high = low + dim, low
    level = tl.minimum(tl.maximum(guess, 1), tl.maximum(high - 1, 1))
    step = first
    searching = (high - low > 1) & (at_low != k)
    while tl.max(searching.to(tl.int32), 0) > 0:
        count = tl.sum((size >= level[:, None]).to(tl.int32), 1)
        enough = count >= k
        low = tl.where(searching & enough, level, low)
        at_low = tl.where(searching & enough, count, at_low)
        high = tl.where(searching & (count < k), level, high)
        at_high = tl.where(searching & (count < k), count, at_high)
        move = tl.minimum((high - low) // 2, step)
        level = tl.where(enough, low + move, high - move)
        step = tl.minimum(step * 4, longest)
        searching = (high - low > 1) & (at_low != k)
    keep = size >= low[:, None]
    split = at_low > k
    if tl.max(split.to(tl.int32), 0) > 0:
        tied = keep & (size < high[:, None]) & split[:, None]
        keep = keep & (~tied | (tl.cumsum(tied.to(tl.int32), 1) <= (k - at_high)[:, None]))
    return keep, low, split


@triton.jit
def words(keep, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """``keep`` [ROWS, BLOCK] as bits: [ROWS, BLOCK / 32] int32, the lowest bit first."""
    bits = tl.reshape(keep.to(tl.int32), [ROWS, BLOCK // 32, 32])
    return tl.sum(bits << tl.arange(0, 32)[None, None, :], 2)


@triton.jit
def bit(word, place):
    """Whether the bit of ``place`` along its row is set in the word that holds it."""
    return ((word >> (place % 32)) & 1) != 0
