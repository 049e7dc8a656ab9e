"""Layers over our operations: linear maps that go the sparse way where that is faster, RMSNorm, GELU.

:class:`Linear` is an ``nn.Linear`` that may know where its weight is nonzero. The optimizer has it look after
each projection (:meth:`Linear.find_pattern`), and any later change of the weight makes the knowledge void, so
that a stale pattern is never used. :class:`SparseLinear` holds the nonzero values alone, for running and
pruning a finished model (:meth:`~sparsecircuits.model.SparseGPT.to_sparse`); its weights are constants.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecircuits.ops import Pattern, gelu, rms_norm, sparse_linear
from sparsecircuits.ops.choice import sparse_pays


class Reads(NamedTuple):
    """The inputs that vary, and what the others add up to."""

    live: Tensor
    weight: Tensor
    constant: Tensor


class Linear(nn.Linear):
    """``x @ weight.T + bias``, by the sparse kernels where the pattern is known and that is faster."""

    _pattern: Pattern | None = None
    _version: int = -1
    _reads: Reads | None = None

    def find_pattern(self) -> None:
        """Learn where the weight is nonzero now; forgotten as soon as the weight is changed."""
        self._pattern = Pattern.of(self.weight)
        self._version = self.weight._version

    @property
    def pattern(self) -> Pattern | None:
        """Where the weight is nonzero, or None where that is not known (any more)."""
        return self._pattern if self._version == self.weight._version else None

    @contextmanager
    def reading(self, keep: Tensor, frozen: Tensor) -> Generator[None]:
        """While it lasts, inputs outside ``keep`` [columns] count as ``frozen`` [columns], whatever comes in.

        Exact, and cheaper the fewer are kept: the others' part of the output is worked out once.
        """
        held = torch.where(keep, 0, frozen).to(self.weight.dtype)
        live = torch.nonzero(keep).flatten()
        with torch.no_grad():
            self._reads = Reads(live, self.weight[:, live], F.linear(held, self.weight, self.bias))
        try:
            yield
        finally:
            self._reads = None

    def forward(self, input: Tensor) -> Tensor:
        if self._reads is not None:
            return F.linear(input[..., self._reads.live], self._reads.weight, self._reads.constant)
        pattern = self.pattern
        if pattern is not None and sparse_pays(pattern, input.numel() // input.shape[-1]):
            return sparse_linear(input, self.weight, self.bias, pattern)
        return F.linear(input, self.weight, self.bias)


class RMSNorm(nn.RMSNorm):
    """``nn.RMSNorm`` over the last dimension, by our operation."""

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class GELU(nn.GELU):
    """``nn.GELU``, by our operation."""

    def forward(self, input: Tensor) -> Tensor:
        return gelu(input)


class SparseLinear(nn.Module):
    """The same map from the nonzero values alone; nothing of it is trained.

    Its ``state_dict`` holds the dense ``weight``, so that files and hashes are those of the dense module.

    Attributes:
        values: [count] the entries at the pattern's places, by rows.
    """

    values: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self._take(linear.weight)

    def _take(self, weight: Tensor) -> None:
        self.pattern = Pattern.of(weight)
        self.register_buffer("values", self.pattern.gather(weight), persistent=False)

    @property
    def weight(self) -> Tensor:
        """[rows, columns] the dense matrix, made anew at each call."""
        return self.pattern.dense(self.values)

    def forward(self, input: Tensor) -> Tensor:
        return sparse_linear(input, self.values, self.bias, self.pattern)

    def extra_repr(self) -> str:
        return f"{self.pattern.columns} to {self.pattern.rows}, {self.pattern.count} nonzero"

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.weight
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        name = prefix + "weight"
        if name in state_dict:
            self._take(torch.as_tensor(state_dict.pop(name)))
        super()._load_from_state_dict(state_dict, prefix, *rest)
