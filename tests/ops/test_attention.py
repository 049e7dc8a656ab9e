"""Attention with a sink: the formula written out on two tokens, and kernels against it in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparsecircuits.ops import native, sink_attention
from sparsecircuits.ops.attention import attention_weights, definition
from tests.ops.compare import FEW_EXAMPLES, doubled, threads

QKV = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def heads(rows: list[list[float]]) -> torch.Tensor:
    """[pos, d_head] as one batch and one head."""
    return torch.tensor(rows, dtype=torch.float64)[None, None]


# d_head 4, so scores are q·k / 2: token 1 scores 1 with token 0 and 2 with itself; token 0 itself 0.5.
Q = heads([[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
K = heads([[1.0, 1.0, 0.0, 0.0], [9.0, 2.0, 0.0, 0.0]])
V = heads([[1.0, 0.0, 0.0, 5.0], [0.0, 1.0, 0.0, 5.0]])


def test_two_tokens_by_hand_with_a_sink():
    sink = torch.tensor([math.log(3)], dtype=torch.float64)  # adds 3 to each denominator
    first = math.exp(0.5) / (3 + math.exp(0.5))
    total = 3 + math.exp(1) + math.exp(2)
    a, b = math.exp(1) / total, math.exp(2) / total
    expected = [[first, 0, 0, 5 * first], [a, b, 0, 5 * (a + b)]]
    torch.testing.assert_close(sink_attention(Q, K, V, sink), heads(expected), atol=1e-15, rtol=0)
    torch.testing.assert_close(
        attention_weights(Q, K, sink), heads([[first, 0.0], [a, b]]), atol=1e-15, rtol=0
    )


def test_two_tokens_by_hand_without_a_sink():
    a, b = 1 / (1 + math.e), math.e / (1 + math.e)
    expected = heads([[1.0, 0.0, 0.0, 5.0], [a, b, 0.0, 5.0]])
    torch.testing.assert_close(sink_attention(Q, K, V), expected, atol=1e-15, rtol=0)
    torch.testing.assert_close(attention_weights(Q, K), heads([[1.0, 0.0], [a, b]]), atol=1e-15, rtol=0)


@pytest.fixture
def qkv() -> QKV:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 5, 4, generator=generator, dtype=torch.float64)
    return q, k, v


def test_a_sink_of_minus_infinity_is_no_sink(qkv: QKV):
    sink = torch.full((3,), -torch.inf, dtype=torch.float64)
    torch.testing.assert_close(sink_attention(*qkv, sink), sink_attention(*qkv), atol=1e-14, rtol=0)


def test_each_head_has_its_own_sink(qkv: QKV):
    sink = torch.tensor([-torch.inf, 0.0, -torch.inf], dtype=torch.float64)
    without = sink_attention(*qkv)
    # A sink of 0 adds exp(0) = 1: the weights shrink by D / (1 + D), D being the sum of exp(scores).
    scores = (qkv[0] @ qkv[1].mT / 2).tril()
    denominator = (scores.exp() * torch.ones(5, 5, dtype=torch.float64).tril()).sum(-1, keepdim=True)[:, 1]
    mixed = sink_attention(*qkv, sink)
    torch.testing.assert_close(mixed[:, 0], without[:, 0], atol=1e-14, rtol=0)
    torch.testing.assert_close(mixed[:, 1], without[:, 1] * denominator / (1 + denominator))
    torch.testing.assert_close(mixed[:, 2], without[:, 2], atol=1e-14, rtol=0)


@pytest.mark.parametrize("sink", [None, torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)])
def test_no_token_sees_a_later_one(qkv: QKV, sink: torch.Tensor | None):
    before = sink_attention(*qkv, sink)
    later = 7.0 * (torch.arange(5) >= 3)[:, None]
    q, k, v = qkv
    after = sink_attention(q + later, k + later, v + later, sink)
    assert torch.equal(before[:, :, :3], after[:, :, :3])
    assert not torch.allclose(before[:, :, 3:], after[:, :, 3:])
    assert (attention_weights(q, k, sink).triu(1) == 0).all()


def test_the_gradient_reaches_the_sink():
    # One token of score 0 and value 1: y = 1 / (1 + exp(s)), so dy/ds at s = 0 is -1/4.
    sink = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    y = sink_attention(heads([[0.0]]), heads([[0.0]]), heads([[1.0]]), sink)
    (gradient,) = torch.autograd.grad(y.sum(), sink)
    assert y.item() == 0.5
    assert gradient.item() == -0.25


def made(*shape: int, seed: int = 0, split: bool = False) -> Tensor:
    """[b h t e] normal, or with the heads of one position side by side as the model has them."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (x.transpose(1, 2).contiguous().transpose(1, 2) if split else x).requires_grad_()


