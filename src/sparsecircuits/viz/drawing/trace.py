"""A circuit's run on one prompt: the value of every node at every token, and what went into it.

A *hop* leads from a source to a target, each at a token. Its *contribution* is how much less the target would
be, before AbsTopK or a nonlinearity, if the source were frozen to its mean for this target alone:

======================  ====================================================================
target                  contribution of a source that is ``d`` above its frozen value
======================  ====================================================================
a read                  ``norm * d``: a write of its channel; the norm's factor at that token is held
q, k or v; a neuron     ``w * d``: a read
what attention writes   ``pattern * w * d``: a value at an earlier token, or at this one
what the MLP writes     ``w * d``: a neuron
the answer              ``scale * w * norm * d``: a write; ``w`` is a difference of unembedding entries
======================  ====================================================================

Tokens' and positions' embeddings, and the bigram table, have no frozen value: they count whole, as sparse
rows whose zeros mean nothing. So do the frozen values that a live head with a sink lets through: what they
add goes with how much the head attends to anything.

A score of attention, ``q · k / sqrt(d_head)``, gets ``(q - frozen) k`` from a query's channel and
``q (k - frozen)`` from a key's.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.edges import Edge
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import Node, SiteName, SparseGPT, record
from sparsecircuits.model.gpt import Block
from sparsecircuits.model.sites import FINAL_SITE, READS, WRITES
from sparsecircuits.ops.attention import attention_weights
from sparsecircuits.viz.drawing.spots import ANSWER, BIAS, BIGRAM, POSITION, TOKEN, Hop, Spot, head_spot
from sparsecircuits.viz.layout import QKV


class Trace:
    """Everything that a circuit computed on one prompt.

    Args:
        model: the model that the circuit was cut out of.
        circuit: what is run.
        tokens: [pos] ids.

    Raises:
        CheckpointError: the circuit does not fit the model.
        ConfigError: no token, or more than the model's context.

    Attributes:
        logits: [vocab] at the last token, scaled as the circuit's are.
    """

    @torch.no_grad()
    def __init__(self, model: SparseGPT, circuit: Circuit, tokens: Tensor) -> None:
        if tokens.ndim != 1 or not len(tokens):
            raise ConfigError(f"a drawing is of one prompt, [pos] ids; got shape {tuple(tokens.shape)}")
        self.model, self.circuit, self.tokens = model, circuit, tokens
        with circuit.installed(model), record(model) as cache:
            logits = model(tokens[None])
        self.cache = {name: values[0] for name, values in cache.items()}
        self.logits = circuit.scale * logits[0, -1]
        self.last = len(tokens) - 1
        self._into: dict[Node, list[Edge]] = {}
        for edge in circuit.edges(model):
            self._into.setdefault(edge.target, []).append(edge)
        self._writes: dict[int, list[Node]] = {}
        self._channels: dict[tuple[SiteName, int], list[Node]] = {}
        for node in sorted(circuit.nodes):
            if node.site in WRITES:
                self._writes.setdefault(node.index, []).append(node)
            elif node.site in QKV:
                self._channels.setdefault((node.at, node.index // model.config.d_head), []).append(node)

    def value(self, spot: Spot) -> float:
        """A node's value at a token.

        Raises:
            ConfigError: no node of the circuit.
        """
        return float(self.cache[str(self._node(spot).at)][spot.position, self._node(spot).index])

    def mean(self, node: Node) -> float:
        """What the node is held at when it is deleted."""
        return float(self.circuit.frozen[str(node.at)][node.index])

    def deviation(self, spot: Spot) -> float:
        """How far a node's value is from its frozen one."""
        return self.value(spot) - self.mean(self._node(spot))

    def incoming(self, target: Spot) -> list[Hop]:
        """Every hop into a node at a token.

        Raises:
            ConfigError: no node of the circuit.
        """
        node = self._node(target)
        if node.site in READS:
            return list(self._stream_hops(target, node))
        if node.site == "attn.resid_delta":
            return [*self._value_hops(target, node), *self._constant_hops(target, node)]
        hops = []
        for edge in self._into.get(node, ()):
            source = Spot(str(edge.source), target.position)
            hops.append(Hop(source, target, edge.weight * self.deviation(source), edge.weight))
        return hops

    def direction(self, answers: Sequence[int]) -> Tensor:
        """[vocab] what makes of logits the answer that is explained, :func:`active_path` says which."""
        chosen = torch.zeros_like(self.logits)
        if len(answers) == 2:
            chosen[answers[1]] = -1.0
        else:
            others = self.logits.clone()
            others[answers[0]] = -torch.inf
            chosen = -others.softmax(-1)
        chosen[answers[0]] += 1.0
        return chosen

    def answer_hops(self, direction: Tensor, bias: float = 0.0) -> list[Hop]:
        """Every hop into ``direction`` [vocab] of the scaled logits at the last token, and a bias on it."""
        target, scale = Spot(ANSWER, self.last), self.circuit.scale
        row = (direction @ self.model.lm_head.weight).detach()
        factor = scale * self._norm(self.cache[FINAL_SITE], self.model.transformer["ln_f"])[self.last] * row
        hops: list[Hop] = []
        for node in sorted(itertools.chain(*self._writes.values())):
            source = Spot(str(node), self.last)
            moved = float(factor[node.index]) * self.deviation(source)
            hops.append(Hop(source, target, moved, float(row[node.index])))
        for name, vector in self._embeddings(self.last):
            hops.append(Hop(Spot(name, self.last), target, float(factor @ vector), 1.0))
        if self.model.bigram_table is not None:
            entry = float((direction @ self.model.bigram_table[self.tokens[-1]]).detach())
            hops.append(Hop(Spot(BIGRAM, self.last), target, scale * entry, entry))
        if bias:
            hops.append(Hop(Spot(BIAS, self.last), target, bias, bias))
        return hops

    def answer_constant(self, direction: Tensor) -> float:
        """What the frozen values of all writes add to ``direction``; with every hop into it, all there is."""
        frozen = self.circuit.frozen
        writes = [frozen[name] for name in frozen if SiteName.parse(name).site in WRITES]
        row = (direction @ self.model.lm_head.weight).detach()
        norm = self._norm(self.cache[FINAL_SITE], self.model.transformer["ln_f"])[self.last]
        return self.circuit.scale * sum(float(norm * row @ values) for values in writes)

    def pattern(self, layer: int) -> Tensor:
        """[head, pos (query), pos (key)] how a layer's heads attend."""
        return self._patterns[layer]

    @functools.cached_property
    def _patterns(self) -> list[Tensor]:
        found = []
        for layer in range(self.model.config.n_layer):
            q, k = (self._heads(layer, site)[None] for site in ("attn.q", "attn.k"))
            found.append(attention_weights(q, k, self._block(layer).attn.sink_logit)[0].detach())
        return found

    def of_head(self, layer: int, head: int, site: str) -> list[Node]:
        """The kept channels of a head at ``attn.q``, ``attn.k`` or ``attn.v``."""
        return self._channels.get((SiteName(layer, site), head), [])

    def score(self, layer: int, head: int, at: int, to: int) -> float:
        """The score of the query at ``at`` with the key at ``to``."""
        q, k = self._heads(layer, "attn.q")[head, at], self._heads(layer, "attn.k")[head, to]
        return float(q @ k) / math.sqrt(len(q))

    def score_parts(self, layer: int, head: int, at: int, to: int) -> list[tuple[Spot, float]]:
        """What each kept channel of query and key adds to that score."""
        config, parts = self.model.config, []
        for site, other, position, beyond in (("attn.q", "attn.k", at, to), ("attn.k", "attn.q", to, at)):
            for node in self.of_head(layer, head, site):
                spot = Spot(str(node), position)
                partner = float(self.cache[f"{layer}.{other}"][beyond, node.index])
                parts.append((spot, self.deviation(spot) * partner / math.sqrt(config.d_head)))
        return parts

    def _stream_hops(self, target: Spot, node: Node) -> Iterator[Hop]:
        """Writes of the channel, and what the token and its position put there."""
        position, d_model = target.position, self.model.config.d_model
        if node.index >= d_model:  # concatenated positions have a norm of their own
            block = self._block(node.layer)
            norm = block.ln_p1 if node.site == "attn.act_in" else block.ln_p2
            assert norm is not None
            read = float(norm(self._table("wpe")[position]).detach()[node.index - d_model])
            yield Hop(Spot(POSITION, position), target, read, 1.0)
            return
        factor = self._read_factor(node)[position]
        for write in self._writes.get(node.index, ()):
            if write.at < node.at:
                source = Spot(str(write), position)
                yield Hop(source, target, factor * self.deviation(source), 1.0)
        for name, vector in self._embeddings(position):
            if entry := float(vector[node.index]):
                yield Hop(Spot(name, position), target, factor * entry, 1.0)

    def _value_hops(self, target: Spot, node: Node) -> Iterator[Hop]:
        """Values through the pattern of their head."""
        for edge in self._into.get(node, ()):
            head = edge.source.index // self.model.config.d_head
            row = self.pattern(node.layer)[head, target.position]
            for position in range(target.position + 1):
                source, share = Spot(str(edge.source), position), float(row[position])
                moved = share * edge.weight * self.deviation(source)
                yield Hop(source, target, moved, edge.weight, share)

    def _constant_hops(self, target: Spot, node: Node) -> Iterator[Hop]:
        """What frozen values add where a live head with a sink attends more or less."""
        attention = self._block(node.layer).attn
        if attention.sink_logit is None:
            return
        width = self.model.config.d_head
        frozen = self.circuit.frozen[f"{node.layer}.attn.v"]
        weights = attention.c_proj.weight[node.index].detach() * frozen
        for head in range(self.model.config.heads):
            if not any(self.of_head(node.layer, head, site) for site in ("attn.q", "attn.k")):
                continue
            constant = float(weights[head * width : (head + 1) * width].sum())
            share = float(self.pattern(node.layer)[head, target.position].sum())
            if constant:
                source = head_spot(node.layer, head, target.position)
                yield Hop(source, target, share * constant, constant, share)

    def _read_factor(self, node: Node) -> list[float]:
        """[pos] what the norm in front of a read multiplies its channel by."""
        block = self._block(node.layer)
        attention = node.site == "attn.act_in"
        place, norm = ("resid_in", block.ln_1) if attention else ("resid_mid", block.ln_2)
        return self._norm(self.cache[f"{node.layer}.{place}"], norm)[:, node.index].tolist()

    def _norm(self, x: Tensor, norm: nn.Module) -> Tensor:
        """[pos, d_model] what RMSNorm multiplies ``x`` by."""
        assert isinstance(norm, nn.RMSNorm)
        eps = torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
        inverse = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
        return (inverse * norm.weight).detach()

    def _embeddings(self, position: int) -> Iterator[tuple[str, Tensor]]:
        """What the token, and its position where that is added, put on the residual stream."""
        yield TOKEN, self._table("wte")[self.tokens[position]]
        if self.model.config.positions == "learned":
            yield POSITION, self._table("wpe")[position]

    def _table(self, name: str) -> Tensor:
        return self.model.transformer.get_parameter(f"{name}.weight").detach()

    def _heads(self, layer: int, site: str) -> Tensor:
        """[head, pos, d_head] of q, k or v."""
        config = self.model.config
        return self.cache[f"{layer}.{site}"].view(-1, config.heads, config.d_head).transpose(0, 1)

    def _block(self, layer: int) -> Block:
        block = self.model.blocks[layer]
        assert isinstance(block, Block)
        return block

    def _node(self, spot: Spot) -> Node:
        node = spot.node
        if node is None or node not in self.circuit.nodes or not 0 <= spot.position < len(self.tokens):
            raise ConfigError(f"{spot} is no node of the circuit for {self.circuit.task} at a token")
        return node
