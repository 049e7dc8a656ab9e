"""Writing programs into a model: each head, neuron and channel gets a place, and its weights go there.

In go an empty model (:func:`empty_model`: all weights zero but the ballast) and :class:`Places`, what is
still free in it. :func:`put_program` writes a program's heads and neurons and returns what they are of the
truth. Channels of several programs are disjoint unless the caller gives two of them the same.

RMSNorm divides by ``HEAVY / sqrt(d_model)`` up to a few parts in a million, and its weights multiply by just
that, so that every channel is read as it stands. The ballast itself is read as 1.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sparsecircuits.model import GPTConfig, Node, SiteName, SparseGPT
from sparsecircuits.model.gpt import Block
from sparsecircuits.validate.planted.program import Head, Neuron, Program, Row
from sparsecircuits.validate.planted.programs import AMPLITUDE, N_CTX
from sparsecircuits.validate.planted.texts import byte_tokenizer
from sparsecircuits.validate.planted.truth import Part

#: The constant on the ballast's channel. The squares of all others vary by about 50 from prompt to prompt, so
#: the norm's factor moves by 50 / (2 · 2048²), six parts in a million. (With 512 resampling moves logits by
#: 3e-5 of the largest, with 1024 by 8e-6, with 2048 by 2e-6, in the worst of 120 models 5e-6.)
HEAVY = 2048.0

#: Role -> channel.
Channels = Mapping[str, int]


class Places:
    """What is still free in a model; without ``rng`` it is given out in order, else shuffled.

    Attributes:
        channels: free residual channels.
        heads: layer -> free heads.
        neurons: layer -> free neurons.
        dims: (layer, head) -> the order in which its q and k channels are used.
        v_dims: (layer, head) -> its free v channels.
    """

    def __init__(self, config: GPTConfig, rng: random.Random | None = None) -> None:
        def shuffled(count: int) -> list[int]:
            return rng.sample(range(count), count) if rng else list(range(count))

        layers = range(config.n_layer)
        every = [(layer, head) for layer in layers for head in range(config.heads)]
        self.channels = shuffled(config.d_model)
        self.heads = {layer: shuffled(config.heads) for layer in layers}
        self.neurons = {layer: shuffled(config.mlp_width) for layer in layers}
        self.dims = {at: shuffled(config.d_head) for at in every}
        self.v_dims = {at: shuffled(config.d_head) for at in every}

    def channels_for(self, program: Program, given: Channels) -> dict[str, int]:
        """A channel for each role, those in ``given`` as they are."""
        return {
            **given,
            **{role: self.channels.pop(0) for role in program.roles if role not in given},
        }


def block(model: SparseGPT, layer: int) -> Block:
    """One layer, as its own type."""
    found = model.blocks[layer]
    assert isinstance(found, Block)
    return found


def embeddings(model: SparseGPT, table: str = "wte") -> Tensor:
    """``wte`` [vocab, d_model], or ``wpe`` [n_ctx, d_model]."""
    return model.transformer.get_parameter(f"{table}.weight")


@torch.no_grad()
def empty_model(config: GPTConfig, ballast: int) -> SparseGPT:
    """All weights zero, except for the constant on channel ``ballast`` and norms that undo its effect."""
    model = SparseGPT(config)
    for parameter in model.parameters():
        parameter.zero_()
    embeddings(model)[:, ballast] = HEAVY
    gain = HEAVY / math.sqrt(config.d_model)
    for name, parameter in model.named_parameters():
        if ".ln_" in name:
            parameter.fill_(gain)
            parameter[ballast] = 1 / math.sqrt(config.d_model)
    return model.eval()


@torch.no_grad()
def put_ends(model: SparseGPT, program: Program, channels: Channels) -> None:
    """Embedding, position's wave and unembedding."""
    tokenizer = byte_tokenizer()
    for table, entries in (
        (embeddings(model), program.embedding),
        (model.lm_head.weight, program.unembedding),
    ):
        for character, weights in entries.items():
            for role, weight in weights.items():
                table[tokenizer.encode(character)[0], channels[role]] += weight
    if program.wave:
        angle = 2 * math.pi * (torch.arange(N_CTX) + 0.5) / N_CTX  # half a step: no value comes near 0
        for role, wave in zip(program.wave, (angle.cos(), angle.sin()), strict=True):
            embeddings(model, "wpe")[:, channels[role]] = AMPLITUDE * wave


@torch.no_grad()
def put_head(model: SparseGPT, places: Places, head: Head, channels: Channels) -> Part:
    """Write a head into a free one; what is returned leaves out what is constant."""
    attention, layer = block(model, head.layer).attn, head.layer
    index = places.heads[layer].pop(0)
    first = index * model.config.d_head
    width = model.config.width("attn.q")
    assert attention.sink_logit is not None
    attention.sink_logit[index] = head.sink
    nodes: set[Node] = set()
    edges: set[tuple[Node, Node]] = set()

    def put_row(site: str, part: int, row: Row, dim: int) -> Node:
        target = Node(SiteName(layer, site), first + dim)
        for role, weight in row.reads.items():
            attention.c_attn.weight[part * width + first + dim, channels[role]] = weight
        attention.c_attn.bias[part * width + first + dim] = row.bias
        for role in row.varying:
            source = Node(SiteName(layer, "attn.act_in"), channels[role])
            nodes.update((source, target))
            edges.add((source, target))
        return target

    for dim, (q, k) in zip(places.dims[layer, index], zip(head.q, head.k, strict=True), strict=False):
        put_row("attn.q", 0, q, dim)
        put_row("attn.k", 1, k, dim)
    for row, writes in zip(head.v, head.writes, strict=True):
        dim = places.v_dims[layer, index].pop(0)
        source = put_row("attn.v", 2, row, dim)
        for role, weight in writes.items():
            target = Node(SiteName(layer, "attn.resid_delta"), channels[role])
            attention.c_proj.weight[target.index, first + dim] = weight
            nodes.add(target)
            if row.live:
                edges.add((source, target))
    return Part(frozenset(nodes), frozenset(edges))


@torch.no_grad()
def put_neuron(model: SparseGPT, places: Places, neuron: Neuron, channels: Channels) -> Part:
    """Write a neuron into a free one."""
    mlp, layer = block(model, neuron.layer).mlp, neuron.layer
    middle = Node(SiteName(layer, "mlp.post_act"), places.neurons[layer].pop(0))
    edges: set[tuple[Node, Node]] = set()
    for role, weight in neuron.reads.items():
        mlp.c_fc.weight[middle.index, channels[role]] = weight
        edges.add((Node(SiteName(layer, "mlp.act_in"), channels[role]), middle))
    for role, weight in neuron.writes.items():
        mlp.c_proj.weight[channels[role], middle.index] = weight
        edges.add((middle, Node(SiteName(layer, "mlp.resid_delta"), channels[role])))
    return Part(frozenset(node for edge in edges for node in edge), frozenset(edges))


def put_program(
    model: SparseGPT, places: Places, program: Program, channels: Channels, *, twice: bool = False
) -> tuple[Part, ...]:
    """Write a whole program; with ``twice``, parts that are marked so get a second copy.

    Returns:
        The minimal sets: one, or with copies one for every choice among them.
    """
    put_ends(model, program, channels)
    minimal: Sequence[Part] = [Part()]
    for part in (*program.heads, *program.neurons):
        copies = []
        for _ in range(2 if twice and part.twice else 1):
            put = put_head if isinstance(part, Head) else put_neuron
            copies.append(put(model, places, part, channels))  # type: ignore[arg-type]
        minimal = [whole | copy for whole in minimal for copy in copies]
    return tuple(minimal)
