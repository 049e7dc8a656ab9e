"""Edges of a model that carry less than they should: off, an edge carries its source's frozen value.

With the weight ``w``, the source's value ``a`` and its frozen value ``mu``, an edge that is ``live`` by some
share adds ``w * (live * a + (1 - live) * mu)`` to its target: all of ``w * a`` at 1, the constant ``w * mu``
at 0. So a matrix whose edges are partly off is the matrix ``w * live`` with the bias
``b + sum of w * (1 - live) * mu`` (:meth:`~sparsecircuits.model.layers.Linear.rewired`), and costs no more.

A value reaches what attention writes through its head's pattern. Held at ``mu`` at every position it is mixed
to ``mu`` times the row sum of the pattern, which with a sink is below 1 and differs from token to token; so
there the constant part is ``row sum * w * (1 - live) * mu``
(:meth:`~sparsecircuits.model.gpt.Attention.holding`).

All of it is differentiable in ``live``. The paper removes nodes only (Gao et al. 2025, §2.2) and counts the
weights between them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit.edges import Ends, check_ends
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.gpt import Block
from sparsecircuits.model.layers import Linear, SparseLinear

#: Which third of attention's first matrix makes what.
_THIRDS = ("attn.q", "attn.k", "attn.v")


class _Part(NamedTuple):
    """The edges of one matrix: for each its row, its column, and its place in the list of all edges."""

    layer: int
    source: str
    rows: Tensor
    columns: Tensor
    places: Tensor


@dataclass(frozen=True, eq=False)
class Wires:
    """Some edges of a model, found in its matrices once for any number of runs.

    Attributes:
        edges: their ends, in the order of ``live`` in :meth:`carrying`.
    """

    edges: tuple[Ends, ...]
    parts: tuple[_Part, ...]

    @classmethod
    def of(cls, model: SparseGPT, edges: Iterable[Ends]) -> Wires:
        """Find ``edges`` in ``model``; where a weight is 0 nothing will change.

        Raises:
            CheckpointError: sites that no weight joins, or nodes that the model does not have.
        """
        edges = tuple(edges)
        check_ends(edges)
        grouped: dict[tuple[int, str], list[tuple[int, int, int]]] = {}
        for place, (source, target) in enumerate(edges):
            for node in (source, target):
                _require(model, node.layer < model.config.n_layer, node)
                _require(model, 0 <= node.index < model.config.width(node.site), node)
            third = _THIRDS.index(target.site) if target.site in _THIRDS else 0
            row = third * model.config.width("attn.q") + target.index
            grouped.setdefault((source.layer, source.site), []).append((row, source.index, place))
        device = model.lm_head.weight.device
        parts = [
            _Part(layer, site, *torch.tensor(found, device=device).unbind(1))
            for (layer, site), found in grouped.items()
        ]
        return cls(edges, tuple(parts))

    @contextmanager
    def carrying(self, model: SparseGPT, live: Tensor, frozen: Mapping[str, Tensor]) -> Generator[None]:
        """Run ``model`` with each edge live by its share.

        Args:
            model: that in which they were found.
            live: [edges] between 0 and 1; differentiable.
            frozen: site name -> [width], what an edge that is off carries.
        """
        with ExitStack() as stack:
            for part in self.parts:
                block = model.blocks[part.layer]
                assert isinstance(block, Block)
                linear = _matrix(block, part.source)
                weight, rows, columns = linear.weight, part.rows, part.columns
                share = live[part.places].to(weight)
                entries = weight[rows, columns]
                wired = weight.index_put((rows, columns), entries * share)
                mu = frozen[f"{part.layer}.{part.source}"].to(weight)[columns]
                lost = entries * (1 - share) * mu
                bias = linear.bias
                if part.source == "attn.v" and block.attn.sink_logit is not None:
                    heads, which = torch.unique(columns // block.attn.d_head, return_inverse=True)
                    write = weight.new_zeros(len(heads), weight.shape[0])
                    write = write.index_put((which, rows), lost, accumulate=True)
                    stack.enter_context(block.attn.holding(heads, write))
                else:
                    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
                    bias = bias.index_add(0, rows, lost)
                stack.enter_context(linear.rewired(wired, bias))
            yield


def _matrix(block: Block, source: str) -> Linear | SparseLinear:
    """What reads a site."""
    found = {
        "attn.act_in": block.attn.c_attn,
        "attn.v": block.attn.c_proj,
        "mlp.act_in": block.mlp.c_fc,
        "mlp.post_act": block.mlp.c_proj,
    }[source]
    assert isinstance(found, (Linear, SparseLinear))
    return found


def _require(model: SparseGPT, exists: bool, node: object) -> None:
    if not exists:
        raise CheckpointError(f"the model has no node {node}, so no edge of it can be cut")
