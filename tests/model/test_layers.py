"""Layers: a known pattern gives the dense output, and is forgotten when the weight changes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecircuits.model import layers
from sparsecircuits.model.layers import Linear, RMSNorm, SparseLinear
from sparsecircuits.ops import native


def sparse(rows: int = 6, columns: int = 8, seed: int = 0) -> Linear:
    """A layer with about a third of its weights, whose pattern is known."""
    linear = Linear(columns, rows)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        linear.weight.copy_(normal(rows, columns, seed=seed))
        linear.weight.mul_(torch.rand(rows, columns, generator=g) < 0.3)
        linear.bias.copy_(torch.arange(float(rows)))
    linear.find_pattern()
    return linear


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def always_sparse(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """However small the matrix; the list counts the tokens that went the sparse way."""
    went: list[int] = []

    def pays(_pattern: object, tokens: int) -> bool:
        went.append(tokens)
        return True

    monkeypatch.setattr(layers, "sparse_pays", pays)
    return went


def test_the_sparse_way_gives_the_dense_output_and_gradients(always_sparse: list[int]):
    linear, x = sparse(), normal(2, 5, 8).requires_grad_()
    y = linear(x)
    expected = F.linear(x, linear.weight, linear.bias)
    assert always_sparse == [10]
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=0)
    slope, leaves = normal(2, 5, 6), (x, linear.weight, linear.bias)
    right = torch.autograd.grad(expected, leaves, slope)
    for got, one in zip(torch.autograd.grad(y, leaves, slope), right, strict=True):
        torch.testing.assert_close(got, one, atol=1e-5, rtol=0)
    assert (right[1] != 0).all()  # a zeroed weight can come back


def test_a_new_layer_knows_no_pattern(always_sparse: list[int]):
    assert Linear(3, 2).pattern is None
    Linear(3, 2)(torch.zeros(1, 3))
    assert always_sparse == []


def optimizer_step(linear: Linear) -> None:
    linear(normal(3, 8)).sum().backward()
    torch.optim.AdamW(linear.parameters(), lr=0.1).step()


def change_in_place(linear: Linear) -> None:
    with torch.no_grad():
        linear.weight[0, 0] += 5


def replace_parameter(linear: Linear) -> None:
    linear.weight = nn.Parameter(normal(6, 8))


def replace_parameter_of_equal_version(linear: Linear) -> None:
    weight = nn.Parameter(normal(6, 8))
    with torch.no_grad():
        while weight._version < linear.weight._version:
            weight.add_(1)
    linear.weight = weight


CHANGES: list[Callable[[Linear], object]] = [
    optimizer_step,
    change_in_place,
    replace_parameter,
    replace_parameter_of_equal_version,
    lambda linear: linear.load_state_dict({"weight": normal(6, 8), "bias": normal(6)}),
    lambda linear: linear.load_state_dict({"weight": normal(6, 8), "bias": normal(6)}, assign=True),
    lambda linear: nn.init.normal_(linear.weight),
]


@pytest.mark.usefixtures("always_sparse")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_weight_has_no_known_pattern(change: Callable[[Linear], object]):
    linear = sparse()
    assert linear.pattern is not None
    change(linear)
    assert linear.pattern is None
    x = normal(4, 8)
    assert torch.equal(linear(x), F.linear(x, linear.weight, linear.bias))
    linear.find_pattern()
    assert linear.pattern is not None
    assert linear.pattern.count == linear.weight.count_nonzero()


@pytest.mark.usefixtures("always_sparse")
def test_a_layer_turned_to_another_type_computes_in_it():
    linear, x = sparse().double(), normal(4, 8).double()
    torch.testing.assert_close(linear(x), F.linear(x, linear.weight, linear.bias), atol=1e-14, rtol=0)


@pytest.mark.usefixtures("always_sparse")
@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_has_a_pattern_of_its_own(duplicate: Callable[[Linear], Linear]):
    linear, x = sparse(), normal(4, 8)
    other = duplicate(linear)
    assert other.pattern is None
    assert linear.pattern is not None
    torch.testing.assert_close(other(x), linear(x), atol=1e-5, rtol=0)
    other.find_pattern()
    with torch.no_grad():
        other.weight.zero_()
    assert torch.equal(other(x), other.bias.expand(4, -1))


KEEP = torch.tensor([True, False, False, True, False, False, False, True])


@pytest.mark.usefixtures("always_sparse")
def test_reading_is_the_forward_with_frozen_inputs_written_in():
    linear, x, frozen = sparse(), normal(2, 5, 8).requires_grad_(), normal(8, seed=2)
    plain = linear(x)
    for keep in (KEEP, ~KEEP, torch.zeros(8, dtype=torch.bool), torch.ones(8, dtype=torch.bool)):
        expected = F.linear(torch.where(keep, x, frozen), linear.weight, linear.bias)
        with linear.reading(keep, frozen):
            y = linear(x)
        torch.testing.assert_close(y, expected, atol=1e-5, rtol=0)
        right = torch.autograd.grad(expected.sum(), x)[0]
        torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], right, atol=1e-5, rtol=0)
    assert torch.equal(linear(x), plain)


def test_reading_is_taken_off_after_an_error():
    linear, x = sparse(), normal(4, 8)
    plain = linear(x)
    with linear.reading(KEEP, normal(8)):
        assert not torch.equal(linear(x), plain)
    with pytest.raises(RuntimeError, match="inside"), linear.reading(KEEP, normal(8)):
        raise RuntimeError("inside")
    assert torch.equal(linear(x), plain)


@pytest.mark.parametrize("kernels", native.available())
def test_nonzero_values_alone_give_the_dense_output(kernels: str):
    with native.using(kernels):
        linear = sparse()
        small = SparseLinear(linear)
        assert small.values.numel() == linear.weight.count_nonzero()
        for tokens in (1, 70):
            x = normal(tokens, 8)
            torch.testing.assert_close(small(x), F.linear(x, linear.weight, linear.bias), atol=1e-5, rtol=0)
        assert torch.equal(small.weight, linear.weight)


def test_sparse_state_is_that_of_the_dense_layer():
    linear = sparse()
    small, state = SparseLinear(linear), linear.state_dict()
    assert small.state_dict().keys() == state.keys()
    assert all(torch.equal(small.state_dict()[name], one) for name, one in state.items())


def test_loading_brings_another_pattern():
    small, other = SparseLinear(sparse()), sparse(seed=5)
    state = other.state_dict()
    small.load_state_dict(state)
    assert set(state) == {"weight", "bias"}  # the caller's is as it was
    x = normal(4, 8)
    torch.testing.assert_close(small(x), other(x), atol=1e-5, rtol=0)
    again = copy.deepcopy(small)
    assert torch.equal(again(x), small(x))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, 'Missing key.*"weight"'),
        ({"weight": torch.zeros(8, 6)}, r"weight is \(8, 6\), expected \(6, 8\)"),
        ({"weight": torch.zeros(6, 8), "values": torch.zeros(3)}, "Unexpected key.*values"),
    ],
)
def test_a_state_that_does_not_fit_is_an_error(state: dict[str, Tensor], message: str):
    with pytest.raises(RuntimeError, match=message):
        SparseLinear(sparse()).load_state_dict({**state, "bias": torch.zeros(6)})


def test_the_norm_is_that_of_torch():
    x, norm = normal(3, 8), RMSNorm(8, eps=0.1)
    with torch.no_grad():
        norm.weight.copy_(normal(8, seed=2))
    torch.testing.assert_close(norm(x), F.rms_norm(x, (8,), norm.weight, 0.1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("sparsely", [False, True])
def test_rewired_for_a_while(always_sparse: list[int], sparsely: bool):
    """Another weight and bias, with gradients; nested ones come off one by one, also after an error."""
    linear, x = sparse(), normal(2, 5, 8)
    layer = SparseLinear(linear) if sparsely else linear
    plain, weight, bias = layer(x), linear.weight.detach() * 2, torch.ones(6)
    with layer.rewired(weight, bias):
        torch.testing.assert_close(layer(x), F.linear(x, weight, bias), atol=1e-5, rtol=0)
        with layer.rewired(0 * weight, None):
            assert torch.equal(layer(x), torch.zeros(2, 5, 6))
        torch.testing.assert_close(layer(x), F.linear(x, weight, bias), atol=1e-5, rtol=0)
    assert torch.equal(layer(x), plain)
    with pytest.raises(RuntimeError, match="inside"), layer.rewired(weight, bias):
        raise RuntimeError("inside")
    assert torch.equal(layer(x), plain)
    factor = torch.ones(6, 8, requires_grad=True)
    slope = normal(2, 5, 6)
    with layer.rewired(weight * factor, bias):
        (got,) = torch.autograd.grad(layer(x), [factor], slope)
    (right,) = torch.autograd.grad(F.linear(x, weight * factor, bias), [factor], slope)
    torch.testing.assert_close(got, right, atol=1e-5, rtol=0)


def test_reading_reads_what_was_rewired():
    linear, x, keep = sparse(), normal(2, 5, 8), torch.arange(8) < 3
    weight, bias, frozen = normal(6, 8, seed=5), torch.ones(6), normal(8, seed=6)
    with linear.rewired(weight, bias), linear.reading(keep, frozen):
        expected = F.linear(torch.where(keep, x, frozen), weight, bias)
        torch.testing.assert_close(linear(x), expected, atol=1e-5, rtol=0)
