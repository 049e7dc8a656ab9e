"""The weight projection where each process holds some rows of a matrix, and none the whole (§2.1, §A.2).

In go the rows that this process holds of several matrices; afterwards they are what
:func:`~sparsecircuits.ops.projection.keep_largest_` leaves of them in the whole matrix, bit for bit. No
weights are gathered. Steps:

1. Magnitudes as whole numbers: a float32 without its sign orders like its bits. A NaN is the largest.
2. The floor. Of a neuron that is a row, locally. Of one that is a column, each process offers its ``floor``
   largest; all see all offers, and know which of their own are among the largest together.
3. The rest of the budget. A threshold for each matrix in three rounds, of 11, 10 and 10 bits: count how many
   entries have which digit, add up the counts of all processes, go on within the digit where the last entry
   that may stay lies.
4. Of several entries equal to the threshold the lowest flat index stays, so the lowest process first: each
   knows how many those before it have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from sparsecircuits.errors import ConfigError
from sparsecircuits.ops.projection import check_floor, protected

#: The bits of a magnitude; those of a NaN, whatever it carries.
_MAGNITUDE, _NAN = 0x7FFFFFFF, 0x7F800001
#: Each round's digit: how far to the right it lies, and how many bits it has.
_ROUNDS = ((20, 11), (10, 10), (0, 10))
#: In place of an entry's magnitude: it does not take part.
_OUT = -1


class Part(NamedTuple):
    """What this process holds of one matrix (or vector), and how many entries of the whole may stay."""

    rows: Tensor
    """[rows here, ...] float32, those behind the rows of all lower processes; there may be none."""
    shape: tuple[int, ...]
    """Of the whole."""
    k: int
    """How many places of the whole are kept."""
    floor: int = 0
    """At least so many are kept in every slice along ``axis`` of the whole."""
    axis: int = -1
    """The dimension along which a neuron's weights lie, as in ``keep_largest_``."""


@torch.no_grad()
def keep_largest_together_(parts: Sequence[Part], group: dist.ProcessGroup | None = None) -> None:
    """Project matrices of which each process of ``group`` holds some rows, in place.

    All processes call it with the same matrices in the same order.

    Raises:
        ConfigError: a ``k`` that is negative, or below ``floor`` times the number of slices; a floor for
            what is no matrix.
    """
    left = []
    for part in parts:
        if part.k < 0:
            raise ConfigError(f"cannot keep {part.k} weights")
        if part.k >= math.prod(part.shape):
            continue
        if part.floor > 0 and len(part.shape) != 2:
            raise ConfigError(f"a floor needs a matrix, got shape {part.shape}")
        if part.floor > 0:
            check_floor((part.shape[0], part.shape[1]), part.k, part.floor, part.axis)
        left.append(part)
    if not left:
        return
    bits = [_bits(part.rows) for part in left]
    kept = _floors(left, bits, group)
    budgets = []
    for part, size, keep in zip(left, bits, kept, strict=True):
        size.masked_fill_(keep, _OUT)
        across, along = (part.shape[1 - part.axis % 2], part.shape[part.axis]) if part.floor else (0, 0)
        budgets.append(part.k - across * min(part.floor, along))
    for part, keep, more in zip(left, kept, _largest(bits, budgets, group), strict=True):
        part.rows.masked_fill_(~(keep | more) | (part.rows == 0), 0)  # no -0.0 either


def _bits(rows: Tensor) -> Tensor:
    """Magnitudes as int32."""
    return (rows.contiguous().view(torch.int32) & _MAGNITUDE).clamp_(max=_NAN)


def _floors(parts: list[Part], bits: list[Tensor], group: dist.ProcessGroup | None) -> list[Tensor]:
    """For each matrix a mask of the rows here: what its floor keeps."""
    masks = [torch.zeros_like(part.rows, dtype=torch.bool) for part in parts]
    columns = []
    for index, part in enumerate(parts):
        if part.floor > 0 and part.axis % 2 == 0:
            columns.append(index)
        elif part.floor > 0 and part.rows.numel() > 0:
            masks[index] = protected(part.rows.abs(), part.floor, 1)
    if columns:
        floors = [min(parts[index].floor, parts[index].shape[0]) for index in columns]
        offers = [_offer(bits[index], floor) for index, floor in zip(columns, floors, strict=True)]
        everyone = _gather(torch.cat([offer.flatten() for offer in offers]), group)
        start = 0
        for index, offer in zip(columns, offers, strict=True):
            theirs = everyone[:, start : start + offer.numel()].view(-1, *offer.shape)
            masks[index] = _column_floor(bits[index], theirs, dist.get_rank(group))
            start += offer.numel()
    return masks


def _offer(bits: Tensor, floor: int) -> Tensor:
    """[floor, columns]: the largest of each column here; where there are fewer rows, :data:`_OUT`."""
    largest = bits.topk(min(floor, len(bits)), dim=0, sorted=False).values
    return F.pad(largest, (0, 0, 0, floor - len(largest)), value=_OUT)


def _column_floor(bits: Tensor, offers: Tensor, rank: int) -> Tensor:
    """Which of ``bits`` [rows here, columns] are among the ``floor`` largest of their column.

    Args:
        bits: magnitudes here.
        offers: [process, floor, columns] of all processes.
        rank: which of them is this one.
    """
    floor = offers.shape[1]
    threshold = offers.flatten(0, 1).topk(floor, dim=0, sorted=False).values.amin(0)
    room = floor - (offers > threshold).sum((0, 1))
    before = (offers[:rank] == threshold).sum((0, 1))
    tied = bits == threshold
    return (bits > threshold) | (tied & (tied.cumsum(0) <= room - before))


def _largest(bits: list[Tensor], budgets: list[int], group: dist.ProcessGroup | None) -> list[Tensor]:
    """For each matrix a mask of the rows here: the ``budget`` largest of the whole, :data:`_OUT` never."""
    device = bits[0].device
    flat = [size.flatten() for size in bits]
    inside = [size[size >= 0] for size in flat]
    room = torch.tensor(budgets, device=device)
    threshold = torch.zeros_like(room)
    here = torch.zeros_like(room)
    for shift, width in _ROUNDS:
        digits = 1 << width
        own = torch.stack([((size >> shift) & (digits - 1)).bincount(minlength=digits) for size in inside])
        total = own.clone()
        dist.all_reduce(total, group=group)
        down = total.flip(1).cumsum(1)
        place = (down < room[:, None]).sum(1, keepdim=True)
        digit = digits - 1 - place
        room = room - (down - total.flip(1)).gather(1, place)[:, 0]
        here = own.gather(1, digit)[:, 0]
        threshold = (threshold << width) | digit[:, 0]
        prefix = threshold.tolist()
        inside = [size[(size >> shift) == want] for size, want in zip(inside, prefix, strict=True)]
    before = _gather(here, group)[: dist.get_rank(group)].sum(0)
    masks = []
    for size, limit, space, shape in zip(
        flat,
        threshold.tolist(),
        (room - before).clamp(min=0).tolist(),
        (size.shape for size in bits),
        strict=True,
    ):
        tied = size == limit
        if space < size.numel():
            tied &= tied.cumsum(0) <= space
        masks.append(((size > limit) | tied).view(shape))
    return masks


def _gather(tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """[process, ...] everyone's ``tensor``."""
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, tensor, group=group)
    return torch.stack(parts)
