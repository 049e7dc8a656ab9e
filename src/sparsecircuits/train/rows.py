"""Which rows of a parameter this process holds: all of them, unless the model is sharded.

``fully_shard`` cuts every parameter along its first dimension: with W processes each holds
``ceil(rows / W)`` rows, the last ones fewer or none. The optimizer works on what is here
(:func:`local`); for a checkpoint the rows of one parameter after another come together on the first process
(:func:`collect`).
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

T = TypeVar("T")


def is_sharded(parameter: Tensor) -> bool:
    """Whether it is a DTensor (not asked by type: importing that takes a second)."""
    return hasattr(parameter, "to_local")


def group_of(parameter: Any) -> dist.ProcessGroup:
    """The processes that hold the rows of a sharded parameter."""
    return parameter.device_mesh.get_group()


@torch.no_grad()
def local(parameter: Any) -> Tensor:
    """[rows here, ...]: the memory of what this process holds, or the parameter itself if that is all."""
    return parameter.to_local() if is_sharded(parameter) else parameter


def local_gradient(parameter: nn.Parameter) -> Tensor | None:
    """The gradient of :func:`local`."""
    return None if parameter.grad is None else local(parameter.grad)


def everyones(thing: T, parameter: Tensor) -> list[T]:
    """What each process that holds rows of a sharded ``parameter`` has to say (plain data), by rank."""
    group = group_of(parameter)
    said: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(said, thing, group=group)
    return said


def count_nonzero(parameter: Tensor) -> int:
    """How many entries of the whole are not 0."""
    count = torch.count_nonzero(local(parameter))
    if is_sharded(parameter):
        dist.all_reduce(count, group=group_of(parameter))
    return int(count)


def rows_each(rows: int, world: int) -> int:
    """How many rows each process holds of so many; the last ones hold what is left."""
    return -(-rows // world)


def cut(whole: Tensor, parameter: Tensor) -> Tensor:
    """The rows of ``whole``, a tensor of the shape of ``parameter``, that lie on this process."""
    if not is_sharded(parameter):
        return whole
    group = group_of(parameter)
    size = rows_each(len(whole), dist.get_world_size(group))
    return whole[dist.get_rank(group) * size :][:size]


def collect(rows: Tensor, parameter: Tensor) -> Tensor | None:
    """The whole tensor of which each process holds ``rows``, on the first one; None on the others.

    Args:
        rows: [rows here, ...] of something that is cut like ``parameter``.
        parameter: a sharded parameter.
    """
    group = group_of(parameter)
    size = rows_each(len(parameter), dist.get_world_size(group))
    padded = F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, size - len(rows)))
    main = dist.get_rank(group) == 0
    parts = [torch.empty_like(padded) for _ in range(dist.get_world_size(group))] if main else None
    dist.gather(padded.contiguous(), parts, group=group, group_dst=0)
    return None if parts is None else torch.cat(parts)[: len(parameter)]


def in_order(rows: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """One number for each row of all parameters, in their order.

    Args:
        rows: [rows here] of all ``parameters``, one after the other.
        parameters: sharded ones.

    Returns:
        [rows of the whole], the same on every process.
    """
    group = group_of(parameters[0])
    world = dist.get_world_size(group)
    sizes = [rows_each(len(parameter), world) for parameter in parameters]
    padded = []
    start = 0
    for parameter, size in zip(parameters, sizes, strict=True):
        here = len(local(parameter))
        padded.append(F.pad(rows[start : start + here], (0, size - here)))
        start += here
    everyone = [torch.empty(sum(sizes), dtype=rows.dtype, device=rows.device) for _ in range(world)]
    dist.all_gather(everyone, torch.cat(padded), group=group)
    table = torch.stack(everyone)
    columns = table.split(sizes, dim=1)
    return torch.cat([part.flatten()[: len(p)] for part, p in zip(columns, parameters, strict=True)])
