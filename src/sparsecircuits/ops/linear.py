"""A linear map whose matrix is nearly all zero: forward, dX, and dW dense or at the kept weights alone (§B).

In go inputs, a weight matrix and the *pattern* of its nonzero entries (:class:`Pattern`); out comes what
``F.linear`` gives. With the matrix itself as the weight its gradient is dense, as the method needs it (a
zeroed weight can come back); with its kept values alone the gradient is theirs; with neither needing a
gradient, as in pruning, none is computed. :func:`definition` is that in plain torch; ``csrc/linear.h`` and
``csrc/outer.h`` are the kernels of a CPU, ``gpu/linear.py`` those of a GPU.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sparsecircuits.ops import gpu, native

#: Types of numbers that the GPU's kernels read.
_GPU_TYPES = (torch.float32, torch.bfloat16, torch.float16)
#: Up to so many tokens go one by one through the columns of their nonzero inputs.
FEW = 4


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where a matrix [rows, columns] has nonzero entries, by rows and by columns.

    Attributes:
        start: [rows + 1] int32; the entries of row i are ``start[i]`` to ``start[i + 1]``.
        index: [count] int32, their columns, rising within a row.
        column_start, column_index: the same by columns.
        order: [count] int32, for each entry by columns its place by rows.
        spare: whether there may be fewer entries than room for them: those from ``start[rows]`` on are none.
    """

    rows: int
    columns: int
    start: Tensor
    index: Tensor
    column_start: Tensor
    column_index: Tensor
    order: Tensor
    spare: bool = field(default=False, kw_only=True)

    @classmethod
    def of(cls, weight: Tensor, most: int | None = None) -> Pattern:
        """The pattern of a matrix; NaN counts as nonzero.

        Args:
            weight: [rows, columns].
            most: as many entries are nonzero at most. On a GPU nothing then waits for their number, and the
                pattern has room for so many.
        """
        weight = weight.detach()
        rows, columns = weight.shape
        if most is not None and gpu.takes(weight, types=_GPU_TYPES):
            from sparsecircuits.ops.gpu import linear

            return cls(rows, columns, *linear.find(weight, most), spare=True)
        if not (native.takes(weight) and weight.is_contiguous()):
            return cls._by_definition(weight)
        start = torch.empty(rows + 1, dtype=torch.int32)
        count = native.call("count_nonzero", weight, rows, columns, start)
        index, column_index, order = (torch.empty(count, dtype=torch.int32) for _ in range(3))
        column_start = torch.empty(columns + 1, dtype=torch.int32)
        native.call("find_nonzero", weight, rows, columns, start, index, column_start, column_index, order)
        return cls(rows, columns, start, index, column_start, column_index, order)

    @classmethod
    def at(cls, rows: int, columns: int, places: Tensor) -> Pattern:
        """From flat indices [count], rising: the inverse of :meth:`places`."""
        row = torch.div(places, columns, rounding_mode="floor")
        start = F.pad(torch.bincount(row, minlength=rows).cumsum(0), (1, 0))
        return cls.from_rows(rows, columns, start, places - row * columns)

    @classmethod
    def from_rows(cls, rows: int, columns: int, start: Tensor, index: Tensor) -> Pattern:
        """From the entries by rows, as :attr:`start` and :attr:`index` have them."""
        counts = start.diff().long()
        row = torch.repeat_interleave(torch.arange(rows, device=start.device), counts)
        order = torch.argsort(index.long() * rows + row)
        column_start = F.pad(torch.bincount(index.long(), minlength=columns).cumsum(0), (1, 0))
        parts = (start, index, column_start, row[order], order)
        return cls(rows, columns, *(part.int().contiguous() for part in parts))

    @classmethod
    def _by_definition(cls, weight: Tensor) -> Pattern:
        rows, columns = weight.shape
        place = torch.nonzero(weight)
        start = F.pad(torch.bincount(place[:, 0], minlength=rows).cumsum(0), (1, 0))
        return cls.from_rows(rows, columns, start, place[:, 1])

    @property
    def count(self) -> int:
        """How many entries there are, or room for how many."""
        return self.index.numel()

    @property
    def density(self) -> float:
        """Their share of the matrix."""
        return self.count / max(1, self.rows * self.columns)

    def places(self) -> Tensor:
        """[count] int64: flat indices of the entries, rising; one behind the matrix for what is none."""
        if self.spare:
            entry = torch.arange(self.count, device=self.start.device, dtype=torch.int32)
            row = torch.searchsorted(self.start, entry, right=True) - 1
            return row * self.columns + self.index
        row = torch.repeat_interleave(
            torch.arange(self.rows, device=self.start.device), self.start.diff().long()
        )
        return row * self.columns + self.index.long()

    def gather(self, weight: Tensor) -> Tensor:
        """[count] the entries of ``weight`` [rows, columns] at these places."""
        if gpu.takes(weight, types=_GPU_TYPES):
            from sparsecircuits.ops.gpu import linear

            return linear.gather(weight, self.start, self.index)
        if native.takes(weight) and weight.is_contiguous() and not self.spare:
            values = weight.new_empty(self.count)
            native.call_single(
                "gather_values", weight.detach(), self.rows, self.columns, self.start, self.index, values
            )
            return values
        return self._with_room(weight.detach().flatten())[self.places()]

    def dense(self, values: Tensor) -> Tensor:
        """[rows, columns] with ``values`` at these places and 0 elsewhere; differentiable."""
        flat = self._with_room(values.new_zeros(self.rows * self.columns))
        return self._matrix(flat.index_put((self.places(),), values))

    def _with_room(self, flat: Tensor) -> Tensor:
        """With a place more, where entries belong that are none."""
        return F.pad(flat, (0, 1)) if self.spare else flat

    def _matrix(self, flat: Tensor) -> Tensor:
        """[rows, columns] of what :meth:`_with_room` gave."""
        return flat[: self.rows * self.columns].view(self.rows, self.columns)

    @functools.cached_property
    def longest(self) -> tuple[Tensor, Tensor]:
        """Rows, and columns, by falling number of entries, for the kernels of a GPU."""
        from sparsecircuits.ops.gpu import linear

        return linear.longest_first(self.start), linear.longest_first(self.column_start)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the kernels take."""
        return self.start, self.index, self.column_start, self.column_index, self.order


def sparse_linear(x: Tensor, weight: Tensor, bias: Tensor | None, pattern: Pattern) -> Tensor:
    """``x @ W.T + bias`` where ``W`` is zero outside ``pattern``.

    Args:
        x: [..., columns].
        weight: [rows, columns], whose gradient is dense; or [count] the values at the pattern's places, by
            rows, with a gradient for just those.
        bias: [rows] or None.
        pattern: of the matrix. What ``weight`` [rows, columns] has outside it counts as 0.

    Returns:
        [..., rows].

    Raises:
        ValueError: shapes that do not fit the pattern.
    """
    shape = (pattern.rows, pattern.columns) if weight.ndim == 2 else (pattern.count,)
    fits = weight.shape == shape and x.shape[-1] == pattern.columns
    if not fits or (bias is not None and bias.shape != (pattern.rows,)):
        raise ValueError(
            f"a pattern of {pattern.rows} x {pattern.columns} with {pattern.count} entries does not fit "
            f"x {tuple(x.shape)}, weight {tuple(weight.shape)} and bias "
            f"{None if bias is None else tuple(bias.shape)}"
        )
    if gpu.takes(x, weight, bias, types=_GPU_TYPES) and gpu.takes(pattern.start, types=(torch.int32,)):
        return _on_gpu(x, weight, bias, pattern)
    if native.takes(x, weight, bias):
        flat = x.reshape(-1, pattern.columns)
        run = _sparse_linear_now if native.undispatched(flat, weight) else _sparse_linear
        y = run(flat, weight, bias, *pattern.tensors())
        return y.view(*x.shape[:-1], pattern.rows)
    return definition(x, weight, bias, pattern)


def _on_gpu(x: Tensor, weight: Tensor, bias: Tensor | None, pattern: Pattern) -> Tensor:
    """Under autocast in its type, as torch's own product."""
    from sparsecircuits.ops.gpu import linear

    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    found = linear.Found(*pattern.tensors())
    y = linear.sparse_linear(x.reshape(-1, pattern.columns), weight, bias, found, pattern.longest)
    return y.view(*x.shape[:-1], pattern.rows)


