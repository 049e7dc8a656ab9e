"""Layers over our operations: linear maps that go the sparse way where that is faster, and RMSNorm.

:class:`Linear` is an ``nn.Linear`` that may know where its weight is nonzero. The optimizer has it look after
each projection (:meth:`Linear.find_pattern`), and any later change of the weight that torch counts makes the
knowledge void (writing through ``weight.data`` is not counted; use ``torch.no_grad()``).
Either can be *rewired* for a while: other weights stand in for its own, such as those of a circuit that lacks
some edges; with nothing attached nothing is computed for it.
:class:`SparseLinear` holds the nonzero values alone, for running and pruning a finished model
(:meth:`~sparsecircuits.model.SparseGPT.to_sparse`); its weights are constants.
"""

from __future__ import annotations

import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecircuits.ops import Pattern, rms_norm, sparse_linear
from sparsecircuits.ops.choice import sparse_pays


class Reads(NamedTuple):
    """The inputs that vary, and what the others add up to."""

    live: Tensor
    weight: Tensor
    constant: Tensor


class Wiring(NamedTuple):
    """A weight [rows, columns] and a bias [rows] that stand in for a map's own."""

    weight: Tensor
    bias: Tensor | None


class Seen(NamedTuple):
    """A pattern, and which weight it was found in, in which state."""

    pattern: Pattern
    weight: weakref.ref[Tensor]
    version: int
    memory: int


class Kept(NamedTuple):
    """The weights that have gradients, where not all have.

    values: [count] the entries at the pattern's places; a leaf. sparse: whether the sparse kernels may run.
    """

    pattern: Pattern
    values: Tensor
    sparse: bool


class Linear(nn.Linear):
    """``x @ weight.T + bias``, by the sparse kernels where the pattern is known and that is faster.

    Attributes:
        kept: which weights have gradients in training, where not all have; whoever sets it sees to it that
            its values are the weight's. Where the dense product is faster the weight itself has the gradient.
    """

    kept: Kept | None = None
    _seen: Seen | None = None
    _wiring: Wiring | None = None
    _reads: Reads | None = None

    def find_pattern(self, most: int | None = None) -> None:
        """Learn where the weight is nonzero now; forgotten as soon as the weight is changed.

        ``most``: as many are at most, if that is known (:meth:`Pattern.of`).
        """
        self.know(Pattern.of(self.weight, most))

    def know(self, pattern: Pattern) -> None:
        """As :meth:`find_pattern`, from one that covers all nonzero weights."""
        weight = self.weight
        self._seen = Seen(pattern, weakref.ref(weight), weight._version, weight.data_ptr())

    @property
    def pattern(self) -> Pattern | None:
        """Where the weight is nonzero, or None where that is not known (any more), or while compiling."""
        seen = self._seen
        if seen is None or torch.compiler.is_compiling():
            return None
        now = (seen.weight() is self.weight, self.weight._version, self.weight.data_ptr())
        return seen.pattern if now == (True, seen.version, seen.memory) else None

    def __getstate__(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "_seen": None,
            "_reads": None,
            "kept": None,
        }  # a copy has a weight of its own

    @contextmanager
    def rewired(self, weight: Tensor, bias: Tensor | None) -> Generator[None]:
        """While it lasts, the map is that of ``weight`` [rows, columns] and ``bias`` [rows].

        Differentiable in both.
        """
        before, self._wiring = self._wiring, Wiring(weight, bias)
        try:
            yield
        finally:
            self._wiring = before

    @contextmanager
    def reading(self, keep: Tensor, frozen: Tensor) -> Generator[None]:
        """While it lasts, inputs outside ``keep`` [columns] count as ``frozen`` [columns], whatever comes in.

        Exact, and cheaper the fewer are kept: the others' part of the output is worked out once. Of a
        rewired map, it reads what that is when this begins.
        """
        weight, bias = self._wiring or (self.weight, self.bias)
        held = torch.where(keep, 0, frozen).to(weight.dtype)
        live = torch.nonzero(keep).flatten()
        with torch.no_grad():
            self._reads = Reads(live, weight[:, live], F.linear(held, weight, bias))
        try:
            yield
        finally:
            self._reads = None

    def forward(self, input: Tensor) -> Tensor:
        if self._reads is not None:
            return F.linear(input[..., self._reads.live], self._reads.weight, self._reads.constant)
        if self._wiring is not None:
            return F.linear(input, *self._wiring)
        tokens = input.numel() // input.shape[-1]
        if (kept := self.kept) is not None and torch.is_grad_enabled() and self.weight.requires_grad:
            if kept.sparse and not torch.compiler.is_compiling() and sparse_pays(kept.pattern, tokens):
                return sparse_linear(input, kept.values, self.bias, kept.pattern)
            return F.linear(input, self.weight, self.bias)
        pattern = self.pattern
        if pattern is not None and sparse_pays(pattern, tokens):
            return sparse_linear(input, self.weight, self.bias, pattern)
        return F.linear(input, self.weight, self.bias)


class RMSNorm(nn.RMSNorm):
    """``nn.RMSNorm`` over the last dimension, by our operation."""

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class SparseLinear(nn.Module):
    """The same map from the nonzero values alone; nothing of it is trained.

    Its ``state_dict`` holds the dense ``weight``, so that files and hashes are those of the dense module.

    Attributes:
        values: [count] the entries at the pattern's places, by rows.
    """

    values: Tensor
    _wiring: Wiring | None = None

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

    @contextmanager
    def rewired(self, weight: Tensor, bias: Tensor | None) -> Generator[None]:
        """As :meth:`Linear.rewired`; ``weight`` may be nonzero only where the map's own is.

        Without gradients it goes the sparse way too.
        """
        values = weight if weight.requires_grad else self.pattern.gather(weight)
        before, self._wiring = self._wiring, Wiring(values, bias)
        try:
            yield
        finally:
            self._wiring = before

    def forward(self, input: Tensor) -> Tensor:
        if self._wiring is not None:
            return sparse_linear(input, *self._wiring, self.pattern)
        return sparse_linear(input, self.values, self.bias, self.pattern)

    def extra_repr(self) -> str:
        return f"{self.pattern.columns} to {self.pattern.rows}, {self.pattern.count} nonzero"

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.weight
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        name, shape = prefix + "weight", (self.pattern.rows, self.pattern.columns)
        if name not in state_dict:
            missing_keys.append(name)
        elif (weight := state_dict.pop(name)).shape != shape:
            error_msgs.append(f"{name} is {tuple(weight.shape)}, expected {shape}")
        else:
            self._take(weight)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
