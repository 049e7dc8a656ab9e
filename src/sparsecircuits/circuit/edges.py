"""Edges: nonzero weight-matrix entries that join two nodes (Gao et al. 2025, §2.2).

Four kinds of weights carry edges: what a sublayer reads into q, k and v, values into what attention
writes, what the MLP reads into its neurons, and neurons into what the MLP writes. The products of q
and k are no edges, nor are biases, embedding and unembedding entries; a write and a later read of
the same residual channel are joined for free.

A circuit may lack single edges between its nodes: those are *cut*. An edge of the model is named by its two
ends, (source, target).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import Node, SiteName, SparseGPT
from sparsecircuits.model.gpt import Block
from sparsecircuits.model.sites import READS, WRITES

#: An edge by its ends: (source, target).
Ends = tuple[Node, Node]
#: Site -> those of its layer that read it by a weight.
READERS = {
    "attn.act_in": ("attn.q", "attn.k", "attn.v"),
    "attn.v": ("attn.resid_delta",),
    "mlp.act_in": ("mlp.post_act",),
    "mlp.post_act": ("mlp.resid_delta",),
}


@dataclass(frozen=True)
class Edge:
    """One weight between two nodes."""

    source: Node
    target: Node
    weight: float

    @property
    def ends(self) -> Ends:
        """(source, target), as cuts name it."""
        return self.source, self.target

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} ({self.weight:+.3g})"


class EdgeBlock(NamedTuple):
    """The weights [target, source] between two sites of one layer."""

    source: SiteName
    target: SiteName
    weight: Tensor


class StreamLink(NamedTuple):
    """A residual channel that one node writes and another reads later; it costs nothing."""

    source: Node
    target: Node


def edge_blocks(model: SparseGPT) -> list[EdgeBlock]:
    """All weight blocks that carry edges, in forward order; each ``weight`` is [target, source]."""
    blocks = []
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        at = {site: SiteName(layer, site) for site in ("attn.act_in", "attn.v", "attn.resid_delta")}
        parts = block.attn.c_attn.weight.detach().chunk(3, dim=0)
        for site, weight in zip(("attn.q", "attn.k", "attn.v"), parts, strict=True):
            blocks.append(EdgeBlock(at["attn.act_in"], SiteName(layer, site), weight))
        blocks.append(EdgeBlock(at["attn.v"], at["attn.resid_delta"], block.attn.c_proj.weight.detach()))
        read, neuron, write = (SiteName(layer, f"mlp.{s}") for s in ("act_in", "post_act", "resid_delta"))
        blocks.append(EdgeBlock(read, neuron, block.mlp.c_fc.weight.detach()))
        blocks.append(EdgeBlock(neuron, write, block.mlp.c_proj.weight.detach()))
    return blocks


def check_ends(edges: Iterable[Ends]) -> None:
    """Raise :class:`CheckpointError` for the first pair of nodes whose sites no weight joins."""
    for source, target in edges:
        if source.layer != target.layer or target.site not in READERS.get(source.site, ()):
            raise CheckpointError(f"no weight joins {source} to {target}, so there is no edge to cut")


def edges_between(model: SparseGPT, nodes: Iterable[Node], cut: Collection[Ends] = ()) -> list[Edge]:
    """Every nonzero weight that joins two of ``nodes``, sorted by target, then source, less those in ``cut``.

    Raises:
        CheckpointError: a cut between sites that no weight joins.
    """
    check_ends(cut)
    by_site = _by_site(nodes)
    found = []
    for block in edge_blocks(model):
        sources, targets = by_site.get(block.source, []), by_site.get(block.target, [])
        if not sources or not targets:
            continue
        weights = block.weight[targets][:, sources]
        for row, column in torch.nonzero(weights).tolist():
            source, target = Node(block.source, sources[column]), Node(block.target, targets[row])
            if (source, target) not in cut:
                found.append(Edge(source, target, float(weights[row, column])))
    return sorted(found, key=lambda edge: (edge.target, edge.source))


def count_edges(model: SparseGPT, nodes: Iterable[Node], cut: Collection[Ends] = ()) -> int:
    """How many edges join ``nodes``, less those in ``cut``: the size that the paper reports.

    Raises:
        CheckpointError: a cut between sites that no weight joins.
    """
    if cut:
        return len(edges_between(model, nodes, cut))
    by_site = _by_site(nodes)
    total = 0
    for block in edge_blocks(model):
        sources, targets = by_site.get(block.source, []), by_site.get(block.target, [])
        total += int(torch.count_nonzero(block.weight[targets][:, sources]))
    return total


def node_degrees(model: SparseGPT, nodes: Iterable[Node]) -> dict[Node, int]:
    """How many edges each node has in the whole model, in and out."""
    blocks = edge_blocks(model)
    degrees = {}
    for node in nodes:
        into = sum(int(torch.count_nonzero(b.weight[node.index])) for b in blocks if b.target == node.at)
        out = sum(int(torch.count_nonzero(b.weight[:, node.index])) for b in blocks if b.source == node.at)
        degrees[node] = into + out
    return degrees


def stream_links(nodes: Iterable[Node]) -> list[StreamLink]:
    """Pairs of nodes joined by the residual stream: a write, and every later read of its channel."""
    nodes = sorted(nodes)
    writes = [node for node in nodes if node.site in WRITES]
    reads = [node for node in nodes if node.site in READS]
    return [
        StreamLink(write, read)
        for write in writes
        for read in reads
        if write.index == read.index and write.at < read.at
    ]


def _by_site(nodes: Iterable[Node]) -> dict[SiteName, list[int]]:
    grouped: dict[SiteName, list[int]] = {}
    for node in sorted(nodes):
        grouped.setdefault(node.at, []).append(node.index)
    return grouped
