"""The weight projection: keep a matrix's largest entries, zero the rest, in place (§2.1, §A.2).

In goes a weight matrix and how many entries it may keep; afterwards exactly that many places are
kept and all others are 0. With a floor, each neuron (row or column) first keeps its own ``floor``
largest entries, and what is left of the budget goes to the largest of the rest (Fig 22).

:func:`definition_` says so in plain torch; the kernel (``csrc/projection.h``) gives the same, bit for bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparsecircuits.errors import ConfigError
from sparsecircuits.ops import native
from sparsecircuits.ops.abs_topk import kept_mask

#: The kernel looks up so many of a neuron's largest entries at most.
_KERNEL_FLOOR = 64


@torch.no_grad()
def keep_largest_(weight: Tensor, k: int, *, floor: int = 0, axis: int = -1) -> Tensor:
    """Zero all but ``k`` entries of ``weight``, in place.

    Args:
        weight: any shape; two-dimensional if ``floor`` is used.
        k: how many places are kept (of equal magnitudes the lowest flat index first).
        floor: at least so many are kept in every slice along ``axis``.
        axis: the dimension *along which* a neuron's weights lie: 1 for ``c_attn`` and ``c_fc`` (a
            neuron is an output row), 0 for both ``c_proj`` (a neuron is an input column).

    Returns:
        ``weight`` itself.

    Raises:
        ConfigError: ``k`` is negative, or below ``floor`` times the number of slices.
    """
    if k < 0:
        raise ConfigError(f"cannot keep {k} weights")
    if k >= weight.numel():
        return weight
    if k == 0 and floor == 0:
        return weight.zero_()
    if floor > 0 and weight.ndim != 2:
        raise ConfigError(f"a floor needs a matrix, got shape {tuple(weight.shape)}")
    if floor > 0:
        check_floor((weight.shape[0], weight.shape[1]), k, floor, axis)
    if native.takes(weight) and weight.is_contiguous() and floor <= _KERNEL_FLOOR and weight.numel() < 2**31:
        rows, columns = (weight.shape[0], weight.shape[1]) if weight.ndim == 2 else (1, weight.numel())
        native.call("keep_largest", weight, rows, columns, k, floor, axis % 2)
        torch.autograd.graph.increment_version(weight)
        return weight
    return definition_(weight, k, floor, axis)


def definition_(weight: Tensor, k: int, floor: int, axis: int) -> Tensor:
    """:func:`keep_largest_` in plain torch, 0 < k < entries, k enough for the floor."""
    size = weight.abs()
    if floor > 0:
        protect = protected(size, floor, axis)
        # Protected entries stay; what is left of the budget goes to the largest of the others.
        left = k - int(protect.sum())
        others = torch.where(protect, -1.0, size).flatten()
        keep = protect if left == 0 else protect | kept_mask(others, left).view_as(weight)
    else:
        keep = kept_mask(size.flatten(), k).view_as(weight)
    return weight.masked_fill_(~keep | (weight == 0), 0)  # no -0.0 either


def check_floor(shape: tuple[int, int], k: int, floor: int, axis: int, name: str = "the matrix") -> None:
    """Raise :class:`ConfigError` where ``k`` weights cannot give every neuron ``floor`` of them."""
    neurons = shape[1 - axis % 2]
    needed = neurons * min(floor, shape[axis])
    if k < needed:
        density = math.ceil(1e6 * needed / (shape[0] * shape[1])) / 1e6  # rounded up: it must be enough
        raise ConfigError(
            f"{name} of shape {shape[0]} x {shape[1]} may keep {k} weights, but {neurons} neurons with at "
            f"least {floor} each need {needed}: raise the density to {density} or lower the floor"
        )


def protected(size: Tensor, floor: int, axis: int) -> Tensor:
    """Boolean [rows, columns]: the ``floor`` largest entries of each slice along ``axis``."""
    along = size.movedim(axis, -1)
    if floor >= along.shape[-1]:
        return torch.ones_like(size, dtype=torch.bool)
    return kept_mask(along, floor).movedim(-1, axis)
