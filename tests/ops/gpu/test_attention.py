"""Attention by fused kernels and a sink's key of its own: the definition's values and gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sparsecircuits.ops import gpu, native, sink_attention
from sparsecircuits.ops.attention import definition
from sparsecircuits.ops.gpu import attention
from tests.ops.compare import doubled


def made(*shape: int, seed: int, split: bool = False) -> Tensor:
    """[b h t e] normal, or with the heads of one position side by side as the model has them."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.transpose(1, 2).contiguous().transpose(1, 2) if split else x


def test_two_tokens_by_hand(device: torch.device):
    # d_head 4: token 1 scores 1 with token 0 and 2 with itself; token 0 itself 0.5; the sink adds 3.
    q = torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 0]], device=device)[None, None]
    k = torch.tensor([[1.0, 1, 0, 0], [9, 2, 0, 0]], device=device)[None, None]
    v = torch.tensor([[1.0, 0, 0, 5], [0, 1, 0, 5]], device=device)[None, None]
    first, total = math.exp(0.5) / (3 + math.exp(0.5)), 3 + math.exp(1) + math.exp(2)
    a, b = math.exp(1) / total, math.exp(2) / total
    y = sink_attention(q, k, v, torch.tensor([math.log(3)], device=device))
    expected = torch.tensor([[first, 0, 0, 5 * first], [a, b, 0, 5 * (a + b)]], device=device)
    torch.testing.assert_close(y[0, 0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sink", [None, 0.5, -torch.inf, 50.0, -200.0])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 9), (2, 2), (33, 33)])
@pytest.mark.parametrize("width", [1, 16, 20])
def test_values_and_gradients_are_those_of_the_definition(
    device: torch.device, width: int, queries: int, keys: int, sink: float | None
):
    sizes = (queries, keys, keys)
    inputs = [made(2, 3, size, width, seed=i, split=width == 16) for i, size in enumerate(sizes)]
    inputs += [] if sink is None else [torch.arange(3) * 0.25 + sink]
    inputs = [x.to(device).requires_grad_() for x in inputs]
    slope = made(2, 3, queries, width, seed=3).to(device)
    exact = doubled(*inputs)
    y, expected = sink_attention(*inputs), definition(*exact)
    torch.testing.assert_close(y.double(), expected, atol=1e-5, rtol=0)
    gradients = torch.autograd.grad(y, inputs, slope)
    for got, right in zip(gradients, torch.autograd.grad(expected, exact, slope.double()), strict=True):
        torch.testing.assert_close(got.double(), right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_sixteen_bits_keep_the_sink(device: torch.device, autocast: bool):
    """One key of score 60 and value 1 beside a sink of 60.1, which 16 bits take for 60: y would be 0.5."""
    sink = torch.tensor([60.1], device=device, requires_grad=True)
    one = torch.ones(1, 1, 1, 16, dtype=torch.float32 if autocast else torch.bfloat16, device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        y = attention.sink_attention(15 * one, one, one, sink)
    assert y.dtype == torch.bfloat16
    right = 1 / (1 + math.exp(0.1))
    torch.testing.assert_close(y.double(), torch.full_like(y, right, dtype=torch.double), atol=0, rtol=2**-8)
    (gradient,) = torch.autograd.grad(y.sum(), sink)
    assert gradient.item() == pytest.approx(-16 * right * (1 - right), rel=0.01)


def test_some_queries_of_more_keys_go_by_the_definition(device: torch.device):
    q, k, v = (made(2, 3, size, 8, seed=i).to(device) for i, size in enumerate((4, 9, 9)))
    assert not attention.takes(q, k)
    sink = torch.zeros(3, device=device)
    torch.testing.assert_close(sink_attention(q, k, v, sink), definition(q, k, v, sink))


def test_no_token_sees_a_later_one(device: torch.device):
    q, k, v = (made(1, 2, 6, 16, seed=i).to(device) for i in range(3))
    later = 7.0 * (torch.arange(6, device=device) >= 3)[:, None]
    before = attention.sink_attention(q, k, v, torch.zeros(2, device=device))
    after = attention.sink_attention(q + later, k + later, v + later, torch.zeros(2, device=device))
    torch.testing.assert_close(before[:, :, :3], after[:, :, :3], atol=1e-6, rtol=0)
    assert not torch.allclose(before[:, :, 3:], after[:, :, 3:])


class Sizes(TorchDispatchMode):
    """The largest tensor that any operation makes, in entries."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = out if isinstance(out, tuple) else (out,)
        self.largest = max([self.largest, *(x.numel() for x in made if isinstance(x, Tensor))])
        return out


@pytest.mark.parametrize("sink", [False, True])
def test_nothing_has_the_size_of_all_pairs(device: torch.device, sink: bool):
    pos = 120
    inputs = [made(1, 2, pos, 8, seed=i).to(device).requires_grad_() for i in range(3)]
    inputs += [torch.zeros(2, device=device, requires_grad=True)] if sink else []
    with Sizes() as ours:
        sink_attention(*inputs).sum().backward()
    with gpu.using("off"), native.using("off"), Sizes() as definitions:
        sink_attention(*inputs).sum().backward()
    assert ours.largest <= 2 * (pos + 1) * (8 + attention.MORE)
    assert definitions.largest >= 2 * pos * pos


def test_it_is_taken_on_a_gpu_alone_and_can_be_switched_off(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
):
    calls = []
    monkeypatch.setattr(attention, "sink_attention", lambda *inputs: calls.append(inputs))
    q = made(1, 2, 6, 16, seed=0).to(device)
    sink_attention(q, q, q)
    with gpu.using("off"):
        sink_attention(q, q, q)
    sink_attention(q.double(), q.double(), q.double())
    assert len(calls) == 1


def test_under_autocast_it_has_autocasts_type(device: torch.device):
    q, k, v = (made(1, 2, 6, 16, seed=i).to(device) for i in range(3))
    sink = torch.tensor([5.03, -1.0], device=device)
    with torch.autocast(device.type, torch.bfloat16):
        y = sink_attention(q, k, v, sink)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), definition(q, k, v, sink), atol=0.03, rtol=0)
