"""The baseline computes what the package computes: losses, gradients, small functions, a whole step."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from benchmarks import naive
from sparsecircuits import ops
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.optimizer import SparseOptimizer

CONFIG = GPTConfig(vocab_size=60, n_ctx=16, n_layer=2, d_model=32, d_head=8)
#: Its last step has no warm-up, decay or annealing left: rate 0.01 and the target densities.
TRAIN = TrainConfig(steps=10, lr=0.01, decay="constant", density=1 / 4, embed_density=1 / 3)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_tokens(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(CONFIG.vocab_size, (4, CONFIG.n_ctx + 1), generator=generator)


@pytest.fixture
def model() -> SparseGPT:
    """Random in every parameter, also in those that start at 0 or 1."""
    model = SparseGPT(CONFIG)
    for seed, parameter in enumerate(model.parameters()):
        parameter.data += 0.1 * random(*parameter.shape, seed=seed)
    return model


def same_weights(model: SparseGPT) -> naive.NaiveGPT:
    other = naive.NaiveGPT(CONFIG)
    other.load_state_dict(copy.deepcopy(model.state_dict()), strict=True)
    return other


def package_loss(model: SparseGPT, tokens: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def test_same_loss_and_gradients(model: SparseGPT):
    other, tokens = same_weights(model), random_tokens()
    expected, loss = package_loss(model, tokens), other(tokens[:, :-1], tokens[:, 1:])
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-5)
    expected.backward()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in other.named_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0, name
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-5, atol=1e-5, msg=name)


def test_one_step_as_the_optimizer(model: SparseGPT):
    other = same_weights(model)
    optimizer, adam = SparseOptimizer(model, TRAIN), naive.naive_optimizer(other, TRAIN.lr)
    for seed in range(2):  # the second has moments and zeros to start from
        tokens = random_tokens(seed)
        package_loss(model, tokens).backward()
        optimizer.step(TRAIN.steps - 1)
        naive.naive_step(other, adam, tokens, density=1 / 4, embed_density=1 / 3)
        weights = dict(other.named_parameters())
        for name, parameter in model.named_parameters():
            assert torch.equal(weights[name] != 0, parameter != 0), name
            torch.testing.assert_close(weights[name], parameter, rtol=0, atol=1e-6, msg=name)
    kept = torch.count_nonzero(weights["transformer.h.0.mlp.c_fc.weight"])
    assert int(kept) == 128 * 32 // 4


@pytest.mark.parametrize("k", [1, 7, 32])
def test_abs_topk(k: int):
    x, weight = random(3, 5, 32).requires_grad_(), random(3, 5, 32, seed=1)
    expected, found = ops.abs_topk(x, k), naive.abs_topk(x, k)
    assert torch.equal(found, expected)
    gradients = [torch.autograd.grad((y * weight).sum(), x)[0] for y in (found, expected)]
    assert torch.equal(*gradients)


def test_abs_topk_by_hand():
    assert naive.abs_topk(torch.tensor([3.0, -1.0, 2.0, -4.0]), 2).tolist() == [3, 0, 0, -4]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("floor", [0, 3])
@pytest.mark.parametrize("k", [60, 200, 20 * 12])
def test_keep_largest(k: int, floor: int, axis: int):
    weight = random(20, 12)
    expected = ops.keep_largest_(weight.clone(), k, floor=floor, axis=axis)
    assert torch.equal(naive.keep_largest_(weight, k, floor, axis), expected)
    assert torch.count_nonzero(weight) == k


def test_sink_attention():
    q, k, v = (random(2, 3, 10, 8, seed=seed).requires_grad_() for seed in range(3))
    sink = random(3, seed=3).requires_grad_()
    expected, found = ops.sink_attention(q, k, v, sink), naive.sink_attention(q, k, v, sink)
    torch.testing.assert_close(found, expected)
    weight = random(2, 3, 10, 8, seed=4)
    gradients = [torch.autograd.grad((y * weight).sum(), [q, k, v, sink]) for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_cross_entropy_with_bigram():
    # Without logits, the loss is that of the table's rows: (ln 2 + ln (3 + 1)) / 2.
    table = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    logits, tokens, targets = torch.zeros(1, 2, 2), torch.tensor([[0, 1]]), torch.tensor([[1, 1]])
    loss = naive.cross_entropy_with_bigram(logits, table, tokens, targets)
    assert float(loss) == pytest.approx((math.log(2) + math.log(4)) / 2, abs=1e-6)


def test_dense_step_learns_its_batch():
    torch.manual_seed(0)
    model = naive.DenseGPT(vocab_size=60, n_ctx=16, n_layer=2, d_model=32, d_head=8)
    optimizer, tokens = naive.dense_optimizer(model, lr=3e-3), random_tokens()
    losses = [float(naive.dense_step(model, optimizer, tokens)) for _ in range(30)]
    assert losses[0] == pytest.approx(4.09, abs=0.1)  # ln 60
    assert losses[-1] < 2


def test_steps_are_timed_in_turn():
    calls: list[str] = []
    timings = naive.time_steps({name: lambda n=name: calls.append(n) for name in "ab"}, repeats=3, warmup=1)
    assert "".join(calls) == "ab" * 4
    assert set(timings) == {"a", "b"}
    assert all(timing.wall_ms >= 0 for timing in timings.values())
