"""Tracr's ``reverse`` and ``xproportion``: circuits that others wrote, to be found in one of our models.

Out comes a model with both programs and noise in it (``tracr_weights``), a task for each (``tracr_inputs``),
and the true circuit of each. For either task the other program is a decoy that reads the same channels and is
at work on every prompt; so is the noise.

Both programs attend both ways, our forward only back. As the place that is asked comes last, nothing is
hidden from it; and what the programs read of the *other* places was embedded there, or made of it by an MLP,
so it makes no difference what those see. The outputs are JAX's at every place of every input.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.circuit import edges_between
from sparsecircuits.model import Node, SiteName, SparseGPT, record
from sparsecircuits.model.sites import SITES
from sparsecircuits.validate.planted import Part, Truth
from sparsecircuits.validate.planted.place import block, embeddings
from tests.validate.tracr_inputs import ANSWERS, LONGEST, PROGRAMS, Words, answer, every_input, prompt
from tests.validate.tracr_weights import channel_labels, joint_model

#: The layer in which a program attends to the places that it answers by.
LOOKS = {"reverse": 3, "xproportion": 1}


@dataclass(frozen=True)
class TracrModel:
    """Both programs and noise.

    Attributes:
        model: the weights.
        words: its tokenizer.
        means: each node's mean over all inputs, at each place and at BOS, as if each place saw all others.
        varying: site name -> [width] whether it is ever another.
        corpus: [tokens] prompts and their answers.
    """

    model: SparseGPT
    words: Words
    means: dict[str, Tensor]
    varying: dict[str, Tensor]
    corpus: np.ndarray

    def wired(self, program: str) -> Part:
        """All nodes that vary, on paths of nonzero weights from the words to the program's answers."""
        rows = [self.words.ids[answer] for answer in ANSWERS[program]]
        nodes = _reached(self.model) & _asked_for(self.model, self.model.lm_head.weight[rows].any(0))
        return self._part(node for node in nodes if self.varying[str(node.at)][node.index])

    def fallback(self, program: str) -> frozenset[Node]:
        """What leads attention to BOS where nothing is selected; in both programs something always is."""
        read = Node(SiteName(LOOKS[program], "attn.act_in"), channel_labels().index("tokens:BOS"))
        keys = (end for start, end in self.wired(program).edges if start == read)
        return frozenset((read, *keys))

    def truth(self, program: str) -> Truth:
        """What is wired, but for the way out that is never taken."""
        return Truth((self._part(self.wired(program).nodes - self.fallback(program)),))

    def _part(self, nodes: Iterable[Node]) -> Part:
        nodes = frozenset(nodes)
        edges = edges_between(self.model, nodes)
        return Part(nodes, frozenset((edge.source, edge.target) for edge in edges))


@functools.cache
def tracr_model(seed: int = 0, *, noise: bool = True) -> TracrModel:
    """Made once; ``seed`` is the noise's."""
    words = Words()
    model = joint_model(words, seed, noise=noise)
    return TracrModel(model, words, *_moments(model, words), _corpus(words))


@torch.no_grad()
def _moments(model: SparseGPT, words: Words) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every node's mean, and whether it varies, over all inputs at each place and at BOS."""
    sites = [str(site) for site in model.config.site_names()]
    seen: dict[str, list[Tensor]] = {site: [] for site in sites}
    for length in range(1, LONGEST + 1):
        some = [one for one in every_input() if len(one[0]) == length]
        tokens = [[words.eot_id, *ids] for ids in words.encode_batch([prompt(*one) for one in some])]
        with record(model, sites) as cache:
            model(torch.tensor(tokens))
        once = torch.tensor([asked == 0 for _, asked in some])
        for site in sites:
            seen[site] += [cache[site][:, -1], cache[site][once, 0]]
    values = {site: torch.cat(found).double() for site, found in seen.items()}
    means = {site: value.mean(0).float() for site, value in values.items()}
    return means, {site: value.amax(0) - value.amin(0) > 1e-5 for site, value in values.items()}


def _corpus(words: Words) -> np.ndarray:
    inputs = every_input()
    random.Random("tracr corpus").shuffle(inputs)
    texts = [prompt(*one) + answer(PROGRAMS[i % 2], *one) for i, one in enumerate(inputs)]
    return np.array([token for ids in words.encode_batch(texts) for token in (words.eot_id, *ids)])


def _reached(model: SparseGPT) -> set[Node]:
    """Nodes to which a path of nonzero weights leads from the embedding."""
    nodes: set[Node] = set()
    channels = embeddings(model).any(0)
    for layer in range(model.config.n_layer):
        attention, mlp = block(model, layer).attn, block(model, layer).mlp
        thirds = (attention.c_attn.weight[:, channels] != 0).any(1).chunk(3)
        v, before = thirds[2], channels
        delta = (attention.c_proj.weight[:, v] != 0).any(1)
        channels = middle = channels | delta
        neurons = (mlp.c_fc.weight[:, channels] != 0).any(1)
        written = (mlp.c_proj.weight[:, neurons] != 0).any(1)
        channels = channels | written
        nodes |= _nodes(layer, before, *thirds, delta, middle, neurons, written)
    return nodes


def _asked_for(model: SparseGPT, channels: Tensor) -> set[Node]:
    """Nodes from which a path of nonzero weights leads to these channels [d_model] behind the last layer."""
    nodes: set[Node] = set()
    heads, d_head = model.config.heads, model.config.d_head
    for layer in reversed(range(model.config.n_layer)):
        attention, mlp = block(model, layer).attn, block(model, layer).mlp
        written = channels
        neurons = (mlp.c_proj.weight[channels] != 0).any(0)
        middle = (mlp.c_fc.weight[neurons] != 0).any(0)
        channels = delta = channels | middle
        v = (attention.c_proj.weight[channels] != 0).any(0)
        matter = v.view(heads, d_head).any(1).repeat_interleave(d_head)
        some = (attention.c_attn.weight != 0).any(1).chunk(3)
        pattern = matter & some[0] & some[1]
        before = (attention.c_attn.weight[torch.cat([pattern, pattern, v])] != 0).any(0)
        channels = channels | before
        nodes |= _nodes(layer, before, pattern, pattern, v, delta, middle, neurons, written)
    return nodes


def _nodes(layer: int, *masks: Tensor) -> set[Node]:
    """Nodes of a layer where these are true, one mask [width] for each site."""
    return {
        Node(SiteName(layer, site), index)
        for site, mask in zip(SITES, masks, strict=True)
        for index in torch.nonzero(mask).flatten().tolist()
    }