@FEW_EXAMPLES
@given(
    batch=st.integers(1, 3),
    head=st.integers(1, 3),
    queries=st.sampled_from([1, 2, 3, 7, 8, 9, 17, 33]),
    more=st.sampled_from([0, 1, 5, 30]),
    width=st.sampled_from([1, 8, 16, 20, 64]),
    sink=st.sampled_from([None, 0.5, -torch.inf, 50.0, 88.9, -200.0]),
    split=st.booleans(),
    cores=st.sampled_from([1, 2]),
)
def test_values_and_gradients_are_those_of_the_definition(
    kernel: str,
    batch: int,
    head: int,
    queries: int,
    more: int,
    width: int,
    sink: float | None,
    split: bool,
    cores: int,
):
    sizes = (queries, queries + more, queries + more)
    inputs = [made(batch, head, size, width, seed=i, split=split) for i, size in enumerate(sizes)]
    if sink is not None:
        inputs.append((torch.arange(head) + sink).requires_grad_())
    slope = made(batch, head, queries, width, seed=3).detach()
    exact = doubled(*inputs)
    y, expected = sink_attention(*inputs), definition(*exact)
    torch.testing.assert_close(y.double(), expected, atol=1e-5, rtol=0)
    with threads(cores):
        gradients = torch.autograd.grad(y, inputs, slope)
    for got, right in zip(gradients, torch.autograd.grad(expected, exact, slope.double()), strict=True):
        torch.testing.assert_close(got.double(), right, atol=1e-5, rtol=1e-5)


def test_one_query_of_several_heads_and_batches(kernel: str):
    """With one key each head returns its value, here its own number."""
    q = torch.arange(4.0).view(2, 2, 1, 1)
    assert sink_attention(q, torch.ones(2, 2, 1, 1), q).flatten().tolist() == [0.0, 1.0, 2.0, 3.0]


def plain(*shape: int) -> Tensor:
    return made(*shape).detach()


def alike(*shape: int) -> QKV:
    """Queries, keys and values of one shape."""
    return plain(*shape), plain(*shape), plain(*shape)


IRREGULAR: dict[str, Callable[[], Tensor]] = {
    "keys of one batch": lambda: sink_attention(plain(3, 2, 5, 8), plain(1, 2, 5, 8), plain(1, 2, 5, 8)),
    "a sink of one entry": lambda: sink_attention(*alike(2, 3, 5, 8), torch.zeros(1)),
    "a sink too many": lambda: sink_attention(*alike(2, 3, 5, 8), torch.zeros(4)),
    "values of another width": lambda: sink_attention(
        plain(2, 2, 5, 8), plain(2, 2, 5, 8), plain(2, 2, 5, 4)
    ),
    "keys of another width": lambda: sink_attention(plain(2, 2, 5, 8), plain(2, 2, 5, 4), plain(2, 2, 5, 4)),
    "fewer values": lambda: sink_attention(plain(2, 2, 5, 8), plain(2, 2, 5, 8), plain(2, 2, 2, 8)),
    "no batch": lambda: sink_attention(*alike(0, 2, 5, 8)),
    "no width": lambda: sink_attention(*alike(1, 2, 3, 0)),
}


@pytest.mark.parametrize("case", IRREGULAR)
def test_irregular_shapes_do_what_the_definition_does(kernel: str, case: str):
    def outcome() -> Tensor | type[Exception]:
        try:
            return IRREGULAR[case]()
        except (RuntimeError, ValueError, IndexError) as error:
            return type(error)

    got = outcome()
    with native.using("off"):
        expected = outcome()
    if isinstance(expected, Tensor):
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    else:
        assert got is expected
