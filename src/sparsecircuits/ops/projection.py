"""The weight projection: keep a matrix's largest entries, zero the rest, in place (§2.1, §A.2).

In goes a weight matrix and how many entries it may keep; afterwards exactly that many places are
kept and all others are 0. With a floor, each neuron (row or column) first keeps its own ``floor``
largest entries, and what is left of the budget goes to the largest of the rest (Fig 22).

:func:`definition_` says so in plain torch; the kernels (``csrc/projection.h``, and ``gpu/projection.py`` for
all matrices at once) give the same, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

from sparsecircuits.errors import ConfigError
from sparsecircuits.ops import gpu, native
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
    return keep_largest_all_([weight], [k], [floor], [axis])[0]


@torch.no_grad()
def keep_largest_all_(
    weights: Sequence[Tensor], ks: Sequence[int], floors: Sequence[int], axes: Sequence[int]
) -> list[Tensor]:
    """:func:`keep_largest_` of each weight with its own ``k``, ``floor`` and ``axis``; on a GPU all at once.

    Returns:
        The weights themselves.

    Raises:
        ConfigError: as :func:`keep_largest_`, before any weight is changed.
    """
    parts = list(zip(weights, ks, floors, axes, strict=True))
    for weight, k, floor, axis in parts:
        _check(weight, k, floor, axis)
    together = []
    for weight, k, floor, axis in parts:
        if k >= weight.numel():
            continue
        if k == 0:
            weight.zero_()
        elif gpu.takes(weight) and _on_gpu().takes_matrix(weight, floor, axis % 2):
            together.append(_on_gpu().Matrix(weight, k, floor, axis % 2))
        else:
            _keep_largest_(weight, k, floor, axis)
    for device in {matrix.weight.device for matrix in together}:
        _on_gpu().keep_largest_all_([matrix for matrix in together if matrix.weight.device == device])
    return list(weights)


def _on_gpu() -> ModuleType:
    from sparsecircuits.ops.gpu import projection  # imports Triton

    return projection


def _check(weight: Tensor, k: int, floor: int, axis: int) -> None:
    if k < 0:
        raise ConfigError(f"cannot keep {k} weights")
    if floor > 0 and k < weight.numel():
        if weight.ndim != 2:
            raise ConfigError(f"a floor needs a matrix, got shape {tuple(weight.shape)}")
        check_floor((weight.shape[0], weight.shape[1]), k, floor, axis)


def _keep_largest_(weight: Tensor, k: int, floor: int, axis: int) -> None:
    """One weight, 0 < k < entries, by the kernel of the CPU or the definition."""
    if native.takes(weight) and weight.is_contiguous() and floor <= _KERNEL_FLOOR and weight.numel() < 2**31:
        rows, columns = (weight.shape[0], weight.shape[1]) if weight.ndim == 2 else (1, weight.numel())
        native.call("keep_largest", weight, rows, columns, k, floor, axis % 2)
        torch.autograd.graph.increment_version(weight)
    else:
        definition_(weight, k, floor, axis)


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
