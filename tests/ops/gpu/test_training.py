"""Whole training steps by the GPU's kernels: they are used, and the result is the definitions'."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.ops import gpu
from sparsecircuits.ops.gpu import adam, attention, linear
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.optimizer import SparseOptimizer

MODEL = GPTConfig(vocab_size=40, n_ctx=16, n_layer=1, d_model=32)
STEPS = 2


def losses(device: torch.device, density: float) -> list[float]:
    """Those of a few steps from the same weights on the same tokens, and the sum of weights after them."""
    model = SparseGPT(MODEL).to(device)
    config = TrainConfig(
        steps=10, lr=1e-2, decay="constant", density=density, floor=0,
        warmup=0, anneal_start=0, anneal_stop=0,
    )  # fmt: skip
    optimizer = SparseOptimizer(model, config)
    found = []
    for step in range(STEPS):
        tokens = torch.randint(40, (8, 17), generator=torch.Generator().manual_seed(step)).to(device)
        loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        optimizer.step(step)
        found.append(float(loss.detach()))
    return [*found, sum(float(one.detach().abs().sum()) for one in model.parameters())]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each part is called."""
    counted: Counter[str] = Counter()
    for module, name in (
        (linear, "multiply"),
        (linear, "find"),
        (attention, "sink_attention"),
        (adam, "step"),
    ):
        right = getattr(module, name)

        def counting(*args: object, right=right, name=name, **kwargs: object) -> object:
            counted[name] += 1
            return right(*args, **kwargs)

        monkeypatch.setattr(module, name, counting)
    return counted


@pytest.mark.parametrize(("density", "sparse"), [(0.01, True), (0.02, False)])
def test_steps_are_those_of_the_definitions(
    device: torch.device, calls: Counter[str], density: float, sparse: bool
):
    ours = losses(device, density)
    # Four matrices and the unembedding; forward and dX in each step but the first, whose weights are dense.
    expected = {"sink_attention": STEPS, "step": STEPS}
    if sparse:
        expected |= {"find": 5 * STEPS, "multiply": 2 * 5 * (STEPS - 1)}
    assert calls == expected
    with gpu.using("off"):
        theirs = losses(device, density)
    assert calls == expected
    assert ours == pytest.approx(theirs, rel=1e-5)
