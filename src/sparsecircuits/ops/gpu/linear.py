"""The sparse product on a GPU: forward, dX and the kept weights' gradient (Triton); dense dW by cuBLAS.

In go x [token, column], a weight as :func:`sparsecircuits.ops.sparse_linear` takes it, and the pattern of its
nonzero entries; out come y [token, row] and, on the way back, the gradients. Steps:

1. x is *turned* to [column, token], so that one entry of the matrix meets 64 tokens that lie side by side.
2. A program has 16 rows of the matrix and 64 tokens. It goes through the rows' entries, each a load of 64
   numbers and as many multiplications, and adds up in float32. Programs that run at the same time have the
   same tokens, so that what they load (columns x 64 numbers) comes from the first cache. Rows are taken
   longest first, those of one program alike in length, so that none waits for another.
3. y is turned back. dX is the same over the matrix's columns; dW of kept weights (SDDMM) is a sum of products
   of two turned rows for each entry, 1024 tokens at a time so that those stay in the second cache; the
   pieces are added up in a fixed order, so that results do not change from run to run.

Bytes moved at the least: x, y and the turned copies of both, once each way.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sparsecircuits.ops.gpu import launch
from sparsecircuits.ops.gpu import linear_kernels as kernels

#: Rows and tokens of one program; entries that it loads ahead of each other.
ROWS, TOKENS, AHEAD = 16, 64, 4
#: Side of the square that is turned at once.
SIDE = 64
#: Turned rows have a multiple of so many tokens, zeros behind the last, so that loads can be wide.
WIDE = 16
#: Tokens whose products one program of the values' gradient adds up.
PIECE = 1024
#: Sums of so many pieces are held at once, at most.
MOST_PIECES = 64


class Found(NamedTuple):
    """The tensors of a :class:`~sparsecircuits.ops.Pattern`, in its order."""

    start: Tensor
    index: Tensor
    column_start: Tensor
    column_index: Tensor
    order: Tensor


def find(weight: Tensor, count: int) -> Found:
    """Where ``weight`` [rows, columns] is nonzero, at at most ``count`` places, without waiting for the GPU.

    Entries from ``start[rows]`` on are none, if there are fewer.
    """
    rows, columns = weight.shape
    end = rows * columns
    place = torch.nonzero_static(weight.detach().flatten(), size=count, fill_value=end).flatten()
    by_column = torch.where(place < end, place % columns * rows + place // columns, end)
    by_column, order = by_column.sort(stable=True)
    row_ends = torch.arange(rows + 1, device=weight.device) * columns
    column_ends = torch.arange(columns + 1, device=weight.device) * rows
    return Found(
        torch.searchsorted(place, row_ends, out_int32=True),
        (place % columns).int(),
        torch.searchsorted(by_column, column_ends, out_int32=True),
        (by_column % rows).int(),
        order.int(),
    )


def longest_first(start: Tensor) -> Tensor:
    """[rows] int32: rows by falling number of entries, ``start`` [rows + 1] as in a pattern."""
    return start.diff().argsort(descending=True, stable=True).int()


def gather(weight: Tensor, start: Tensor, index: Tensor) -> Tensor:
    """[count] the entries of ``weight`` [rows, columns] at the pattern's places, 0 where it has none."""
    weight = weight.detach().contiguous()
    rows, columns = weight.shape
    values = weight.new_zeros(len(index))
    launch(kernels.gather, (rows,), weight, start, index, values, columns, BLOCK=128, warps=4)
    return values


def sparse_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, found: Found, longest: tuple[Tensor, Tensor]
) -> Tensor:
    """``x`` [token, columns] to [token, rows], differentiable.

    Args:
        x: float32, or 16-bit.
        weight: [rows, columns], whose gradient is dense, or [count] values; may be float32 beside a 16-bit x.
        bias: [rows] or None.
        found: where the matrix is nonzero.
        longest: its rows, and its columns, the longest first.
    """
    return _sparse_linear(x, weight, bias, *found, *longest)[0]


def turned(x: Tensor) -> Tensor:
    """[columns, tokens rounded up to :data:`WIDE`] of ``x`` [tokens, columns], zeros behind the last."""
    x = x if x.stride(1) == 1 else x.contiguous()
    tokens, columns = x.shape
    wide = triton.cdiv(tokens, WIDE) * WIDE
    out = x.new_empty((columns, wide))
    _turn_into(x, out, wide)
    return out


def _turned_back(x: Tensor, tokens: int) -> Tensor:
    """[tokens, rows] of ``x`` [rows, at least so many tokens]."""
    out = x.new_empty((tokens, len(x)))
    _turn_into(x[:, :tokens], out, len(x))
    return out


def _turn_into(x: Tensor, out: Tensor, wide: int) -> None:
    rows, columns = x.shape
    if out.numel() > 0:
        grid = (triton.cdiv(wide, SIDE), triton.cdiv(columns, SIDE))
        launch(kernels.turn, grid, x, out, rows, columns, x.stride(0), wide, SIDE=SIDE, warps=4)


