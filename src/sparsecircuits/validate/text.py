"""Ordinary text that a model reads, and reads again with an intervention: losses window by window.

Windows lie end to end as for the validation loss (:func:`~sparsecircuits.train.evaluate`): a window may span
several documents, each behind its ``<|endoftext|>``, and nothing is masked. As each window is read with and
without an intervention, differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparsecircuits.data.batches import require_window
from sparsecircuits.model import Node, SparseGPT, intervene, record

#: Windows that run at once.
_ROWS = 32


def spaced_windows(tokens: np.ndarray, count: int, n_ctx: int) -> Tensor:
    """[windows, n_ctx + 1] evenly through the text, ``count`` of those that lie end to end, or all.

    Raises:
        DataError: less text than one window.
        ValueError: a count below 1.
    """
    require_window(len(tokens), n_ctx)
    if count < 1:
        raise ValueError(f"windows is {count}; at least one is needed")
    there = (len(tokens) - 1) // n_ctx
    count = min(count, there)
    starts = (np.arange(count) * there // count) * n_ctx
    return torch.from_numpy(tokens[starts[:, None] + np.arange(n_ctx + 1)].astype(np.int64))


@dataclass(frozen=True, eq=False)
class Text:
    """Text that a model has read as it is.

    Attributes:
        windows: [windows, n_ctx + 1] token ids.
        losses: [windows] mean loss of each, in nats a token.
        seen: node -> [tokens] its activations.
    """

    model: SparseGPT
    windows: Tensor
    losses: Tensor
    seen: Mapping[Node, Tensor]

    @classmethod
    @torch.no_grad()
    def read(cls, model: SparseGPT, windows: Tensor, nodes: Iterable[Node]) -> Text:
        """Run ``model`` once, keeping the activations of ``nodes``."""
        losses, seen = [], {node: [] for node in nodes}
        for part in windows.split(_ROWS):
            with record(model, {str(node.at) for node in nodes}) as cache:
                losses.append(_losses(model, part))
            for node, parts in seen.items():
                parts.append(cache[str(node.at)][..., node.index].flatten())
        return cls(
            model, windows, torch.cat(losses), {node: torch.cat(parts) for node, parts in seen.items()}
        )

    @torch.no_grad()
    def changes(self, intervention: AbstractContextManager[None]) -> Tensor:
        """[windows] by how much the loss of each is other with ``intervention``, in nats a token."""
        with intervention:
            return torch.cat([_losses(self.model, part) for part in self.windows.split(_ROWS)]) - self.losses


def _losses(model: SparseGPT, windows: Tensor) -> Tensor:
    """[windows] mean loss of each in nats a token."""
    logits, target = model(windows[:, :-1]).float(), windows[:, 1:]
    return F.cross_entropy(logits.transpose(1, 2), target, reduction="none").double().mean(1)


def held(model: SparseGPT, node: Node, value: float) -> AbstractContextManager[None]:
    """``node`` at ``value`` at every token."""

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[..., node.index] = value
        return x

    return intervene(model, {str(node.at): change})
