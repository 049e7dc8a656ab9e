"""What the processes of the tests of the sharded projection run."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import torch.distributed as dist
from torch import Tensor

from sparsecircuits.ops.sharded import Part, keep_largest_together_


class Case(NamedTuple):
    """A whole matrix and what may stay of it."""

    whole: Tensor
    k: int
    floor: int = 0
    axis: int = -1


def cut(whole: Tensor, rank: int, world: int) -> Tensor:
    """The rows of a process: equally many for each but the last ones."""
    size = -(-len(whole) // world)
    return whole[rank * size : (rank + 1) * size].clone()


def projected(cases: list[Case]) -> list[Tensor]:
    """Each case's rows on this process, all projected in one go."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    try:
        rank, world = dist.get_rank(), dist.get_world_size()
        parts = [
            Part(cut(case.whole, rank, world), tuple(case.whole.shape), case.k, case.floor, case.axis)
            for case in cases
        ]
        keep_largest_together_(parts)
        return [part.rows for part in parts]
    finally:
        dist.destroy_process_group()
