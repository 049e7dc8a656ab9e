"""A circuit of any size, made quickly: for tests and measurements of large drawings.

>>> circuit = large_circuit(2_000, 10_000)
>>> len(circuit["nodes"]), len(circuit["edges"])
(2000, 10000)
"""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import numpy as np
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.data.tokenizer import train_tokenizer
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.prune.masks import all_nodes
from sparsecircuits.tasks import TASKS
from sparsecircuits.viz.budget import Budget
from sparsecircuits.viz.collect import circuit_entry, model_entry, page_document
from sparsecircuits.viz.samples import record_text
from tests.viz.fixture import EOT, link, node, random_circuit

_PAIRS = (
    ("attn.act_in", ("attn.q", "attn.k", "attn.v")),
    ("attn.v", ("attn.resid_delta",)),
    ("mlp.act_in", ("mlp.post_act",)),
    ("mlp.post_act", ("mlp.resid_delta",)),
)
_CHANNELS, _NEURONS, _D_HEAD = 512, 2048, 32
_PER_LAYER = 1_250  # nodes of the circuit
_WORDS = ("(", ")", " in", ":\n", "for", " while", "x", " =", "]", "]]\n", " [", "return")


def large_circuit(n_nodes: int, n_edges: int, seed: int = 0) -> dict[str, Any]:
    """A circuit of layers of about 1,250 nodes, each edge between sites that may join, most edges weak."""
    rng = random.Random(seed)
    layers = max(1, math.ceil(n_nodes / _PER_LAYER))
    sites = [("mlp.post_act", _NEURONS), *((site, _CHANNELS) for site in _sites())]
    names = [(layer, site, index) for layer in range(layers) for site, size in sites for index in range(size)]
    nodes, by_site = [], {}
    for layer, site, index in sorted(rng.sample(names, n_nodes)):
        head = index // _D_HEAD if site in ("attn.q", "attn.k", "attn.v") else None
        nodes.append(_node(rng, layer, site, index, head))
        by_site.setdefault((layer, site), []).append(nodes[-1]["name"])
    joined: dict[tuple[str, str], None] = {}
    while len(joined) < n_edges:
        (site, targets), layer = rng.choice(_PAIRS), rng.randrange(layers)
        sources, ends = by_site[layer, site], by_site[layer, rng.choice(targets)]
        source = rng.randrange(len(sources))
        near = int(rng.gauss(source * len(ends) / len(sources), len(ends) / 8)) % len(ends)
        joined[sources[source], ends[near]] = None
    edges = [link(s, t, round(rng.choice((-1, 1)) * rng.lognormvariate(-2, 0.8), 4)) for s, t in joined]
    text = [EOT, "for", " i", " in", " range", "(", "1", "0", "):\n", "    ", "print", "(", "i"]
    sample = random_circuit("sparse", "large", 1, 0)["samples"][0]
    samples = [
        {
            **sample,
            "side": side,
            "tokens": text,
            "activations": {n["name"]: [round(rng.gauss(0, 0.5), 2) for _ in text] for n in nodes[:200]},
        }
        for side in ("left", "right")
    ]
    whole = random_circuit("sparse", "large", 1, 0)
    whole["metrics"].update(nodes=n_nodes, edges=n_edges)
    return {**whole, "nodes": nodes, "edges": edges, "stream": _stream(nodes), "samples": samples}


def _sites() -> list[str]:
    return ["attn.act_in", "attn.q", "attn.k", "attn.v", "attn.resid_delta", "mlp.act_in", "mlp.resid_delta"]


def _node(rng: random.Random, layer: int, site: str, index: int, head: int | None) -> dict[str, Any]:
    def tokens() -> list[list[Any]]:
        return [[text, round(rng.gauss(0, 0.6), 3)] for text in rng.sample(_WORDS, 4)]

    return node(
        f"{layer}.{site}.{index}",
        head,
        mean=round(rng.gauss(0, 0.3), 3),
        effect=round(math.exp(rng.gauss(-4, 2)), 4),
        edges_total=400,
        tokens_in=tokens() if site.endswith("act_in") else [],
        logits_out=tokens() if site.endswith("resid_delta") else [],
    )


def _stream(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """From each write to the next read of its channel."""
    reads: dict[int, list[tuple[tuple[int, int], str]]] = {}
    for one in nodes:
        if one["site"].endswith("act_in"):
            reads.setdefault(one["index"], []).append((_time(one), one["name"]))
    links = []
    for one in nodes:
        if one["site"].endswith("resid_delta"):
            later = [read for read in reads.get(one["index"], []) if read[0] > _time(one)]
            if later:
                links.append({"source": one["name"], "target": min(later)[1], "channel": one["index"]})
    return links


def _time(one: dict[str, Any]) -> tuple[int, int]:
    order = ("attn.act_in", "attn.resid_delta", "mlp.act_in", "mlp.resid_delta")
    return one["layer"], order.index(one["site"])


def full_document(nodes: int = 2_000) -> dict[str, Any]:
    """With all that a page can hold, measured: of random nodes (some 11,000 edges) and random weights."""
    tokenizer = train_tokenizer(["def f(a, b):\n    return a + b\nx = ['', \"\"]\n" * 20], 320)
    config = GPTConfig(vocab_size=tokenizer.vocab_size, n_ctx=64, n_layer=2, d_model=128, d_head=16)
    model = SparseGPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter *= torch.rand(parameter.shape, generator=torch.Generator().manual_seed(0)) < 0.055
    sites = config.site_names()
    every = all_nodes(sites, [config.width(site.site) for site in sites])
    chosen = random.Random(0).sample(every, nodes)
    frozen = {str(site): torch.full((config.width(site.site),), 0.0123456) for site in sites}
    circuit = Circuit("single_double_quote", frozenset(chosen), frozen, scale=1.5)
    text = np.random.default_rng(0).integers(tokenizer.vocab_size, size=40_000)
    entry = circuit_entry(
        model,
        tokenizer,
        circuit,
        TASKS["single_double_quote"],
        model_name="toy",
        effect_pairs=2,
        text=record_text(model, chosen, text, dataclasses.replace(Budget.of(nodes), text_tokens=2_048)),
    )
    described = model_entry(model, label="toy", val_loss=2.0, tokens=1)
    return page_document("Large", {"toy": described}, [entry])
