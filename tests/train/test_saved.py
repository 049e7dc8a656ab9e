"""Fewer activations saved: the same losses and weights bit for bit, for fewer bytes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sparsecircuits.data.batches import batch
from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model.hooks import intervene, record
from sparsecircuits.ops import native
from sparsecircuits.train import Machine, RunConfig, TrainConfig
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.saved import Activations, saving
from sparsecircuits.train.worker import Worker
from tests.processes import Processes
from tests.train.device_jobs import stepped

FEWER: tuple[Activations, ...] = ("sparse", "blocks", "sublayers")
# 4 rows of 32 tokens: every activation is large enough to be packed, and sparse kernels are used at the end.
CONFIG = RunConfig(
    model=GPTConfig(vocab_size=300, n_ctx=32, n_layer=2, d_model=132, d_head=11),
    train=TrainConfig(
        steps=50,
        rows=4,
        density=1 / 16,
        embed_density=1 / 8,
        anneal_start=0.05,
        anneal_stop=0.5,
        eval_tokens=512,
    ),
)


def changed(model: dict[str, Any], recipe: dict[str, Any], steps: int) -> RunConfig:
    train = TrainConfig.from_dict({**CONFIG.train.to_dict(), **recipe, "steps": steps})
    return RunConfig(model=GPTConfig.from_dict({**CONFIG.model.to_dict(), **model}), train=train)


def run(config: RunConfig, corpus: Corpus, **machine: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of all steps, and the weights at their end."""
    model, recipe = SparseGPT(config.model), config.train
    worker = Worker(model, recipe, Machine(**machine))
    optimizer, losses = worker.optimizer(SparseOptimizer(model, recipe)), []
    with optimizer.reviving():
        for step in range(recipe.steps):
            tokens = batch(corpus.train, seed=0, step=step, rows=recipe.rows, n_ctx=config.context)
            losses.append(worker.gradients(tokens))
            optimizer.step(step)
    return losses, dict(model.state_dict())


def assert_same(config: RunConfig, corpus: Corpus, **machine: Any) -> None:
    losses, weights = run(config, corpus, **machine)
    for fewer in FEWER if config.train.precision == "float32" else FEWER[1:]:  # sparse is of float32 alone
        found, got = run(config, corpus, activations=fewer, **machine)
        assert found == losses, fewer
        assert all(torch.equal(got[name], weight) for name, weight in weights.items()), fewer


def test_fifty_steps_end_with_the_same_bits(corpus: Corpus) -> None:
    assert_same(CONFIG, corpus)


@pytest.mark.parametrize(
    ("model", "recipe", "machine"),
    [
        ({"positions": "concat"}, {"revive": "leak", "revive_every": 3}, {}),
        ({"positions": "learned", "activation": "relu"}, {}, {"micro_rows": 2}),
        ({"topk_fraction": None}, {"precision": "bfloat16"}, {}),
        ({}, {"sparsity": "hard_concrete"}, {}),
    ],
)
def test_so_do_other_recipes(
    model: dict[str, Any], recipe: dict[str, Any], machine: dict[str, Any], corpus: Corpus
) -> None:
    assert_same(changed(model, recipe, steps=8), corpus, **machine)


def test_so_do_the_definitions(corpus: Corpus) -> None:
    with native.using(native.OFF):
        assert_same(changed({}, {}, steps=3), corpus)


@pytest.mark.parametrize(
    ("parallel", "fewer"),
    [("ddp", "blocks"), pytest.param("ddp", "sparse", marks=pytest.mark.slow), ("shard", "sublayers")],
)
def test_so_do_two_processes(parallel: str, fewer: str, corpus: Corpus, processes: Processes) -> None:
    config = changed({}, {"anneal_stop": 0.3}, steps=8)
    machine = Machine.from_dict({"parallel": parallel, "activations": fewer})
    found = processes.run(2, stepped, config, corpus.folder, machine)
    assert found[0][0] == stepped(config, corpus.folder, Machine(micro_rows=2))[0]


@pytest.mark.parametrize("fewer", FEWER)
def test_hooks_of_sites_are_called_and_their_changes_count(fewer: Activations, corpus: Corpus) -> None:
    tokens = batch(corpus.train, seed=0, step=0, rows=4, n_ctx=32)
    gradients, caches = [], []
    for what in ("all", fewer):
        model = SparseGPT(CONFIG.model)
        worker = Worker(model, CONFIG.train, Machine.from_dict({"activations": what}))
        with (
            record(model) as cache,
            intervene(model, {"0.mlp.post_act": lambda x: 2 * x, "1.attn.q": torch.tanh}),
        ):
            worker.gradients(tokens)
        gradients.append([parameter.grad for parameter in model.parameters()])
        caches.append(cache)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert set(caches[1]) == set(caches[0]) == set(model.sites())
    assert all(torch.equal(caches[1][name], value) for name, value in caches[0].items())


def test_nothing_of_it_stays_with_the_model() -> None:
    model = SparseGPT(CONFIG.model)
    with saving(model, "blocks"):
        assert [block.recompute for block in model.blocks] == ["block", "block"]
    assert [block.recompute for block in model.blocks] == [None, None]
    with pytest.raises(ZeroDivisionError), saving(model, "sublayers"):
        raise ZeroDivisionError
    assert [block.recompute for block in model.blocks] == [None, None]


def test_compiled_it_cannot_be_sparse() -> None:
    with pytest.raises(ConfigError, match="activations is 'sparse'; with compile: all, blocks or sublayers"):
        Machine(activations="sparse", compile=True)
