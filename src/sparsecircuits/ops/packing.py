"""Tensors that are mostly zero, kept as the values that are not and a bit for each place.

What AbsTopK leaves is a quarter of a tensor; whoever has to keep it for the backward pass can do so in 4
bytes an entry that is there, and one bit for each place: 1.125 bytes an entry in place of 4. An entry counts
as zero if all its bits are, so what comes back is what went in, -0.0 and NaN too.

The kernels (``csrc/pack.h``) hold as many values for each row; :func:`definition` is the same in plain torch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.ops import native

#: So many rows are looked at first to see how many values a row may have; after AbsTopK all have as many.
LOOK = 32


class Packed(NamedTuple):
    """A tensor without its zeros."""

    shape: torch.Size
    values: Tensor
    """By the kernels [rows, k], else [count]: the entries that are not zero, row by row."""
    marks: Tensor
    """By the kernels [rows, ceil(dim / 16)] int16 with a bit for each place, else [rows, dim] bool."""

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        return self.values.nbytes + self.marks.nbytes


def pack(x: Tensor) -> Packed | None:
    """``x`` [..., dim], float32 and contiguous, without its zeros.

    Returns:
        None where a row has more values than zeros.
    """
    rows = x.numel() // x.shape[-1]
    flat = x.view(rows, x.shape[-1])
    return (_by_kernels if native.takes(x) else definition)(flat, x.shape)


def _by_kernels(x: Tensor, shape: torch.Size) -> Packed | None:
    rows, dim = x.shape
    marks = torch.empty((rows, -(-dim // 16)), dtype=torch.int16)
    for look in (min(rows, LOOK), rows):
        most = native.call_single("most_nonzero", x, look, dim)
        if 2 * most > dim:
            return None
        values = x.new_empty((rows, most))
        if native.call("pack_rows", x, marks, values, rows, dim, most):
            return Packed(shape, values, marks)
    raise AssertionError("no row has more values than the fullest one")


def definition(x: Tensor, shape: torch.Size) -> Packed | None:
    """:func:`pack` of [rows, dim] in plain torch, on any device."""
    marks = x.view(torch.int32) != 0
    if 2 * int(marks.sum(-1).max()) > x.shape[-1]:
        return None
    return Packed(shape, x[marks], marks)


def unpack(packed: Packed) -> Tensor:
    """The inverse of :func:`pack`, bit for bit."""
    shape, values, marks = packed
    if marks.dtype == torch.bool:
        return values.new_zeros(marks.shape).masked_scatter_(marks, values).view(shape)
    x = values.new_empty((len(marks), shape.numel() // len(marks)))
    native.call("unpack_rows", values, marks, x, *x.shape, values.shape[1])
    return x.view(shape)


def pack_kept(x: Tensor, kept: Tensor, k: int) -> Tensor:
    """[rows, k]: of ``x`` [..., dim], on the CPU, the ``k`` entries of each row that AbsTopK's bits mark."""
    values = x.new_empty((len(kept), k))
    native.call("pack_marked", x, kept, values, len(kept), x.shape[-1], k)
    return values
