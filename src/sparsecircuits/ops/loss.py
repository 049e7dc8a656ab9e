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
    if native.takes(logits, table) and len(logits) > 0:
        tensors = (logits, table) if table is not None else (logits,)
        wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        return _cross_entropy(logits, target, table, token, wanted)[0]
    return definition(logits, target, table, token)


def definition(logits: Tensor, target: Tensor, table: Tensor | None, token: Tensor) -> Tensor:
    """:func:`bigram_cross_entropy` in plain torch."""
    if table is not None:
        logits = logits + F.embedding(token, table)
    return F.cross_entropy(logits.float(), target)


@torch.library.custom_op("sparsecircuits::cross_entropy", mutates_args=())
def _cross_entropy(
    logits: Tensor, target: Tensor, table: Tensor | None, token: Tensor, wanted: bool
) -> tuple[Tensor, Tensor]:
    """The mean loss, and the logits' gradient [rows, vocab] (nothing if it is not wanted)."""
    rows, vocab = logits.shape
    for name, ids in (("target", target), ("token", token)):
        if ids.shape != (rows,) or int(ids.min()) < 0 or int(ids.max()) >= vocab:
            raise IndexError(f"{name}: needed are {rows} ids from 0 to {vocab - 1}")
    loss = logits.new_empty(rows)
    grad = torch.empty_like(logits, memory_format=torch.contiguous_format) if wanted else None
    target, token = target.long().contiguous(), token.long().contiguous()
    table = None if table is None else table.contiguous()
    native.call("cross_entropy", logits.contiguous(), table, token, target, loss, grad, rows, vocab)
    return loss.mean(), logits.new_empty(0) if grad is None else grad


@torch.library.custom_op("sparsecircuits::add_rows", mutates_args=())
def _add_rows(rows: Tensor, token: Tensor) -> Tensor:
    """[vocab, vocab] with every row of ``rows`` added to that of its token."""
    rows, token = rows.contiguous(), token.long().contiguous()
    out = rows.new_zeros((rows.shape[1], rows.shape[1]))
    native.call("add_rows", rows, token, out, *rows.shape)
    return out


@_cross_entropy.register_fake
def _(
    logits: Tensor, target: Tensor, table: Tensor | None, token: Tensor, wanted: bool
) -> tuple[Tensor, Tensor]:
    return logits.new_empty(()), logits.new_empty(logits.shape if wanted else 0)


@_add_rows.register_fake
def _(rows: Tensor, token: Tensor) -> Tensor:
    return rows.new_empty((rows.shape[1], rows.shape[1]))


def _keep(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[3], output[1])
    ctx.with_table = inputs[2] is not None  # type: ignore[attr-defined]


def _back(ctx: FunctionCtx, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    token, slope = ctx.saved_tensors  # type: ignore[attr-defined]
    slope = slope * grad if grad.requires_grad or not bool(grad == 1) else slope
    table = ctx.with_table and ctx.needs_input_grad[2]  # type: ignore[attr-defined]
    return slope, None, _add_rows(slope, token) if table else None, None, None


_cross_entropy.register_autograd(_back, setup_context=_keep)
