"""How far apart the rows of a tensor are, for kernels that read them where they lie."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class EvenRows(NamedTuple):
    """A tensor [..., dim] whose rows lie evenly apart."""

    x: Tensor
    """The tensor that was given, or a copy of it."""
    step: int
    """From the beginning of a row to that of the next, in entries."""


def even_rows(x: Tensor) -> EvenRows:
    """``x`` [..., dim], copied if its rows are not evenly spaced, and how far apart they are."""
    dim = x.shape[-1]
    # A dimension of one has no stride that means anything.
    outer = [(size, stride) for size, stride in zip(x.shape[:-1], x.stride()[:-1], strict=True) if size > 1]
    step = outer[-1][1] if outer else dim
    even, rows = x.stride(-1) == 1 and step >= dim, 1
    for size, stride in reversed(outer):
        even, rows = even and stride == rows * step, rows * size
    return EvenRows(x, step) if even else EvenRows(x.contiguous(), dim)
