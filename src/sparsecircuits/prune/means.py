"""The frozen values: each node's mean activation over the pretraining distribution (§2.2, §A.5)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.data.batches import batch
from sparsecircuits.model import SparseGPT, record


@torch.no_grad()
def pretraining_means(
    model: SparseGPT, tokens: np.ndarray, *, count: int = 16_384, seed: int = 0, rows: int = 32
) -> dict[str, Tensor]:
    """Mean of every node over random windows of the training text.

    Args:
        model: the model to be pruned.
        tokens: [total] training token ids.
        count: how many tokens to average over, at least (whole batches).
        seed: chooses the windows.

    Returns:
        site name -> [width] float32.
    """
    if count < 1:
        raise ValueError(f"count is {count}; a mean needs at least one token")
    sites = model.config.site_names()
    sums = {str(at): torch.zeros(model.config.width(at.site), dtype=torch.float64) for at in sites}
    seen = step = 0
    while seen < count:
        window = batch(tokens, seed=seed, step=step, rows=rows, n_ctx=model.config.n_ctx)[:, :-1]
        with record(model, sums) as cache:
            model(window)
        for name, total in sums.items():
            total += cache[name].flatten(0, 1).double().sum(0)
        seen += window.numel()
        step += 1
    return {name: (total / seen).float() for name, total in sums.items()}


@torch.no_grad()
def pretraining_pool(model: SparseGPT, tokens: np.ndarray, *, count: int, seed: int = 0) -> Tensor:
    """[count, nodes] every node's value at random tokens of the training text.

    Args:
        model: the model to be pruned.
        tokens: [total] training token ids.
        count: how many tokens.
        seed: chooses them.
    """
    names = [str(at) for at in model.config.site_names()]
    n_ctx = model.config.n_ctx
    rows = -(-count // n_ctx) * 4  # a quarter of the tokens of each window
    window = batch(tokens, seed=seed, step=0, rows=rows, n_ctx=n_ctx)[:, :-1]
    chosen = torch.randperm(rows * n_ctx, generator=torch.Generator().manual_seed(seed))[:count]
    with record(model, names) as cache:
        model(window)
    return torch.cat([cache[name].flatten(0, 1)[chosen] for name in names], dim=1)
