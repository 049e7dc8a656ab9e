"""Adam's step for all tensors in one launch (Triton), the gradients divided on the way.

In go weights, gradients and both moments of any number of tensors, as lists; each is changed in place as
torch's Adam would change it, in float32. Steps: the addresses of all tensors go to the GPU in one small
table; a program takes 1024 entries of one tensor, found in a list of such chunks that is made once; it reads
the tensor's step count from the GPU too, so that nothing waits. Where kept weights alone are trained they
come as values (:class:`~sparsecircuits.ops.Pattern`), so that nothing needs a mask.

The projection that follows is a launch of its own, since which weights stay depends on all of a matrix; and
so is the decay, which comes after it (§A.2).

Bytes moved: seven numbers an entry, 28 bytes (weight, gradient, two moments; three of them written back).
"""

# What a kernel is written in looks like Python, but has types of its own.
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsecircuits.ops.gpu import launch

#: Entries of one program.
CHUNK = 1024
#: Columns of the table: what a tensor has besides its length.
_KINDS = 5


class Chunks:
    """Which entries each program takes, of tensors of these sizes; made once, it stays on the device."""

    def __init__(self, sizes: Sequence[int], device: torch.device) -> None:
        pairs = [(which, at) for which, size in enumerate(sizes) for at in range(0, size, CHUNK)]
        table = torch.tensor(pairs, dtype=torch.int64).view(-1, 2)
        self.count = len(table)
        self.which, self.begin = (column.contiguous().to(device) for column in table.unbind(1))


def step(
    chunks: Chunks,
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    divisor: float,
) -> None:
    """One step of every tensor, in place; all are float32, contiguous and on one device.

    Args:
        chunks: of the weights' sizes.
        weights, gradients, moments, squares: as many tensors each, and of the same sizes.
        steps: for each the number of steps so far, a float32 tensor of one entry; one is added.
        lr: learning rate.
        betas, eps: Adam's.
        divisor: what gradients are divided by.
    """
    device = weights[0].device
    torch._foreach_add_(list(steps), 1)
    rows = zip(weights, gradients, moments, squares, steps, strict=True)
    addresses = [[part.data_ptr() for part in row] + [row[0].numel()] for row in rows]
    table = torch.tensor(addresses, dtype=torch.int64)
    if device.type == "cuda":
        table = table.pin_memory().to(device, non_blocking=True)
    if chunks.count > 0:
        launch(
            _step, (chunks.count,),
            table, chunks.which, chunks.begin, lr, eps, divisor,
            BETA1=betas[0], BETA2=betas[1], LOG1=_log(betas[0]), LOG2=_log(betas[1]),
            CHUNK=CHUNK, KINDS=_KINDS, warps=4,
        )  # fmt: skip


def _log(beta: float) -> float:
    return math.log(beta) if beta > 0 else -1e30


@triton.jit
def _step(
    table, which, begin, lr, eps, divisor,
    BETA1: tl.constexpr, BETA2: tl.constexpr, LOG1: tl.constexpr, LOG2: tl.constexpr,
    CHUNK: tl.constexpr, KINDS: tl.constexpr,
):  # fmt: skip
    chunk = tl.program_id(0)
    row = table + tl.load(which + chunk) * (KINDS + 1)
    weight = tl.load(row).to(tl.pointer_type(tl.float32))
    grad = tl.load(row + 1).to(tl.pointer_type(tl.float32))
    moment = tl.load(row + 2).to(tl.pointer_type(tl.float32))
    square = tl.load(row + 3).to(tl.pointer_type(tl.float32))
    count = tl.load(tl.load(row + 4).to(tl.pointer_type(tl.float32))).to(tl.float64)
    at = tl.load(begin + chunk) + tl.arange(0, CHUNK)
    inside = at < tl.load(row + KINDS)

    # 1 - beta^count: in float64, since the difference is small at first.
    bias1 = (1.0 - tl.exp(count * LOG1)).to(tl.float32)
    bias2 = (1.0 - tl.exp(count * LOG2)).to(tl.float32)
    g = tl.load(grad + at, mask=inside, other=0.0) / divisor
    m = tl.load(moment + at, mask=inside, other=0.0)
    v = tl.load(square + at, mask=inside, other=1.0)
    m = m + (g - m) * (1.0 - BETA1)
    v = v * BETA2 + g * g * (1.0 - BETA2)
    change = (lr / bias1) * m / (tl.sqrt_rn(v) / tl.sqrt_rn(bias2) + eps)
    tl.store(weight + at, tl.load(weight + at, mask=inside, other=0.0) - change, mask=inside)
    tl.store(moment + at, m, mask=inside)
    tl.store(square + at, v, mask=inside)