def definition(x: Tensor, weight: Tensor, bias: Tensor | None, pattern: Pattern) -> Tensor:
    """:func:`sparse_linear` in plain torch."""
    if weight.ndim == 1:
        return F.linear(x, pattern.dense(weight), bias)
    flat = pattern._with_room(weight.detach().flatten())
    outside = pattern._matrix(flat.index_fill(0, pattern.places(), 0))
    return F.linear(x, weight - outside, bias)  # the value inside the pattern, the gradient of all


def _values(weight: Tensor, start: Tensor, index: Tensor) -> Tensor:
    """[count] the kept values, whichever form the weight has."""
    if weight.ndim == 1:
        return weight.detach().contiguous()
    values = weight.new_empty(index.numel())
    native.call_single("gather_values", weight.detach().contiguous(), *weight.shape, start, index, values)
    return values


#: Below this share of nonzero gradients the sum over tokens goes through them alone.
_MOSTLY_ZERO = 0.4


def _outer_sum(grad: Tensor, x: Tensor) -> Tensor:
    """[rows, columns] dense ``grad.T @ x``; AbsTopK leaves a quarter of the gradients in front of it."""
    some = grad[:: max(1, len(grad) // 64)]
    if int(some.count_nonzero()) >= _MOSTLY_ZERO * some.numel():
        return grad.t() @ x
    out = grad.new_empty((grad.shape[1], x.shape[1]))
    native.call("outer_sum", grad, x, out, len(grad), *out.shape)
    return out


def _sparse_linear_now(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    start: Tensor,
    index: Tensor,
    column_start: Tensor,
    column_index: Tensor,
    order: Tensor,
) -> Tensor:
    x, tokens = x.contiguous(), x.shape[0]
    rows, columns = len(start) - 1, len(column_start) - 1
    y = x.new_empty((tokens, rows))
    values = _values(weight, start, index)
    bias = None if bias is None else bias.contiguous()
    if tokens <= FEW:
        native.call_single(
            "sparse_few", column_start, column_index, order, values, bias, x, y, tokens, rows, columns
        )
    else:
        native.call("sparse_forward", start, index, values, bias, x, y, tokens, rows, columns)
    return y


_sparse_linear = torch.library.custom_op("sparsecircuits::sparse_linear", _sparse_linear_now, mutates_args=())


@torch.library.custom_op("sparsecircuits::sparse_linear_backward", mutates_args=())
def _sparse_linear_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    start: Tensor,
    index: Tensor,
    column_start: Tensor,
    column_index: Tensor,
    order: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias, an empty tensor for what is not wanted."""
    grad, x = grad.contiguous(), x.contiguous()
    tokens, rows, columns = grad.shape[0], len(start) - 1, len(column_start) - 1
    wants_x, wants_weight, wants_bias = wanted
    dx = torch.empty_like(x) if wants_x else None
    kept = wants_weight and weight.ndim == 1
    dw = weight.new_empty(weight.shape) if kept else None
    db = grad.new_empty(rows) if wants_bias else None
    values = _values(weight, start, index)
    native.call(
        "sparse_backward", start, index, column_start, column_index, order, values, x, grad, dx, dw, db,
        tokens, rows, columns,
    )  # fmt: skip
    if wants_weight and not kept:
        dw = _outer_sum(grad, x)
    return tuple(grad.new_empty(0) if part is None else part for part in (dx, dw, db))  # type: ignore[return-value]


@_sparse_linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, start: Tensor, *_: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], start.shape[0] - 1))


@_sparse_linear_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    start: Tensor,
    index: Tensor,
    column_start: Tensor,
    column_index: Tensor,
    order: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    shapes = (x.shape, weight.shape, (grad.shape[1],))
    parts = (grad.new_empty(shape if want else 0) for shape, want in zip(shapes, wanted, strict=True))
    return tuple(parts)  # type: ignore[return-value]


def _keep(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    x, weight, _, *pattern = inputs
    ctx.save_for_backward(x, weight, *pattern)


def _back(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
    wanted = [bool(need) for need in ctx.needs_input_grad[:3]]  # type: ignore[attr-defined]
    grads = _sparse_linear_backward(grad, *ctx.saved_tensors, wanted)  # type: ignore[attr-defined]
    kept = (part if want else None for part, want in zip(grads, wanted, strict=True))
    return *kept, None, None, None, None, None


_sparse_linear.register_autograd(_back, setup_context=_keep)
