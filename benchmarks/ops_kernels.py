"""The single operations against the same in plain PyTorch: one function a comparison.

Each takes shapes and an :class:`Effort` and returns rows. Before the clock starts, both sides must agree.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import naive
from benchmarks.ops_timing import Effort, Measured, Row, Side, compare, percent, time_sides
from sparsecircuits import ops
from sparsecircuits.ops import Pattern
from sparsecircuits.ops.projection import definition_

#: Kept entries of a neuron at least, in the projection's comparisons (§A.2).
FLOOR = 4
#: How large a training step's change is beside the weights' standard deviation.
UPDATE = 0.05


def abs_topk(rows: int, dim: int, effort: Effort) -> Measured:
    """A quarter of each row: forward, and forward with backward; beside a copy of the input."""
    x, grad, k = torch.randn(rows, dim), torch.randn(rows, dim), dim // 4
    leaf = x.clone().requires_grad_()
    # Which of equals stay is left open by topk, so that only how much is kept can be compared.
    torch.testing.assert_close(*(f(x, k).abs().sum(-1) for f in (ops.abs_topk, naive.abs_topk)))
    forward = time_sides(
        {
            "ours": Side(lambda: ops.abs_topk(x, k)),
            "naive": Side(lambda: naive.abs_topk(x, k)),
            "copy": Side(x.clone),
        },
        effort,
    )
    both = time_sides(
        {
            "ours": Side(lambda: torch.autograd.grad(ops.abs_topk(leaf, k), leaf, grad)),
            "naive": Side(lambda: torch.autograd.grad(naive.abs_topk(leaf, k), leaf, grad)),
        },
        effort,
    )
    shape = f"{rows} x {dim}"
    return Measured(
        [
            compare(f"AbsTopK forward, {shape}: torch.topk / ours", forward["ours"], forward["naive"], 12),
            compare(f"AbsTopK forward, {shape}: ours / a copy", forward["ours"], forward["copy"], 3, "min"),
            compare(
                f"AbsTopK forward + backward, {shape}: torch.topk / ours", both["ours"], both["naive"], 9
            ),
        ]
    )


def projection(size: int, density: float, goal: float, effort: Effort) -> Measured:
    """Keep the largest of a square matrix, normal or as training has it, with a floor a neuron.

    The copy that each repetition works on is made before the clock starts, on all sides.
    """
    found = []
    k = int(density * size * size)
    binds = ", floor binds" if k < 1.5 * FLOOR * size else ""
    for matrix, kind, wanted in (
        (torch.randn(size, size), "normal", goal),
        (in_training(size, k), "as in training", None),
    ):
        what = f"weight projection, {size} x {size}, {percent(density)} kept{binds}, {kind}"
        work = torch.empty_like(matrix)

        def side(keep: Callable[[Tensor], object], work: Tensor = work, matrix: Tensor = matrix) -> Side:
            return Side(lambda: keep(work), lambda: work.copy_(matrix))

        times = time_sides(
            {
                "ours": side(lambda weight: ops.keep_largest_(weight, k, floor=FLOOR, axis=1)),
                "flat": side(lambda weight: naive.keep_largest_(weight, k)),
                "floor": side(lambda weight: naive.keep_largest_(weight, k, FLOOR, 1)),
            },
            effort,
        )
        found.append(
            compare(f"{what}: torch.topk on the flat matrix / ours", times["ours"], times["flat"], wanted)
        )
        found.append(
            compare(f"{what}: torch.topk with the floor / ours", times["ours"], times["floor"], None)
        )
    return Measured(found)


def in_training(size: int, k: int) -> Tensor:
    """What the projection meets in training: the sparse matrix of before plus a small dense update."""
    before = ops.keep_largest_(torch.randn(size, size), k, floor=FLOOR, axis=1)
    return before + UPDATE * torch.randn(size, size)


def projection_is_exact(cases: list[tuple[int, float]]) -> Measured:
    """Whether the projection equals its definition bit for bit, for every matrix timed, along both axes."""
    equal = True
    for size, density in cases:
        k = int(density * size * size)
        for matrix in (torch.randn(size, size), in_training(size, k)):
            for axis in (0, 1):
                ours = ops.keep_largest_(matrix.clone(), k, floor=FLOOR, axis=axis)
                expected = definition_(matrix.clone(), k, FLOOR, axis)
                equal &= torch.equal(ours.view(torch.int32), expected.view(torch.int32))
    return Measured([Row("weight projection is bit-equal to its definition", float(equal), 1)])


class CSR:
    """A sparse matrix as torch has it (MKL), with the fastest arrangement of its products that was found.

    Products want tokens along rows of the other factor; so activations [tokens, width] are transposed
    first. What comes out stays transposed, which spares it a copy.
    """

    def __init__(self, weight: Tensor) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            self.weight = weight.to_sparse_csr()
            self.transposed = weight.t().contiguous().to_sparse_csr()

    def run(self, x_t: Tensor, grad_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Result, dX and gradient at the kept weights of [width, tokens] inputs and gradients."""
        y = self.weight @ x_t
        dx = self.transposed @ grad_t
        return y, dx, torch.sparse.sampled_addmm(self.weight, grad_t, x_t.t(), beta=0)

    def run_from_rows(self, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same of [tokens, width]."""
        return self.run(x.t().contiguous(), grad.t().contiguous())


def sparse_linear(width: int, tokens: int, goals: dict[float, float], effort: Effort) -> Measured:
    """Forward, dX and the gradient at the kept weights, against the dense layer and torch's CSR.

    Args:
        width: of the square matrix.
        tokens: of the batch.
        goals: by density, against the dense layer.
        effort: of all of them together.
    """
    x, grad = torch.randn(tokens, width).requires_grad_(), torch.randn(tokens, width)
    full = torch.randn(width, width).requires_grad_()
    plain, x_t, grad_t = x.detach(), x.detach().t().contiguous(), grad.t().contiguous()
    sides = {"dense": Side(lambda: torch.autograd.grad(F.linear(x, full), (x, full), grad))}
    for density in goals:
        matrix = ops.keep_largest_(torch.randn(width, width), int(density * width * width))
        pattern, csr = Pattern.of(matrix), CSR(matrix)
        values = pattern.gather(matrix).requires_grad_()

        def ours(values: Tensor = values, pattern: Pattern = pattern) -> tuple[Tensor, ...]:
            return torch.autograd.grad(ops.sparse_linear(x, values, None, pattern), (x, values), grad)

        y, dx, dw = csr.run(x_t, grad_t)
        expected = torch.autograd.grad(F.linear(x, weight := matrix.requires_grad_()), (x, weight), grad)
        for mine, theirs, dense in zip(ours(), (dx.t(), dw.values()), expected, strict=True):
            dense = dense if dense.shape == mine.shape else pattern.gather(dense)
            torch.testing.assert_close(mine, dense, rtol=1e-3, atol=1e-2)
            torch.testing.assert_close(theirs, dense, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(
            ops.sparse_linear(plain, values.detach(), None, pattern), y.t(), rtol=1e-3, atol=1e-2
        )
        sides[f"ours {density}"] = Side(ours)
        sides[f"csr {density}"] = Side(lambda csr=csr: csr.run_from_rows(plain, grad))
        sides[f"csr, transposed {density}"] = Side(lambda csr=csr: csr.run(x_t, grad_t))
    times = time_sides(sides, effort)
    found = []
    for density, goal in goals.items():
        what, mine = f"sparse linear, width {width}, {percent(density)} kept", times[f"ours {density}"]
        found += [
            compare(f"{what}: dense layer / ours", mine, times["dense"], goal),
            compare(f"{what}: torch CSR / ours", mine, times[f"csr {density}"], 2),
            compare(
                f"{what}: torch CSR, inputs already transposed / ours",
                mine, times[f"csr, transposed {density}"], None,
            ),
        ]  # fmt: skip
    return Measured(found)


def attention(batch: int, heads: int, d_head: int, pos: int, effort: Effort) -> Measured:
    """Attention with sinks, forward and backward; heads lie side by side, as the model has them."""
    q, k, v = (torch.randn(batch, pos, heads, d_head).transpose(1, 2).requires_grad_() for _ in range(3))
    sink, grad = torch.randn(heads).requires_grad_(), torch.randn(batch, heads, pos, d_head)
    inputs = (q, k, v, sink)

    def gradients(function: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(function(*inputs), inputs, grad)

    found = (gradients(function) for function in (ops.sink_attention, naive.sink_attention))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)
    times = time_sides(
        {
            "ours": Side(lambda: gradients(ops.sink_attention)),
            "naive": Side(lambda: gradients(naive.sink_attention)),
        },
        effort,
    )
    shape = f"batch {batch}, {heads} heads of {d_head}, {pos} tokens"
    name = f"attention with sinks forward + backward, {shape}: plain / ours"
    return Measured([compare(name, times["ours"], times["naive"], 4)])


def small_operations(tokens: int, width: int, vocab: int, effort: Effort) -> Measured:
    """RMSNorm, GELU and the loss, forward and backward; none has a goal."""
    x, weight = torch.randn(tokens, width).requires_grad_(), torch.ones(width).requires_grad_()
    wide = torch.randn(tokens, 4 * width).requires_grad_()
    logits, table = torch.randn(tokens, vocab).requires_grad_(), torch.randn(vocab, vocab).requires_grad_()
    token, target = torch.randint(vocab, (2, tokens))
    one_row = (logits[None], table, token[None], target[None])
    cases: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor], list[Tensor]]] = {
        f"RMSNorm forward + backward, {tokens} x {width}: torch / ours": (
            lambda: ops.rms_norm(x, weight),
            lambda: F.rms_norm(x, (width,), weight),
            [x, weight],
        ),
        f"GELU forward + backward, {tokens} x {4 * width}: torch / ours": (
            lambda: ops.gelu(wide),
            lambda: F.gelu(wide),
            [wide],
        ),
        f"loss with bigram table forward + backward, {tokens} x {vocab}: plain / ours": (
            lambda: ops.bigram_cross_entropy(logits, target, table, token),
            lambda: naive.cross_entropy_with_bigram(*one_row),
            [logits, table],
        ),
    }
    found = []
    for name, (ours, other, inputs) in cases.items():
        grad = torch.randn_like(ours()) if ours().ndim else torch.ones(())

        def gradients(
            function: Callable[[], Tensor], inputs: list[Tensor] = inputs, grad: Tensor = grad
        ) -> tuple[Tensor, ...]:
            return torch.autograd.grad(function(), inputs, grad)

        torch.testing.assert_close(gradients(ours), gradients(other), rtol=1e-3, atol=1e-3)
        times = time_sides(
            {
                "ours": Side(lambda run=gradients, f=ours: run(f)),
                "other": Side(lambda run=gradients, f=other: run(f)),
            },
            effort,
        )
        found.append(compare(name, times["ours"], times["other"], None))
    return Measured(found)
