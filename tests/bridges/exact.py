"""Bridged pairs that are exact: the dense model is the sparse one in another dress, the bridge undoes it."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any, NamedTuple

import pytest
import torch

from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.sides import Side, side_of
from sparsecircuits.circuit import Circuit
from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.tasks.pairs import TextPair, TokenPairs
from tests.validate.subjects import planted, truth

#: The dense stream is so many times the sparse one.
SCALE = 4.0


class Exact(NamedTuple):
    dense: SparseGPT
    sparse: SparseGPT
    bridge: Bridge
    circuit: Circuit
    pairs: TokenPairs
    reference: TokenPairs

    @property
    def sides(self) -> tuple[Side, Side, Bridge]:
        return side_of(self.dense), side_of(self.sparse), self.bridge

    @property
    def reads(self) -> list[Node]:
        return sorted(node for node in self.circuit.nodes if node.site.endswith("act_in"))


@functools.cache
def exact(name: str = "quote") -> Exact:
    """A planted model with gains of its own, and one with other gains and a stream :data:`SCALE` as large.

    Both do the same, to rounding; the node c of the one is that of the other, but for its gain.
    """
    model = planted(name)
    sparse, dense = regained(model.model, seed=1), regained(model.model, seed=2)
    with torch.no_grad():
        for one, parameter in dense.named_parameters():
            if "wte" in one or "wpe" in one or "c_proj" in one:
                parameter.mul_(SCALE)
    drawn = [
        model.task.pairs(model.tokenizer, split, 12, max_tokens=model.model.config.n_ctx)
        for split in ("heldout", "train")
    ]
    bridge = bridge_of(SCALE * torch.eye(40), locations=5)
    return Exact(dense, sparse, bridge, truth(name), *drawn)


def bridge_of(decoder: torch.Tensor, locations: int) -> Bridge:
    """Its decoders are ``decoder`` [dense, sparse], with biases that should not matter."""
    bridge = Bridge(decoder.shape[0], decoder.shape[1], locations, fraction=1.0)
    with torch.no_grad():
        for index, one in enumerate(bridge.decoders):
            one.get_parameter("weight").copy_(decoder)
            one.get_parameter("bias").fill_(index + 1.0)
    return bridge


@torch.no_grad()
def regained(model: SparseGPT, seed: int) -> SparseGPT:
    """The same function, with norms' gains between 1/2 and 2 that the matrices behind them undo."""
    model, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    for layer in range(model.config.n_layer):
        for norm, matrix in (("ln_1", "attn.c_attn"), ("ln_2", "mlp.c_fc")):
            gain = model.get_parameter(f"transformer.h.{layer}.{norm}.weight")
            new = 4 ** (torch.rand(len(gain), generator=generator) - 0.5)
            model.get_parameter(f"transformer.h.{layer}.{matrix}.weight")[:, : len(gain)].mul_(gain / new)
            gain.copy_(new)
    return model


GPT2_SHAPE = GPTConfig(
    vocab_size=50, n_ctx=12, n_layer=2, d_model=16, d_head=8, n_head=4, d_mlp=24, topk_fraction=None,
    sink=False, bigram=False, norm_eps=1e-5,
)  # fmt: skip


def drawn_model(config: GPTConfig, seed: int) -> SparseGPT:
    """Of weights so large that prompts are told apart."""
    model = SparseGPT(config, seed=seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(15 if parameter.ndim == 2 and "wte" not in name else 1)
    return regained(model, seed)


@torch.no_grad()
def as_gpt2(model: SparseGPT) -> Any:
    """A GPT-2 that does what ``model`` does: its stream is [x, -x], whose deviation is the size of x."""
    transformers = pytest.importorskip("transformers")
    c = model.config
    made = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=c.vocab_size, n_positions=c.n_ctx, n_embd=2 * c.d_model, n_layer=c.n_layer,
            n_head=c.heads, n_inner=c.mlp_width, activation_function="gelu",
            layer_norm_epsilon=c.norm_eps, tie_word_embeddings=False,
        )
    )  # fmt: skip
    for parameter in made.parameters():
        parameter.zero_()
    source: Any = model  # its parts are known by name
    body, there, d = made.transformer, source.transformer, c.d_model

    def both(weight: torch.Tensor) -> torch.Tensor:
        return torch.cat([weight, -weight], -1)

    body.wte.weight.copy_(both(there["wte"].weight))
    body.ln_f.weight.copy_(there["ln_f"].weight.repeat(2))
    made.lm_head.weight[:, :d] = source.lm_head.weight
    for mine, its in zip(body.h, source.blocks, strict=True):
        mine.ln_1.weight.copy_(its.ln_1.weight.repeat(2))
        mine.ln_2.weight.copy_(its.ln_2.weight.repeat(2))
        for found, linear in ((mine.attn.c_attn, its.attn.c_attn), (mine.mlp.c_fc, its.mlp.c_fc)):
            found.weight[:d] = linear.weight.T
            found.bias.copy_(linear.bias)
        for found, linear in ((mine.attn.c_proj, its.attn.c_proj), (mine.mlp.c_proj, its.mlp.c_proj)):
            found.weight.copy_(both(linear.weight.T))
            found.bias.copy_(both(linear.bias))
    return made.eval()


def drawn_pairs(count: int = 6, length: int = 7, seed: int = 0) -> TokenPairs:
    """Random prompts that differ at their third token; candidates 3 and 4, one pair shorter."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.randint(5, 50, (count, length), generator=generator)
    right = left.clone()
    right[:, 2] = (left[:, 2] + 7) % 50
    last = torch.full((count,), length - 1)
    last[0] -= 2
    answers = torch.tensor([[3] * count, [4] * count]).flatten()
    return TokenPairs(
        tokens=torch.cat([left, right]),
        last=torch.cat([last, last]),
        target=answers,
        other=7 - answers,
        form="contrast",
        texts=tuple(TextPair("", "", "", "", template="ab"[pair % 2]) for pair in range(count)),
        task="made",
        split="heldout",
        seed=seed,
    )


def alone(pairs: TokenPairs) -> TokenPairs:
    """The same prompts, asked for the left candidate against all."""
    n, none = len(pairs), torch.full((len(pairs),), -1)
    return dataclasses.replace(
        pairs,
        form="one_against_all",
        target=torch.cat([pairs.target[:n], none]),
        other=torch.cat([none, pairs.other[n:]]),
    )
