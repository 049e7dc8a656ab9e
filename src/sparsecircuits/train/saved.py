"""What a forward pass saves for its backward pass: all activations, or fewer bytes for more time.

- ``sparse``: AbsTopK zeroes three quarters of most activations. Whatever is saved and mostly zero is kept as
  :mod:`sparsecircuits.ops.packing` has it, 1.125 bytes an entry in place of 4, and made whole again when
  its gradient is due.
- ``blocks``, ``sublayers``: what enters each of them is saved; the rest is computed a second time when
  gradients are due (gradient checkpointing).

The gradients are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sparsecircuits.model import SparseGPT
from sparsecircuits.model.gpt import Block
from sparsecircuits.ops.packing import Packed, pack, unpack

Activations = Literal["all", "sparse", "blocks", "sublayers"]

RECOMPUTED: dict[Activations, Literal["block", "sublayer"]] = {"blocks": "block", "sublayers": "sublayer"}
#: Fewer entries are not worth the call.
LEAST = 16_384


class Saved(NamedTuple):
    """An activation without its zeros, and its shape where it was used."""

    packed: Packed
    shape: torch.Size


class _Saver:
    """Packs what autograd saves; weights, which stay in any case, and what is not mostly zero are left."""

    def __init__(self, model: SparseGPT) -> None:
        self._weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(self, x: Tensor) -> Tensor | Saved:
        if x.dtype != torch.float32 or x.numel() < LEAST or not x.is_contiguous():
            return x
        if x.untyped_storage().data_ptr() in self._weights:
            return x
        packed = pack(x.flatten(2) if x.ndim > 2 else x)  # heads side by side, as AbsTopK saw them
        return x if packed is None else Saved(packed, x.shape)

    def unpack(self, kept: Tensor | Saved) -> Tensor:
        return unpack(kept.packed).view(kept.shape) if isinstance(kept, Saved) else kept


@contextmanager
def saving(model: SparseGPT, what: Activations) -> Generator[None]:
    """Around a forward pass of ``model``: which activations it saves for the backward pass."""
    with ExitStack() as stack:
        if what == "sparse":
            saver = _Saver(model)
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(saver.pack, saver.unpack))
        for block in model.blocks:
            assert isinstance(block, Block)
            stack.callback(setattr, block, "recompute", block.recompute)
            block.recompute = RECOMPUTED.get(what)
        yield
