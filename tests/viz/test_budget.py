"""A page of a large circuit stays small enough to be mailed, and says what it leaves out."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.data.tokenizer import Tokenizer, train_tokenizer
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.prune.masks import all_nodes
from sparsecircuits.tasks import TASKS
from sparsecircuits.viz import write_page
from sparsecircuits.viz.budget import LIMIT, Budget
from sparsecircuits.viz.collect import circuit_entry, model_entry, page_document
from sparsecircuits.viz.samples import record_text


def test_larger_circuits_get_less_and_say_so() -> None:
    levels = [Budget.of(nodes) for nodes in (20, 600, 2_000, 20_000)]
    assert [budget.pairs for budget in levels] == [6, 3, 1, 1]
    assert [budget.snippets for budget in levels] == [3, 2, 1, 0]
    assert levels[0].left_out() == []
    assert "prompts: 3 pairs instead of 6" in levels[1].left_out()
    assert "pretraining text: 1 snippet a band instead of 3" in levels[2].left_out()
    assert "pretraining text: no snippets a band instead of 3" in levels[3].left_out()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["def f(a, b):\n    return a + b\nx = ['', \"\"]\n" * 20], 320)


def test_two_thousand_nodes_and_ten_thousand_edges_fit(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Every part of the document is there, from a model with random weights."""
    config = GPTConfig(vocab_size=tokenizer.vocab_size, n_ctx=64, n_layer=2, d_model=128, d_head=16)
    model = SparseGPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter *= torch.rand(parameter.shape, generator=torch.Generator().manual_seed(0)) < 0.055
    sites = config.site_names()
    every = all_nodes(sites, [config.width(site.site) for site in sites])
    nodes = random.Random(0).sample(every, 2_000)
    frozen = {str(site): torch.full((config.width(site.site),), 0.0123456) for site in sites}
    circuit = Circuit("single_double_quote", frozenset(nodes), frozen, scale=1.5)
    assert circuit.edge_count(model) >= 10_000
    text = np.random.default_rng(0).integers(tokenizer.vocab_size, size=40_000)
    entry = circuit_entry(
        model,
        tokenizer,
        circuit,
        TASKS["single_double_quote"],
        model_name="toy",
        effect_pairs=2,
        text=record_text(model, nodes, text, dataclasses.replace(Budget.of(2_000), text_tokens=2_048)),
    )
    assert {"attention", "ablations", "text", "samples", "left_out"} <= entry.keys()
    assert len(entry["attention"]) == 16
    assert all(len(node["text"]["bands"]) == 4 for node in entry["nodes"])
    path = tmp_path / "page.html"
    described = model_entry(model, label="toy", val_loss=2.0, tokens=1)
    write_page(page_document("Large", {"toy": described}, [entry]), path)
    assert path.stat().st_size < LIMIT
