"""What a change of the sparse model's reads is in the dense model's (Gao et al. 2025, §A.4).

A node that reads the residual stream has the value ``gain * x / size`` of its channel x. Where it changes by
delta and the size stays, the sparse stream changes by ``delta * size / gain`` there; the decoder makes of it
as much of its column for that channel, and the dense model's norm reads that turned and divided by its own
size. Of the two sizes only their mean ratio over a reference set of tokens counts, sparse by dense (the
paper's RMS correction). So a node has one *row*, and the dense read changes by delta times it:

    row = ratio * turned(decoder column / gain)

Both ends are behind a norm, and behind AbsTopK where there is one. A node that writes to the residual stream
has the decoder's column as its row, which is added to the dense stream itself, so that everything behind sees
it. Biases play no part in differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.sides import Ours, Side, site_read, sublayers
from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import Node
from sparsecircuits.model.sites import READS, WRITES, SiteName
from sparsecircuits.tasks.pairs import TokenPairs


class Place(NamedTuple):
    """Where nodes of the sparse model touch the residual stream."""

    location: int
    """Of the stream: what a read reads, and what a write has just been added to."""
    kind: Literal["read", "write"]

    @classmethod
    def of(cls, node: Node) -> Place | None:
        """A node's; None: it does not touch the stream."""
        if node.site in READS:
            return cls(2 * node.layer + READS.index(node.site), "read")
        if node.site in WRITES:
            return cls(2 * node.layer + WRITES.index(node.site) + 1, "write")
        return None

    @property
    def site(self) -> SiteName:
        """The site of these nodes."""
        if self.kind == "read":
            return site_read(self.location)
        layer, half = divmod(self.location - 1, 2)
        return SiteName(layer, WRITES[half])


def places(side: Side) -> list[Place]:
    """All of a model, in forward order."""
    return [
        place
        for index in range(sublayers(side))
        for place in (Place(index, "read"), Place(index + 1, "write"))
    ]


_NAMED = 8
"""So many nodes an error names."""


def batches(pairs: TokenPairs, rows: int) -> Iterator[TokenPairs]:
    """A part of the pairs after the other, of at most ``rows`` prompts, but at least a pair."""
    step = max(1, rows // 2)
    return (pairs.rows(slice(first, first + step)) for first in range(0, len(pairs), step))


def real(pairs: TokenPairs) -> Tensor:
    """[rows, pos] which tokens are no padding."""
    return torch.arange(pairs.tokens.shape[1], device=pairs.tokens.device) <= pairs.last[:, None]


def require_pair(dense: Side, sparse: Side, bridge: Bridge, *prompts: TokenPairs) -> None:
    """Raise a :class:`ConfigError` if the three do not belong together, or the prompts are too long.

    The nodes are those of a model of ours, so the sparse side must be one.
    """
    if not isinstance(sparse, Ours):
        raise ConfigError(f"the sparse side is a {type(sparse).__name__}; nodes are of a SparseGPT")
    depths = (sublayers(dense), sublayers(sparse), len(bridge) - 1)
    if len(set(depths)) > 1:
        raise ConfigError(
            f"the dense model has {depths[0]} sublayers, the sparse one {depths[1]}, "
            f"the bridge is for {depths[2]}; they must be alike"
        )
    widths, found = (dense.d_model, sparse.d_model), tuple(bridge.get_parameter("decoders.0.weight").shape)
    if widths != found:
        raise ConfigError(
            f"the streams are {widths[0]} (dense) and {widths[1]} (sparse) wide; "
            f"the bridge joins {found[0]} and {found[1]}"
        )
    room = min(dense.n_ctx, sparse.n_ctx)
    for pairs in prompts:
        if pairs.tokens.shape[1] > room:
            raise ConfigError(
                f"prompts of {pairs.tokens.shape[1]} tokens, but the models' n_ctx are {dense.n_ctx} (dense) "
                f"and {sparse.n_ctx} (sparse); draw them with max_tokens={room}"
            )


def stream_reads(nodes: Iterable[Node], sparse: Side) -> list[Node]:
    """Those of the nodes that read the residual stream, in order."""
    return sorted(node for node in nodes if node.site in READS and 0 <= node.index < sparse.d_model)


def stream_nodes(nodes: Iterable[Node], sparse: Side) -> list[Node]:
    """Those of the nodes that read the residual stream or write to it, in order."""
    return sorted(node for node in nodes if Place.of(node) is not None and 0 <= node.index < sparse.d_model)


def place_of(node: Node, sparse: Side, circuit: Circuit | None = None) -> Place:
    """Where a node touches the residual stream.

    Args:
        node: of the sparse model.
        sparse: the model.
        circuit: whose nodes an error names.

    Raises:
        ConfigError: it neither reads nor writes the residual stream, or there is no such node.
    """
    place = Place.of(node)
    if place is not None and stream_nodes([node], sparse) and node.layer < sparse.n_layer:
        return place
    others = stream_nodes(circuit.nodes if circuit is not None else (), sparse)
    if others:
        names = f"{', '.join(map(str, others[:_NAMED]))} of the circuit"
    else:
        first = [f"{place.site}.0 to .{sparse.d_model - 1}" for place in places(sparse)[:2]]
        names = " and ".join(first)
    raise ConfigError(
        f"{node} neither reads a channel of the residual stream nor writes to one, so no bridge carries it; "
        f"those that can be steered are LAYER.attn.act_in.N, LAYER.mlp.act_in.N, LAYER.attn.resid_delta.N "
        f"and LAYER.mlp.resid_delta.N, such as {names}"
    )


@torch.no_grad()
def size_ratios(dense: Side, sparse: Side, reference: TokenPairs, *, rows: int = 256) -> Tensor:
    """[locations that a sublayer reads] the mean over tokens of the sparse size by the dense one.

    Args:
        dense, sparse: the models.
        reference: both prompts of each pair, padding aside.
        rows: so many prompts run together.
    """
    sums = torch.zeros(sublayers(dense), dtype=torch.double)
    for part in batches(reference, rows):
        there, here, counted = dense.enter(part.tokens), sparse.enter(part.tokens), real(part)
        for index in range(len(sums)):
            ratio = sparse.size(here, index) / dense.size(there, index)
            sums[index] += ratio.squeeze(-1)[counted].double().sum().cpu()
            there, here = dense.sublayer(there, index), sparse.sublayer(here, index)
    return sums / float((reference.last + 1).sum())


@torch.no_grad()
def written_rows(bridge: Bridge, location: int, channels: Tensor) -> Tensor:
    """[n, dense d_model] by how much the dense stream changes for each unit that the sparse one's does."""
    return bridge.get_parameter(f"decoders.{location}.weight")[:, channels].T


@torch.no_grad()
def mapped_rows(
    dense: Side, sparse: Side, bridge: Bridge, location: int, channels: Tensor, ratio: float
) -> Tensor:
    """[n, dense d_model] by how much the dense read changes for each unit of a sparse node's.

    Args:
        dense, sparse, bridge: a bridged pair.
        location: which.
        channels: [n] indices of the nodes there. One whose gain is 0 always reads 0: its row is 0.
        ratio: of the sizes there.
    """
    columns = written_rows(bridge, location, channels)
    gain = sparse.turned(torch.ones(sparse.d_model, device=columns.device), location)[channels, None]
    unturned = torch.where(gain == 0, 0, columns / gain)
    return ratio * dense.turned(unturned, location)
