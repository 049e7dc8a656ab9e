"""Cross entropy of next-token logits, the bigram table's row of the current token added (§A.1, Fig 24).

In go logits without the table, the table, current and next tokens; out comes the mean loss in nats a
token. :func:`definition` is that in plain torch; the kernel (``csrc/loss.h``) reads each row of logits once
for the loss and its gradient, and never writes the sum.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sparsecircuits.ops import native

#: torch leaves out rows whose target is -100 unless told another number.
_NONE_IGNORED = -(2**31)


def bigram_cross_entropy(logits: Tensor, target: Tensor, table: Tensor | None, token: Tensor) -> Tensor:
    """Mean cross entropy of ``logits + table[token]``.

    Args:
        logits: [rows, vocab].
        target: [rows] the right next tokens.
        table: [vocab, vocab], or None for the logits alone.
        token: [rows] the current tokens.

    Returns:
        [] nats a row.

    Raises:
        IndexError: a token that is no row of the table, or a target that is none of the logits.
    """
    if native.takes(logits, table) and _regular(logits, target, table, token):
        return _cross_entropy(logits, target, table, token)[0]
    return definition(logits, target, table, token)


def _regular(logits: Tensor, target: Tensor, table: Tensor | None, token: Tensor) -> bool:
    """Whether shapes and types are just as the docstring has them; torch says what is wrong otherwise."""
    if logits.ndim != 2:
        return False
    rows, vocab = logits.shape
    ids = all(one.shape == (rows,) and one.dtype == torch.int64 for one in (target, token))
    return ids and rows > 0 and (table is None or table.shape == (vocab, vocab))


def definition(logits: Tensor, target: Tensor, table: Tensor | None, token: Tensor) -> Tensor:
    """:func:`bigram_cross_entropy` in plain torch."""
    if table is not None:
        logits = logits + F.embedding(token, table)
    return F.cross_entropy(logits.float(), target, ignore_index=_NONE_IGNORED)


@torch.library.custom_op("sparsecircuits::cross_entropy", mutates_args=())
def _cross_entropy(
    logits: Tensor, target: Tensor, table: Tensor | None, token: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean loss, and [rows] the logarithm of each softmax's denominator."""
    rows, vocab = logits.shape
    for name, ids in (("target", target), *((("token", token),) if table is not None else ())):
        if int(ids.min()) < 0 or int(ids.max()) >= vocab:
            raise IndexError(f"{name}: needed are ids from 0 to {vocab - 1}")
    loss, lse = logits.new_empty(rows), logits.new_empty(rows)
    table = None if table is None else table.contiguous()
    native.call(
        "cross_entropy", logits.contiguous(), table, token.contiguous(), target.contiguous(), loss, lse,
        rows, vocab,
    )  # fmt: skip
    return loss.mean(), lse


@torch.library.custom_op("sparsecircuits::cross_entropy_backward", mutates_args=())
def _cross_entropy_backward(
    grad: Tensor, logits: Tensor, target: Tensor, table: Tensor | None, token: Tensor, lse: Tensor
) -> Tensor:
    """The gradient of the logits, [rows, vocab]; that of each table's row is the sum over its tokens."""
    logits, out = logits.contiguous(), torch.empty_like(logits, memory_format=torch.contiguous_format)
    table = None if table is None else table.contiguous()
    native.call(
        "cross_entropy_grad", logits, table, token.contiguous(), target.contiguous(), lse, float(grad), out,
        *logits.shape,
    )  # fmt: skip
    return out


@torch.library.custom_op("sparsecircuits::add_rows", mutates_args=())
def _add_rows(rows: Tensor, token: Tensor) -> Tensor:
    """[vocab, vocab]: for each token of the vocabulary the sum of its rows."""
    rows, token = rows.contiguous(), token.contiguous()
    out = rows.new_empty((rows.shape[1], rows.shape[1]))
    native.call("add_rows", rows, token, out, *rows.shape)
    return out


@_cross_entropy.register_fake
def _(logits: Tensor, target: Tensor, table: Tensor | None, token: Tensor) -> tuple[Tensor, Tensor]:
    return logits.new_empty(()), logits.new_empty(logits.shape[0])


@_cross_entropy_backward.register_fake
def _(
    grad: Tensor, logits: Tensor, target: Tensor, table: Tensor | None, token: Tensor, lse: Tensor
) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


@_add_rows.register_fake
def _(rows: Tensor, token: Tensor) -> Tensor:
    return rows.new_empty((rows.shape[1], rows.shape[1]))


def _keep(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])


def _back(ctx: FunctionCtx, grad: Tensor, _lse: Tensor) -> tuple[Tensor | None, ...]:
    logits, target, table, token, lse = ctx.saved_tensors  # type: ignore[attr-defined]
    slope = _cross_entropy_backward(grad, logits, target, table, token, lse)
    wanted = table is not None and ctx.needs_input_grad[2]  # type: ignore[attr-defined]
    return slope, None, _add_rows(slope, token) if wanted else None, None


_cross_entropy.register_autograd(_back, setup_context=_keep)
