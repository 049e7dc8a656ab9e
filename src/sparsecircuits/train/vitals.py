"""Vital signs of a model: who never fires, who is cut off, how heavy the tails of its residual stream are.

They are taken while a validation runs, from the same forward passes, over its first ``limit`` tokens, so that
the numbers of one run can be compared from its first validation to its last.

- *dead*: channels of a site that were zero at every one of those tokens: AbsTopK never chose them. Sites are
  the MLP's neurons, and q, k and v.
- *cut off*: channels that no weight reaches, or (but for q and k, which meet each other) that no weight
  leaves. Whether they fire does not matter then.
- *kurtosis* of the residual stream behind the last block (Gao et al. 2025, Fig 10): for each token the
  fourth central moment over the channels divided by the square of the second, averaged over tokens. It is
  not the excess: 3 for a normal distribution, d_model - 2 + 1 / (d_model - 1) for one channel alone.
- *L0*: nonzero entries of the attention and MLP matrices, embedding and unembedding.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.model import SparseGPT
from sparsecircuits.model.hooks import Hook, hooked
from sparsecircuits.model.sites import FINAL_SITE, Site, SiteName
from sparsecircuits.train import rows
from sparsecircuits.train.evaluate import evaluate
from sparsecircuits.train.projection import sparse_matrices
from sparsecircuits.train.revive import NEURONS

#: The sites whose channels are counted.
WATCHED = ("attn.q", "attn.k", "attn.v", "mlp.post_act")


class Vitals(NamedTuple):
    """Vital signs, by site as in ``0.mlp.post_act``."""

    widths: dict[str, int]
    """Channels."""
    dead: dict[str, int]
    """Channels that never were nonzero."""
    cut: dict[str, int]
    """Channels that no weight reaches or none leaves."""
    kurtosis: float | None
    """Of the last residual stream; None where it is constant over the channels at every token."""
    weight_rms: float
    """Root mean square of the nonzero entries of the matrices that :func:`nonzeros` counts."""

    @property
    def dead_share(self) -> float:
        """Dead ones among the MLP neurons of all layers."""
        return _total(self.dead) / _total(self.widths)

    def row(self) -> dict[str, Any]:
        """What a line of metrics says of them."""
        return {
            "dead_neurons": self.dead_share,
            "dead": self.dead,
            "cut_off": self.cut,
            "kurtosis": self.kurtosis,
            "weight_rms": self.weight_rms,
        }


class Validation(NamedTuple):
    """A validation and what was seen on the way."""

    loss: float
    vitals: Vitals


def validate(
    model: SparseGPT, tokens: np.ndarray, *, limit: int, sample: int, context: int | None = None
) -> Validation:
    """The mean loss of about ``limit`` tokens (:func:`evaluate`), and vital signs of the first ``sample``."""
    with watched(model, sample) as watch:
        loss = evaluate(model, tokens, limit=limit, context=context)
    return Validation(loss, watch.vitals())


class Watch:
    """What the forward passes of a block have shown so far."""

    def __init__(self, model: SparseGPT, sample: int) -> None:
        self._model, self._sample = model, max(1, sample)
        self._fired: dict[str, Tensor] = {}
        self._seen: dict[str, int] = {}
        self._kurtosis, self._tokens = 0.0, 0

    def hooks(self) -> list[tuple[str, Hook]]:
        """Hook points, and what is to be called there."""
        names = [
            str(SiteName(layer, site)) for layer in range(self._model.config.n_layer) for site in WATCHED
        ]
        return [*[(name, self._count) for name in names], (FINAL_SITE, self._moments)]

    def vitals(self) -> Vitals:
        """The vital signs, of at least one forward pass."""
        dead = {name: int((~fired).sum()) for name, fired in self._fired.items()}
        widths = {name: len(fired) for name, fired in self._fired.items()}
        matrices = sparse_matrices(self._model, floor=0)
        squares = sum(float(_whole(matrix.weight).detach().norm()) ** 2 for matrix in matrices)
        rms = math.sqrt(squares / max(1, nonzeros(self._model)))
        kurtosis = self._kurtosis / self._tokens if self._tokens else None
        return Vitals(widths, dead, cut_off(self._model), kurtosis, rms)

    def _enough(self, tensor: Tensor, hook: Site) -> bool:
        seen = self._seen.get(hook.name, 0)
        self._seen[hook.name] = seen + tensor[..., 0].numel()
        return seen >= self._sample

    def _count(self, tensor: Tensor, *, hook: Site) -> None:
        if not self._enough(tensor, hook):
            fired = (tensor.detach() != 0).flatten(0, -2).any(0)
            self._fired[hook.name] = fired | self._fired[hook.name] if hook.name in self._fired else fired

    def _moments(self, tensor: Tensor, *, hook: Site) -> None:
        if not self._enough(tensor, hook):
            each = token_kurtosis(tensor.detach())
            self._kurtosis += float(each.sum())
            self._tokens += len(each)


@contextmanager
def watched(model: SparseGPT, sample: int) -> Generator[Watch]:
    """Watch the first ``sample`` tokens that go through ``model`` inside the block."""
    watch = Watch(model, sample)
    with hooked(model, watch.hooks()):
        yield watch


def nonzeros(model: SparseGPT) -> int:
    """L0: nonzero entries of the attention and MLP matrices, embedding and unembedding now."""
    return sum(rows.count_nonzero(matrix.weight) for matrix in sparse_matrices(model, floor=0))


def token_kurtosis(x: Tensor) -> Tensor:
    """Kurtosis over the last dimension, [n], of every token of ``x`` whose channels are not all equal."""
    x = x.double().flatten(0, -2)
    central = x - x.mean(-1, keepdim=True)
    second, fourth = central.square().mean(-1), central.pow(4).mean(-1)
    varied = second > 0
    return fourth[varied] / second[varied].square()


@torch.no_grad()
def cut_off(model: SparseGPT) -> dict[str, int]:
    """Channels by site that no weight reaches or, but for q and k, that none leaves."""
    found = {}
    for layer in range(model.config.n_layer):

        def linked(matrix: str, axis: int, layer: int = layer) -> Tensor:
            weight = model.get_parameter(f"transformer.h.{layer}.{matrix}.weight")
            return (_whole(weight) != 0).any(axis)

        q, k, v = linked("attn.c_attn", 1).chunk(3)
        sites = {
            "attn.q": q,
            "attn.k": k,
            "attn.v": v & linked("attn.c_proj", 0),
            NEURONS: linked("mlp.c_fc", 1) & linked("mlp.c_proj", 0),
        }
        for site, channels in sites.items():
            found[str(SiteName(layer, site))] = int((~channels).sum())
    return found


def _whole(weight: Any) -> Tensor:
    """All of a weight, also where each process holds a part of it; then all of them must ask."""
    return weight.full_tensor() if hasattr(weight, "full_tensor") else weight


def _total(counts: dict[str, int]) -> int:
    """Those of the MLP neurons."""
    return sum(count for name, count in counts.items() if SiteName.parse(name).site == NEURONS)