def multiply(
    start: Tensor,
    index: Tensor,
    order: Tensor | None,
    values: Tensor,
    bias: Tensor | None,
    longest: Tensor,
    x: Tensor,
) -> Tensor:
    """[rows, tokens] the product with ``x`` [columns, tokens], turned; entry e has ``values[order[e]]``."""
    rows, tokens = len(longest), x.shape[1]
    y = x.new_empty((rows, tokens))
    if y.numel() > 0:
        launch(
            kernels.multiply, (triton.cdiv(rows, ROWS), triton.cdiv(tokens, TOKENS)),
            start, index, order, values, bias, longest, x, y, rows, tokens,
            HAS_ORDER=order is not None, HAS_BIAS=bias is not None,
            ROWS=ROWS, TOKENS=TOKENS, AHEAD=AHEAD, warps=4, fuse=True,
        )  # fmt: skip
    return y


def sampled(start: Tensor, index: Tensor, longest: Tensor, grad: Tensor, x: Tensor) -> Tensor:
    """[count] float32 ``grad @ x.T`` at the pattern's places; grad is [rows, tokens], x [columns, tokens]."""
    tokens, count = x.shape[1], len(index)
    # Longer pieces of very many tokens: the sums of all pieces are there at once.
    piece = max(PIECE, TOKENS * triton.cdiv(triton.cdiv(tokens, MOST_PIECES), TOKENS))
    pieces = max(1, triton.cdiv(tokens, piece))
    out = x.new_zeros((pieces, count), dtype=torch.float32)
    if len(longest) > 0:
        launch(
            kernels.sample, (len(longest), pieces),
            start, index, longest, grad, x, out, tokens, count,
            PIECE=piece, ENTRIES=ROWS, TOKENS=TOKENS, warps=4, fuse=True,
        )  # fmt: skip
    return out.sum(0)


@torch.library.custom_op("sparsecircuits_gpu::sparse_linear", mutates_args=())
def _sparse_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    start: Tensor,
    index: Tensor,
    column_start: Tensor,
    column_index: Tensor,
    order: Tensor,
    longest_rows: Tensor,
    longest_columns: Tensor,
) -> tuple[Tensor, Tensor]:
    """y, and x turned."""
    values = weight.contiguous() if weight.ndim == 1 else gather(weight, start, index)
    bias = None if bias is None else bias.contiguous()
    wide = turned(x)
    y = multiply(start, index, None, values, bias, longest_rows, wide)
    return _turned_back(y, len(x)), wide


@torch.library.custom_op("sparsecircuits_gpu::sparse_linear_backward", mutates_args=())
def _sparse_linear_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    start: Tensor,
    index: Tensor,
    column_start: Tensor,
    column_index: Tensor,
    order: Tensor,
    longest_rows: Tensor,
    longest_columns: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias from ``x`` turned; an empty tensor for what is not wanted."""
    slopes = turned(grad)
    dx, dw, db = (grad.new_empty(0), weight.new_empty(0), weight.new_empty(0))
    if wanted[0]:
        values = weight.contiguous() if weight.ndim == 1 else gather(weight, start, index)
        wide = multiply(column_start, column_index, order, values, None, longest_columns, slopes)
        dx = _turned_back(wide, len(grad))
    if wanted[1] and weight.ndim == 1:
        dw = sampled(start, index, longest_rows, slopes, x).to(weight.dtype)
    elif wanted[1]:
        dw = (slopes @ x.t()).to(weight.dtype)
    if wanted[2]:
        db = grad.sum(0, dtype=torch.float32).to(weight.dtype)
    return dx, dw, db


@_sparse_linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, start: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    wide = -(-x.shape[0] // WIDE) * WIDE
    return x.new_empty((x.shape[0], start.shape[0] - 1)), x.new_empty((x.shape[1], wide))


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
    longest_rows: Tensor,
    longest_columns: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    dx = grad.new_empty((grad.shape[0], x.shape[0]) if wanted[0] else 0)
    dw = weight.new_empty(weight.shape if wanted[1] else 0)
    return dx, dw, weight.new_empty(grad.shape[1] if wanted[2] else 0)


def _keep(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    _, weight, _, *pattern = inputs
    ctx.save_for_backward(output[1], weight, *pattern)
    ctx.set_materialize_grads(False)


def _back(ctx: FunctionCtx, grad: Tensor, _turned: Tensor | None) -> tuple[Tensor | None, ...]:
    wanted = [bool(need) for need in ctx.needs_input_grad[:3]]  # type: ignore[attr-defined]
    grads = _sparse_linear_backward(grad, *ctx.saved_tensors, wanted)  # type: ignore[attr-defined]
    kept = (part if want else None for part, want in zip(grads, wanted, strict=True))
    return *kept, None, None, None, None, None, None, None


_sparse_linear.register_autograd(_back, setup_context=_keep)
