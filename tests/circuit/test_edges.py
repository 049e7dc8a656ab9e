"""Edges counted by hand on a model with twelve weights."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.circuit import Edge, count_edges, edges_between, stream_links
from sparsecircuits.circuit.edges import Ends, edge_blocks, node_degrees
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.model.gpt import Block
from tests.circuit.toy import every_node, nodes

CONFIG = GPTConfig(vocab_size=6, n_ctx=4, n_layer=2, d_model=4, d_head=2, n_head=1, d_mlp=3)
Q, K, V = 0, 2, 4
"""Where the rows of q, k and v begin in c_attn [6, 4]."""


@pytest.fixture(scope="module")
def model() -> SparseGPT:
    """Layer 0 has two weights of each kind that carries edges; layer 1 two."""
    model = SparseGPT(CONFIG)
    first, second = model.blocks
    assert isinstance(first, Block)
    assert isinstance(second, Block)
    with torch.no_grad():
        for block in (first, second):
            for linear in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
                linear.weight.zero_()
                linear.bias.fill_(0.5)  # biases are no edges
        first.attn.c_attn.weight[Q + 0, 1] = 1.0
        first.attn.c_attn.weight[K + 0, 2] = 2.0
        first.attn.c_attn.weight[K + 1, 2] = 2.5
        first.attn.c_attn.weight[V + 0, 0] = 3.0
        first.attn.c_attn.weight[V + 1, 0] = 3.5
        first.attn.c_proj.weight[3, 0] = -4.0
        first.attn.c_proj.weight[3, 1] = 4.5
        first.mlp.c_fc.weight[2, 3] = 5.0
        first.mlp.c_fc.weight[0, 3] = 5.5
        first.mlp.c_proj.weight[1, 2] = 6.0
        second.attn.c_attn.weight[V + 0, 1] = 7.0
        second.mlp.c_proj.weight[0, 1] = 8.0
    return model


def test_all_edges_of_the_model(model: SparseGPT):
    assert count_edges(model, every_node(CONFIG)) == 12
    found = [(str(e.source), str(e.target), e.weight) for e in edges_between(model, every_node(CONFIG))]
    assert found == [
        ("0.attn.act_in.1", "0.attn.q.0", 1.0),
        ("0.attn.act_in.2", "0.attn.k.0", 2.0),
        ("0.attn.act_in.2", "0.attn.k.1", 2.5),
        ("0.attn.act_in.0", "0.attn.v.0", 3.0),
        ("0.attn.act_in.0", "0.attn.v.1", 3.5),
        ("0.attn.v.0", "0.attn.resid_delta.3", -4.0),
        ("0.attn.v.1", "0.attn.resid_delta.3", 4.5),
        ("0.mlp.act_in.3", "0.mlp.post_act.0", 5.5),
        ("0.mlp.act_in.3", "0.mlp.post_act.2", 5.0),
        ("0.mlp.post_act.2", "0.mlp.resid_delta.1", 6.0),
        ("1.attn.act_in.1", "1.attn.v.0", 7.0),
        ("1.mlp.post_act.1", "1.mlp.resid_delta.0", 8.0),
    ]


@pytest.mark.parametrize(
    ("names", "edges"),
    [
        # Each kind of weight.
        (["0.attn.act_in.1", "0.attn.q.0"], 1),
        (["0.attn.act_in.2", "0.attn.k.0", "0.attn.k.1"], 2),
        (["0.attn.act_in.0", "0.attn.v.1"], 1),
        (["0.attn.v.0", "0.attn.v.1", "0.attn.resid_delta.3"], 2),
        # A neuron that reads one channel and writes one: 3 nodes, 2 edges.
        (["0.mlp.act_in.3", "0.mlp.post_act.2", "0.mlp.resid_delta.1"], 2),
        # A q-k pair alone: its product is no edge.
        (["0.attn.q.0", "0.attn.k.0"], 0),
        # Written and read later on the same channel: joined for free.
        (["0.attn.resid_delta.3", "0.mlp.act_in.3"], 0),
        # Nodes with a zero weight between them, and no nodes at all.
        (["0.attn.act_in.3", "0.attn.q.0", "0.mlp.act_in.0", "0.mlp.post_act.1"], 0),
        ([], 0),
        # The whole way of one value: in, v, out, MLP in, neuron, out; 2 + 2 edges.
        (
            ["0.attn.act_in.0", "0.attn.v.0", "0.attn.resid_delta.3"]
            + ["0.mlp.act_in.3", "0.mlp.post_act.2", "0.mlp.resid_delta.1"],
            4,
        ),
    ],
)
def test_counted_by_hand(model: SparseGPT, names: list[str], edges: int):
    assert count_edges(model, nodes(*names)) == edges
    assert len(edges_between(model, nodes(*names))) == edges


def test_order_of_the_nodes_does_not_matter(model: SparseGPT):
    everything = sorted(every_node(CONFIG))
    assert edges_between(model, everything[::-1]) == edges_between(model, everything)


def test_blocks_are_target_by_source(model: SparseGPT):
    blocks = {(str(b.source), str(b.target)): tuple(b.weight.shape) for b in edge_blocks(model)[:6]}
    assert blocks == {
        ("0.attn.act_in", "0.attn.q"): (2, 4),
        ("0.attn.act_in", "0.attn.k"): (2, 4),
        ("0.attn.act_in", "0.attn.v"): (2, 4),
        ("0.attn.v", "0.attn.resid_delta"): (4, 2),
        ("0.mlp.act_in", "0.mlp.post_act"): (3, 4),
        ("0.mlp.post_act", "0.mlp.resid_delta"): (4, 3),
    }
    assert not any(block.weight.requires_grad for block in edge_blocks(model))


def test_degrees_are_of_the_whole_model(model: SparseGPT):
    names = {
        "0.attn.act_in.2": 2,  # into two keys
        "0.attn.v.0": 2,  # one in, one out
        "0.attn.resid_delta.3": 2,
        "0.mlp.act_in.3": 2,
        "0.mlp.post_act.2": 2,
        "0.mlp.post_act.1": 0,
        "1.attn.act_in.1": 1,
    }
    assert node_degrees(model, nodes(*names)) == {Node.parse(name): count for name, count in names.items()}


def test_an_edge_predicts_the_effect_of_its_intervention(model: SparseGPT):
    # Raising neuron 2 by 1 raises what channel 1 is written by the edge's weight.
    edge = edges_between(model, nodes("0.mlp.post_act.2", "0.mlp.resid_delta.1"))[0]
    raised = torch.tensor([0.0, 0.0, 1.0])
    block = model.blocks[0]
    assert isinstance(block, Block)
    with torch.no_grad():
        effect = block.mlp.c_proj(raised) - block.mlp.c_proj(torch.zeros(3))
    assert effect.tolist() == [0.0, edge.weight, 0.0, 0.0]


def test_an_edge_in_words():
    edge = Edge(Node.parse("0.attn.v.0"), Node.parse("0.attn.resid_delta.3"), -4.0)
    assert str(edge) == "0.attn.v.0 -> 0.attn.resid_delta.3 (-4)"


def test_stream_links_join_a_write_with_every_later_read_of_its_channel():
    kept = nodes(
        "0.attn.act_in.3",  # earlier than every write
        "0.attn.resid_delta.3",
        "0.mlp.act_in.3",
        "0.mlp.act_in.1",  # another channel
        "0.mlp.resid_delta.3",
        "1.attn.act_in.3",
        "1.mlp.post_act.2",  # neither reads nor writes the stream
        "1.mlp.resid_delta.3",  # nothing reads it
    )
    assert [(str(link.source), str(link.target)) for link in stream_links(kept)] == [
        ("0.attn.resid_delta.3", "0.mlp.act_in.3"),
        ("0.attn.resid_delta.3", "1.attn.act_in.3"),
        ("0.mlp.resid_delta.3", "1.attn.act_in.3"),
    ]


def ends(source: str, target: str) -> Ends:
    return Node.parse(source), Node.parse(target)


def test_cut_edges_do_not_count(model: SparseGPT):
    everything = every_node(CONFIG)
    cut = [
        ends("0.attn.act_in.2", "0.attn.k.1"),
        ends("0.mlp.post_act.2", "0.mlp.resid_delta.1"),
        ends("0.mlp.post_act.0", "0.mlp.resid_delta.1"),  # a weight of 0: no edge, so nothing is cut
    ]
    assert count_edges(model, everything, cut) == 10
    left = {edge.ends for edge in edges_between(model, everything, cut)}
    assert len(left) == 10
    assert not left & set(cut)
    with pytest.raises(CheckpointError, match="no weight joins"):
        count_edges(model, everything, [ends("0.attn.q.0", "0.attn.k.0")])
