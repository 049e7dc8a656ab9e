"""Models that have learned nothing, as sparse as one that has. (T9; Drori 2026.)

Both keep exactly where each weight matrix is zero:

* :func:`reinitialised`: every nonzero entry is drawn anew, normal with mean 0 and the mean square of its
  matrix's nonzero entries;
* :func:`shuffled`: the nonzero entries of a matrix change places among themselves.

The sizes stay those of the trained model, matrix by matrix (q, k and v are three, though stored as one): at
the size of an initialisation, 0.02, a random model's nodes would hardly do anything, and the control would be
too easy to beat. Embeddings, unembedding and biases are matrices like any other. Norms and attention sinks
stay as they are, and so does the bigram table, which no circuit can leave out: random, it would put several
nats of noise on each answer, and whatever was pruned would fail by that alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparsecircuits.model import SparseGPT

#: Of the nonzero entries of a matrix, [count], others in their place.
Anew = Callable[[Tensor, torch.Generator], Tensor]


def reinitialised(model: SparseGPT, seed: int = 0) -> SparseGPT:
    """A copy whose nonzero weights are drawn anew, in the form that :meth:`SparseGPT.to_sparse` gives."""
    return _with(model, seed, _drawn)


def shuffled(model: SparseGPT, seed: int = 0) -> SparseGPT:
    """A copy whose nonzero weights have changed places within their matrices, in the same form."""
    return _with(model, seed, lambda values, rng: values[torch.randperm(len(values), generator=rng)])


def _drawn(values: Tensor, generator: torch.Generator) -> Tensor:
    size = values.double().square().mean().sqrt().to(values.dtype)
    return torch.randn(len(values), generator=generator, dtype=values.dtype) * size


@torch.no_grad()
def _with(model: SparseGPT, seed: int, anew: Anew) -> SparseGPT:
    generator = torch.Generator().manual_seed(seed)
    copy = SparseGPT(model.config)
    copy.load_state_dict(model.state_dict())
    for name, parameter in copy.named_parameters():
        if name == "bigram_table" or (parameter.ndim == 1 and not name.endswith(".bias")):
            continue
        parts = parameter.chunk(3) if ".c_attn." in name else (parameter,)
        for part in parts:
            places = part != 0
            if bool(places.any()):
                part[places] = anew(part[places], generator)
    return copy.to_sparse()
