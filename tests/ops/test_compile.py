"""The operations as torch knows them: its own checks of each, and a compiled function that calls them all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sparsecircuits.ops import (
    Pattern,
    abs_topk,
    bigram_cross_entropy,
    gelu,
    gelu_abs_topk,
    mix,
    native,
    rms_norm,
    sink_attention,
    sparse_linear,
)

pytestmark = pytest.mark.skipif(native.available() == [native.OFF], reason="the kernels were not compiled")

OPS = torch.ops.sparsecircuits


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return normal(*shape, seed=seed).requires_grad_()


WEIGHT = normal(6, 8) * (normal(6, 8, seed=1) > 0.5)
PATTERN = Pattern.of(WEIGHT)
IDS = torch.tensor([3, 0, 6, 6, 1, 2, 3, 4, 5])


def kept_values() -> Tensor:
    return PATTERN.gather(WEIGHT).requires_grad_()


CASES = {
    "abs_topk": lambda: (OPS.abs_topk, leaf(3, 20), 5),
    "abs_topk of a transposed": lambda: (OPS.abs_topk, normal(20, 3).T.requires_grad_(), 2),
    "abs_topk of 16 bits": lambda: (OPS.abs_topk, normal(3, 20).bfloat16().requires_grad_(), 5),
    "abs_topk_backward": lambda: (OPS.abs_topk_backward, normal(3, 20), OPS.abs_topk(normal(3, 20), 5)[1]),
    "attention": lambda: (OPS.attention, leaf(2, 5, 3, 4), leaf(2, 7, 3, 4), leaf(2, 7, 3, 4), leaf(3)),
    "attention without a sink": lambda: (OPS.attention, *(leaf(2, 5, 3, 4, seed=i) for i in range(3)), None),
    "attention_backward": lambda: (
        OPS.attention_backward,
        *(normal(2, 5, 3, 4, seed=i) for i in range(4)),
        normal(3),
        normal(2, 5, 3, 4),
        normal(2, 3, 5),
    ),
    "sparse_linear": lambda: (
        OPS.sparse_linear,
        leaf(9, 8),
        WEIGHT.clone().requires_grad_(),
        leaf(6),
        *PATTERN.tensors(),
    ),
    "sparse_linear of values": lambda: (
        OPS.sparse_linear,
        leaf(9, 8),
        kept_values(),
        None,
        *PATTERN.tensors(),
    ),
    "sparse_linear of few": lambda: (
        OPS.sparse_linear,
        leaf(2, 8),
        kept_values(),
        leaf(6),
        *PATTERN.tensors(),
    ),
    "sparse_linear_backward": lambda: (
        OPS.sparse_linear_backward,
        normal(9, 6),
        normal(9, 8),
        WEIGHT,
        *PATTERN.tensors(),
        [True, False, True],
    ),
    "cross_entropy": lambda: (OPS.cross_entropy, leaf(9, 7), IDS, leaf(7, 7, seed=1), IDS.flip(0)),
    "cross_entropy without a table": lambda: (OPS.cross_entropy, leaf(9, 7), IDS, None, IDS),
    "cross_entropy_backward": lambda: (
        OPS.cross_entropy_backward,
        torch.tensor(3.0),
        normal(9, 7),
        IDS,
        None,
        IDS,
        normal(9),
    ),
    "add_rows": lambda: (OPS.add_rows, normal(9, 7), IDS),
    "rms_norm": lambda: (OPS.rms_norm, leaf(3, 20), leaf(20, seed=1), 1e-5),
    "rms_norm_backward": lambda: (
        OPS.rms_norm_backward,
        normal(3, 20),
        normal(3, 20, seed=1),
        normal(20),
        normal(3).abs(),
    ),
    "mix": lambda: (OPS.mix, leaf(2, 3, 20), leaf(20, seed=1), normal(20, seed=2)),
    "mix of sets": lambda: (OPS.mix, leaf(2, 3, 20), leaf(2, 20, seed=1), normal(2, 20, seed=2)),
    "mix_backward": lambda: (
        OPS.mix_backward,
        *(normal(2, 3, 20, seed=i) for i in range(2)),
        *(normal(20, seed=i) for i in (2, 3)),
    ),
    "gelu": lambda: (OPS.gelu, leaf(3, 20)),
    "gelu of a transposed": lambda: (OPS.gelu, normal(20, 3).T.requires_grad_()),
    "gelu_abs_topk": lambda: (OPS.gelu_abs_topk, leaf(3, 20), 5),
    "gelu_abs_topk_backward": lambda: (
        OPS.gelu_abs_topk_backward,
        normal(3, 20),
        normal(3, 5, seed=1),
        OPS.gelu_abs_topk(normal(3, 20, seed=1), 5)[1],
    ),
    "pack_kept": lambda: (OPS.pack_kept, normal(3, 20), OPS.abs_topk(normal(3, 20), 5)[1], 5),
    "gelu_backward": lambda: (OPS.gelu_backward, normal(3, 20), normal(3, 20, seed=1)),
}


@pytest.mark.parametrize("case", CASES)
def test_torch_finds_nothing_wrong(case: str):
    """Its schema says what it does, its shapes without data are right, and its gradient is registered."""
    operation, *arguments = CASES[case]()
    torch.library.opcheck(operation.default, tuple(arguments))


def everything(x: Tensor, weight: Tensor, norm: Tensor, sink: Tensor, table: Tensor) -> Tensor:
    """Every operation once: x [8 tokens, 8], weight [6, 8], norm [8], sink [2], table [7, 7] to a loss."""
    x = gelu(rms_norm(x, norm, 1e-5)) + mix(gelu_abs_topk(x, 7)[None], norm, IDS[:8].float())[0]
    heads = abs_topk(x, 6).view(1, 8, 2, 4).transpose(1, 2)
    x = sink_attention(heads, heads, heads, sink).transpose(1, 2).reshape(8, 8)
    logits = torch.cat([sparse_linear(x, weight, None, PATTERN), x[:, :1]], 1)
    return bigram_cross_entropy(logits, IDS[:8], table, IDS[1:])


def test_a_compiled_function_of_them_all_gives_the_same():
    inputs = leaf(8, 8), WEIGHT.clone().requires_grad_(), leaf(8, seed=1), leaf(2), leaf(7, 7)
    torch.compiler.reset()
    loss = torch.compile(everything, backend="aot_eager", fullgraph=True)(*inputs)
    expected = everything(*inputs)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=0)
    right = torch.autograd.grad(expected, inputs)
    for got, one in zip(torch.autograd.grad(loss, inputs), right, strict=True):
        assert one.count_nonzero() > 0
        torch.testing.assert_close(got, one, atol=1e-6, rtol=0)


def test_every_registered_operation_is_checked():
    names = {
        name.split("::")[1].split(".")[0]
        for name in torch._C._dispatch_get_all_op_names()
        if "sparsecircuits::" in name
    }
    assert names == {case.split()[0] for case in CASES}
