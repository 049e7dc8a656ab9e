"""Nodes as switches: a step from one level to another in place of an activation (Gao et al. 2025, §C).

A threshold at some share of the range of a node's activations parts them; ``low`` and ``high`` are the means
of the two parts, and the step lies at ``(low + high) / 2``, wherever the threshold was. On the way there
(:func:`mixed`) the step comes in by and by. What becomes of a whole circuit so is told by :mod:`.binarise`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import Node, SparseGPT, intervene, record
from sparsecircuits.tasks.pairs import TokenPairs

#: Share of a node's range within which activations may be off by rounding.
_ROUNDING = 1e-5


class Step(NamedTuple):
    """``high`` where an activation is at least ``at``, else ``low``; ``low <= high``."""

    low: float
    high: float
    at: float

    @classmethod
    def parting(cls, values: Tensor, share: float) -> Step:
        """The step of a node with activations ``values`` [tokens], parted at ``share`` of their range.

        >>> Step.parting(torch.tensor([0.0, 1.0, 2.0, 8.0]), 0.5)
        Step(low=1.0, high=8.0, at=4.5)
        """
        values = values.double()
        first, last = float(values.min()), float(values.max())
        # A level that lies on the threshold, such as 0 between -1 and 1, is above it however it was rounded.
        above = values >= first + (share - _ROUNDING) * (last - first)
        if bool(above.all()):
            return cls(first, first, first)
        low, high = float(values[~above].mean()), float(values[above].mean())
        return cls(low, high, (low + high) / 2)


def mixed(x: Tensor, low: Tensor, high: Tensor, at: Tensor, progress: float) -> Tensor:
    """Activations on their way to steps: as they are at progress 0, the steps at 1.

    With ``rest = (1 - progress)^5`` (the paper's annealing; the rest of the formula is ours)::

        rest * x + (1 - rest) * (low + (high - low) * sigmoid(8 * (x - at) / (rest * (high - low))))

    so a sigmoid between the levels comes in for the activation and gets ever steeper, from twice the slope
    of the activation itself. At every progress the result rises with ``x``.

    Args:
        x: [..., nodes] activations.
        low, high, at: [nodes] the steps.
        progress: from 0 to 1.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress}; it goes from 0 to 1")
    rest = (1 - progress) ** 5
    if rest == 0:
        return torch.where(x >= at, high, low)
    width = (rest * (high - low) / 8).clamp(min=torch.finfo(x.dtype).tiny)
    return rest * x + (1 - rest) * (low + (high - low) * torch.sigmoid((x - at) / width))


@contextmanager
def stepping(model: SparseGPT, steps: Mapping[Node, Step], progress: float = 1.0) -> Generator[None]:
    """Make nodes of ``model`` steps, whatever else holds; entered within other interventions, it comes last.

    The same step holds at every token, so :meth:`~sparsecircuits.model.SparseGPT.answers` will do.
    """
    by_site: dict[str, list[Node]] = {}
    for node in sorted(steps):
        by_site.setdefault(str(node.at), []).append(node)

    def change(nodes: Sequence[Node], x: Tensor) -> Tensor:
        index = [node.index for node in nodes]
        low, high, at = torch.tensor([steps[node] for node in nodes], dtype=x.dtype, device=x.device).T
        x = x.clone()
        x[..., index] = mixed(x[..., index], low, high, at, progress)
        return x

    with intervene(model, {site: lambda x, n=nodes: change(n, x) for site, nodes in by_site.items()}):
        yield


@contextmanager
def binarised(
    model: SparseGPT, circuit: Circuit, steps: Mapping[Node, Step], progress: float = 1.0
) -> Generator[None]:
    """Run ``model`` as ``circuit`` with all of ``steps`` at once, its other nodes live.

    Args:
        progress: how far on the way from activations to steps; see :func:`mixed`.

    Raises:
        CheckpointError: a step of a node that the circuit does not keep.
    """
    for node in steps:
        if node not in circuit.nodes:
            raise CheckpointError(f"circuit for {circuit.task}: a step of {node}, which it lacks")
    with circuit.installed(model, sealed=True), stepping(model, steps, progress):
        yield


@torch.no_grad()
def activations(
    model: SparseGPT, nodes: Sequence[Node], pairs: TokenPairs, circuit: Circuit | None = None
) -> dict[Node, Tensor]:
    """Node -> [tokens] its values at all real tokens of ``pairs``.

    Args:
        circuit: within which; None: in the full model.
    """
    running = nullcontext() if circuit is None else circuit.installed(model, sealed=True)
    with running, record(model, {str(node.at) for node in nodes}) as cache:
        model(pairs.tokens, pairs.last)
    real = torch.arange(pairs.tokens.shape[1], device=pairs.last.device) <= pairs.last[:, None]
    return {node: cache[str(node.at)][..., node.index][real] for node in nodes}
