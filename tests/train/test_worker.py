"""A process's part of a step: micro-batches, 16-bit products, compiling, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.data.batches import batch
from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SparseGPT
from sparsecircuits.ops import native
from sparsecircuits.train import Machine, RunConfig
from sparsecircuits.train.devices import Team
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.worker import Worker, micro_batches, require_fit


def losses(
    config: RunConfig, corpus: Corpus, machine: Machine | None = None
) -> tuple[list[float], SparseGPT]:
    """Of all steps, and the model at their end."""
    model = SparseGPT(config.model)
    worker = Worker(model, config.train, machine)
    optimizer = worker.optimizer(SparseOptimizer(model, config.train))
    found = []
    for step in range(config.train.steps):
        tokens = batch(corpus.train, seed=0, step=step, rows=config.train.rows, n_ctx=config.model.n_ctx)
        found.append(worker.gradients(tokens))
        optimizer.step(step)
    return found, model


def test_gradients_of_micro_batches_add_up(config: RunConfig, corpus: Corpus):
    tokens = batch(corpus.train, seed=0, step=0, rows=4, n_ctx=8)
    whole, parts = SparseGPT(config.model), SparseGPT(config.model)
    recipe = config.train.replace(rows=4)
    loss = Worker(whole, recipe).gradients(tokens)
    assert Worker(parts, recipe, Machine(micro_rows=1)).gradients(tokens) == pytest.approx(loss, abs=1e-6)
    assert float(whole.loss(tokens[:, :-1], tokens[:, 1:]).detach()) == loss
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kernels", [native.available()[0], native.OFF])
def test_products_in_16_bits_lose_little(kernels: str, config: RunConfig, corpus: Corpus):
    recipe = config.train.replace(steps=30, rows=8)
    config = config.replace(train=recipe)
    with native.using(kernels):
        right, _ = losses(config, corpus)
        found, model = losses(config.replace(train=recipe.replace(precision="bfloat16")), corpus)
    assert found != right
    assert found[0] == pytest.approx(right[0], abs=2e-3)
    assert found == pytest.approx(
        right, abs=0.1
    )  # a masked weight here, another there, and runs part a little
    assert sum(found) == pytest.approx(sum(right), abs=30 * 0.01)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.get_parameter("transformer.h.0.mlp.c_fc.weight").count_nonzero() == 64 * 16 // 4


@pytest.mark.slow  # a C++ compiler is at work for most of a minute
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch by torch
def test_compiled_it_is_the_same_but_for_rounding(config: RunConfig, corpus: Corpus):
    torch.compiler.reset()
    compiled, _ = losses(config, corpus, Machine(compile=True))
    assert compiled == pytest.approx(losses(config, corpus)[0], abs=1e-5)


def test_how_many_micro_batches():
    assert [micro_batches(8, size) for size in (None, 8, 4, 1)] == [1, 1, 2, 8]
    with pytest.raises(ConfigError, match=r"micro_rows is 3; it must divide the batch of 8 rows"):
        micro_batches(8, 3)


@pytest.mark.parametrize(
    ("change", "machine", "kind", "message"),
    [
        ({"rows": 7}, {}, "ddp", r"7 rows \(train.rows\) cannot be shared by 2 processes"),
        ({"rows": 8}, {"micro_rows": 8}, "ddp", "micro_rows is 8; it must divide the batch of 4 rows"),
        ({}, {"out_of_memory": "halve"}, "ddp", "several processes cannot halve"),
        ({"precision": "bfloat16"}, {"activations": "sparse"}, "ddp", "packs float32, and .* is 'bfloat16'"),
        ({"revive": "leak"}, {}, "shard", "train.revive = leak needs whole weights"),
        ({"sparsity": "hard_concrete"}, {}, "shard", "train.sparsity = hard_concrete needs whole weights"),
    ],
)
def test_what_two_processes_cannot_do(
    change: dict[str, object], machine: dict[str, object], kind: str, message: str, config: RunConfig
):
    recipe = type(config.train).from_dict({**config.train.to_dict(), **change})
    with pytest.raises(ConfigError, match=message):
        require_fit(recipe, Machine.from_dict(machine), Team(0, 2, torch.device("cpu"), kind))
