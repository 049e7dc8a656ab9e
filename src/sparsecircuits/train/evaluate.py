"""Validation loss: nats per token over the validation split."""

from __future__ import annotations

import numpy as np
import torch

from sparsecircuits.data.batches import sequential_batches
from sparsecircuits.memory import memory_advice
from sparsecircuits.model import SparseGPT


@memory_advice("validation", "fewer rows at once (evaluate(rows=...)), or by a smaller model.n_ctx")
@torch.no_grad()
def evaluate(
    model: SparseGPT,
    tokens: np.ndarray,
    *,
    limit: int | None = None,
    rows: int = 32,
    context: int | None = None,
) -> float:
    """Mean next-token loss of ``model`` over consecutive windows of tokens.

    Args:
        model: any model.
        tokens: [count] token ids, such as ``corpus.val``.
        limit: stop after about so many predicted tokens, but not before one batch (None: all).
        rows: windows in a batch.
        context: tokens of a window; None: the model's n_ctx.

    Returns:
        Cross entropy in nats per token.

    Raises:
        DataError: fewer tokens than one window.
        OutOfMemory: memory ran out.
    """
    total, count, device = 0.0, 0, next(model.parameters()).device
    for window in sequential_batches(tokens, rows=rows, n_ctx=context or model.config.n_ctx):
        if limit is not None and count >= max(1, limit):
            break
        window = window.to(device)
        target = window[:, 1:]
        total += float(model.loss(window[:, :-1], target)) * target.numel()
        count += target.numel()
    return total / count
