"""Set a part of what a model reads, at every location at once.

A patch's nodes have rows in the dense read that span a part of it. What the model reads within that part is
set; the rest stays as the run has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.bridges.asked import answered
from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.mapping import mapped_rows
from sparsecircuits.bridges.sides import Side, sublayers


class Patch(NamedTuple):
    """What is set at one location."""

    channels: Tensor
    """[n] nodes of the sparse model."""
    rows: Tensor
    """[n, d] what each is in the dense read."""
    span: Tensor
    """[m, d] orthonormal, of the same span."""


def reads_of(side: Side, tokens: Tensor) -> list[Tensor]:
    """[batch, pos, d_model] what each sublayer reads."""
    x, reads = side.enter(tokens), []
    for index in range(sublayers(side)):
        reads.append(side.read(x, index))
        x = side.sublayer(x, index)
    return reads


def patch_of(dense: Side, sparse: Side, bridge: Bridge, location: int, mask: Tensor, ratio: float) -> Patch:
    """That of the channels in ``mask`` [d_model] of the sparse model's read."""
    channels = torch.nonzero(mask).flatten()
    rows = mapped_rows(dense, sparse, bridge, location, channels, ratio)
    return Patch(channels, rows, spanning(rows))


def spanning(rows: Tensor) -> Tensor:
    """[rank, d] an orthonormal basis of what ``rows`` [n, d] span."""
    _, sizes, basis = torch.linalg.svd(rows.double(), full_matrices=False)
    least = sizes.amax() * max(rows.shape) * torch.finfo(rows.dtype).eps if len(sizes) else 0
    return basis[sizes > least].to(rows)


def run_with(dense: Side, tokens: Tensor, last: Tensor, wanted: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """[n, vocab] logits at the prompts' ends while reads are set.

    Args:
        dense: the model.
        tokens: [n, pos].
        last: [n].
        wanted: for each location an orthonormal basis [m, d] and a read [n, pos, d]: within the span of the
            one, the model reads the other. Empty: nothing is set.
    """
    x = dense.enter(tokens)
    for index in range(sublayers(dense)):
        added = None
        if wanted and len(wanted[index][0]):
            span, read = wanted[index]
            added = (read - dense.read(x, index)) @ span.T @ span
        x = dense.sublayer(x, index, added)
    return answered(dense, x, tokens, last)
