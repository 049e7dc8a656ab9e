"""Each kernel of a GPU against the idiom in plain PyTorch that it stands for: a function a family of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import naive
from benchmarks.gpu_rows import Clock, Other, Row, apart, differing, short, worst
from benchmarks.ops_steps import Shape
from benchmarks.ops_timing import percent
from sparsecircuits import ops
from sparsecircuits.model import SparseGPT
from sparsecircuits.ops import Pattern
from sparsecircuits.ops.abs_topk import definition as topk_definition
from sparsecircuits.ops.attention import definition as attention_definition
from sparsecircuits.ops.gpu import linear as linear_kernels
from sparsecircuits.ops.projection import definition_
from sparsecircuits.train.adam import Adam
from sparsecircuits.train.projection import project, sparse_matrices
from sparsecircuits.train.schedules import Densities

TYPES = (torch.bfloat16, torch.float32)
#: Largest difference from the definition, as a share of the largest number.
TOLERANCE = {torch.bfloat16: 2e-2, torch.float32: 1e-4}
#: The same of sums of rows where entries may change places.
ABOUT = 5e-2
#: How large a training step's change is beside the weights' standard deviation.
UPDATE = 0.05


@dataclass(frozen=True)
class Plan:
    """Which sizes are measured."""

    topk: tuple[tuple[int, int], ...]
    """Rows and their length."""
    linear: tuple[tuple[int, int, int], ...]
    """Rows, columns, tokens."""
    densities: tuple[float, ...]
    attention: tuple[int, int, int, int]
    """Batch, heads, positions, channels of a head."""
    steps: tuple[Shape, ...]
    """Whole steps: the first that fits. Its matrices are those of the projection and of Adam."""
    compiles: bool
    copied: int
    """Bytes of the copy that gives the bandwidth."""


def copy(plan: Plan, clock: Clock) -> Iterator[Row]:
    """What the memory does: a copy, the floor of all rows."""
    source = torch.ones(plan.copied, dtype=torch.int8, device=clock.device)
    target = torch.empty_like(source)
    yield Row("copy in memory", clock.ms(lambda: target.copy_(source)), moved=2 * plan.copied)


def abs_topk(plan: Plan, clock: Clock) -> Iterator[Row]:
    """AbsTopK, a quarter of each row: alone, behind GELU, and behind RMSNorm."""
    for rows, dim in plan.topk:
        for kind in TYPES:
            x, grad = (torch.randn(rows, dim, device=clock.device, dtype=kind) for _ in range(2))
            leaf, k = x.clone().requires_grad_(), dim // 4
            what = f"{rows} x {dim}, {short(kind)}"
            bits = rows * dim // 8

            def both(
                f: Callable[[Tensor, int], Tensor], leaf: Tensor = leaf, k: int = k, grad: Tensor = grad
            ) -> Tensor:
                return torch.autograd.grad(f(leaf, k), leaf, grad)[0]

            yield Row(
                f"AbsTopK forward, {what}",
                clock.ms(lambda: ops.abs_topk(x, k)),  # noqa: B023
                {"torch.topk": Other(clock.ms(lambda: naive.abs_topk(x, k)))},  # noqa: B023
                2 * x.nbytes + bits,
                differing(ops.abs_topk(x, k), topk_definition(x, k)),
            )
            yield Row(
                f"AbsTopK forward + backward, {what}",
                clock.ms(lambda: both(ops.abs_topk)),  # noqa: B023
                {"torch.topk": Other(clock.ms(lambda: both(naive.abs_topk)), 8)},  # noqa: B023
                4 * x.nbytes + 2 * bits,
                differing(both(ops.abs_topk), both(topk_definition)),
            )
            yield Row(
                f"GELU and AbsTopK, forward + backward, {what}",
                clock.ms(lambda: both(ops.gelu_abs_topk)),  # noqa: B023
                {"torch.topk": Other(clock.ms(lambda: both(_naive_gelu_topk)))},  # noqa: B023
                5 * x.nbytes + 2 * bits,
                sums_apart(ops.gelu_abs_topk, _naive_gelu_topk, x, both, k),
                ABOUT,
            )

            norm = torch.rand(dim, device=clock.device, dtype=kind) + 0.5
            fused = partial(_norm_topk, ops.rms_norm_abs_topk, norm)
            plain = partial(_norm_topk, _naive_norm_topk, norm)
            yield Row(
                f"RMSNorm and AbsTopK, forward + backward, {what}",
                clock.ms(lambda: both(fused)),  # noqa: B023
                {"torch.topk": Other(clock.ms(lambda: both(plain)))},  # noqa: B023
                5 * x.nbytes + 2 * bits,
                sums_apart(fused, plain, x, both, k),
                ABOUT,
            )


def sums_apart(
    f: Callable[[Tensor, int], Tensor],
    definition: Callable[[Tensor, int], Tensor],
    x: Tensor,
    gradient: Callable[[Callable[[Tensor, int], Tensor]], Tensor],
    k: int,
) -> float:
    """How far apart the sums of rows are, of values and of gradients.

    Not the entries: two magnitudes that are rounded differently may change places at the threshold.
    """
    values = apart(*(one(x, k).abs().float().sum(-1) for one in (f, definition)))
    gradients = apart(*(gradient(one).abs().float().sum(-1) for one in (f, definition)))
    return worst(values, gradients)


def _norm_topk(f: Callable[[Tensor, Tensor, int], Tensor], weight: Tensor, x: Tensor, k: int) -> Tensor:
    return f(x, weight, k)


def _naive_norm_topk(x: Tensor, weight: Tensor, k: int) -> Tensor:
    return naive.abs_topk(F.rms_norm(x, weight.shape, weight), k)


def _naive_gelu_topk(x: Tensor, k: int) -> Tensor:
    return naive.abs_topk(F.gelu(x), k)


def projection(plan: Plan, clock: Clock) -> Iterator[Row]:
    """All matrices of a model, as training has them: the sparse weights of before plus a small update."""
    shape = plan.steps[0]
    model = SparseGPT(shape.config).to(clock.device)
    matrices = sparse_matrices(model, shape.floor)
    densities = Densities(shape.density, shape.density)
    weights = [matrix.weight.detach() for matrix in matrices]
    budgets = [matrix.budget(densities) for matrix in matrices]
    project(matrices, densities)
    before = [weight + UPDATE * weight.std() * torch.randn_like(weight) for weight in weights]

    def restore() -> None:
        torch._foreach_copy_(weights, before)

    def with_floor() -> None:
        for matrix, weight, k in zip(matrices, weights, budgets, strict=True):
            naive.keep_largest_(weight, k, matrix.floor, matrix.axis)

    def flat() -> None:
        for weight, k in zip(weights, budgets, strict=True):
            naive.keep_largest_(weight, k)

    restore()
    project(matrices, densities)
    wrong = 0.0
    for matrix, k, start in zip(matrices, budgets, before, strict=True):
        wrong += differing(matrix.weight, definition_(start.clone(), k, matrix.floor, matrix.axis))
    yield Row(
        f"projection of {len(matrices)} matrices of width {shape.width}, {percent(shape.density)}",
        clock.ms(lambda: project(matrices, densities), restore),
        {
            "torch.topk, no floor": Other(clock.ms(flat, restore), 10),
            "torch.topk, floor": Other(clock.ms(with_floor, restore)),
        },
        2 * sum(weight.nbytes for weight in weights),
        wrong,
    )


def sparse_linear(plan: Plan, clock: Clock) -> Iterator[Row]:
    """The sparse product: forward, with its gradients, the kept weights' gradient, and the pattern."""
    for rows, columns, tokens in plan.linear:
        for density in plan.densities:
            count = max(1, int(density * rows * columns))
            weight = torch.randn(rows, columns, device=clock.device)
            ops.keep_largest_(weight, count)
            pattern = Pattern.of(weight, count)
            size = f"{columns} to {rows}, {percent(density)}"
            for kind in TYPES:
                x, grad = (torch.randn(tokens, n, device=clock.device, dtype=kind) for n in (columns, rows))
                yield from _products(
                    f"{size}, {tokens} tokens, {short(kind)}", clock, pattern, weight, x, grad
                )
            yield Row(
                f"pattern, {size}",
                clock.ms(lambda: Pattern.of(weight, count)),  # noqa: B023
                {"torch.nonzero": Other(clock.ms(lambda: weight.nonzero()))},  # noqa: B023
                weight.nbytes,
                differing(pattern.dense(pattern.gather(weight)), weight),
            )


def _products(
    what: str, clock: Clock, pattern: Pattern, weight: Tensor, x: Tensor, grad: Tensor
) -> Iterator[Row]:
    dense = weight.to(x.dtype).requires_grad_()
    whole, values = weight.clone().requires_grad_(), pattern.gather(weight).requires_grad_()
    leaf = x.clone().requires_grad_()
    tolerance, against = TOLERANCE[x.dtype], f"dense, {short(x.dtype)}"

    def backward(y: Tensor, one: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(y, [leaf, one], grad)

    def ours(one: Tensor) -> tuple[Tensor, ...]:
        return backward(ops.sparse_linear(leaf, one, None, pattern), one)

    def theirs() -> tuple[Tensor, ...]:
        return backward(F.linear(leaf, dense), dense)

    dx, dw = theirs()
    whole_found, values_found = ours(whole), ours(values)
    with torch.no_grad():
        right = F.linear(x, dense)
        yield Row(
            f"sparse product, {what}",
            clock.ms(lambda: ops.sparse_linear(x, whole, None, pattern)),
            {against: Other(clock.ms(lambda: F.linear(x, dense)))},
            x.nbytes + grad.nbytes,
            apart(ops.sparse_linear(x, whole, None, pattern), right),
            tolerance,
        )
    dense_ms = clock.ms(theirs)
    yield Row(
        f"sparse product, forward + backward, dense dW, {what}",
        clock.ms(lambda: ours(whole)),
        {against: Other(dense_ms)},
        3 * x.nbytes + 2 * grad.nbytes + weight.nbytes,
        worst(apart(whole_found[0], dx), apart(whole_found[1], dw)),
        tolerance,
    )
    yield Row(
        f"sparse product, forward + backward, kept dW, {what}",
        clock.ms(lambda: ours(values)),
        {against: Other(dense_ms)},
        3 * x.nbytes + 2 * grad.nbytes,
        worst(apart(values_found[0], dx), apart(values_found[1], pattern.gather(dw))),
        tolerance,
    )
    slopes, turned = linear_kernels.turned(grad), linear_kernels.turned(x)
    yield Row(
        f"kept dW alone (SDDMM), {what}",
        clock.ms(
            lambda: linear_kernels.sampled(pattern.start, pattern.index, pattern.longest[0], slopes, turned)
        ),
        {against: Other(clock.ms(lambda: grad.t() @ x))},
        x.nbytes + grad.nbytes,
    )


def attention(plan: Plan, clock: Clock) -> Iterator[Row]:
    """Attention with a sink."""
    batch, heads, pos, width = plan.attention
    for kind in TYPES:
        q, k, v, grad = (
            torch.randn(batch, heads, pos, width, device=clock.device, dtype=kind) for _ in range(4)
        )
        sink = torch.randn(heads, device=clock.device)
        leaves = [x.clone().requires_grad_() for x in (q, k, v, sink)]
        what = f"{batch} x {heads} heads of {width}, {pos} tokens, {short(kind)}"

        def fused(q: Tensor, k: Tensor, v: Tensor, _sink: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

        def plain(q: Tensor, k: Tensor, v: Tensor, sink: Tensor) -> Tensor:
            return naive.sink_attention(q, k, v, sink.to(q.dtype))

        def both(
            f: Callable[..., Tensor], leaves: list[Tensor] = leaves, grad: Tensor = grad
        ) -> list[Tensor]:
            return list(torch.autograd.grad(f(*leaves), leaves, grad, allow_unused=True))

        few = [x[:2].float().requires_grad_() for x in (q, k, v)] + [sink.clone().requires_grad_()]
        right = both(attention_definition, few, grad[:2].float())
        short_few = [x.detach().to(kind).requires_grad_() for x in few[:3]] + [few[3]]
        found = both(ops.sink_attention, short_few, grad[:2])
        with torch.no_grad():
            yield Row(
                f"sink attention forward, {what}",
                clock.ms(lambda: ops.sink_attention(q, k, v, sink)),  # noqa: B023
                {
                    "plain": Other(clock.ms(lambda: plain(q, k, v, sink))),  # noqa: B023
                    "fused, no sink": Other(clock.ms(lambda: fused(q, k, v, sink))),  # noqa: B023
                },
                4 * q.nbytes,
                apart(ops.sink_attention(*short_few), attention_definition(*few)),
                TOLERANCE[kind],
            )
        yield Row(
            f"sink attention forward + backward, {what}",
            clock.ms(lambda: both(ops.sink_attention)),  # noqa: B023
            {
                "plain": Other(clock.ms(lambda: both(plain))),  # noqa: B023
                "fused, no sink": Other(clock.ms(lambda: both(fused))),  # noqa: B023
            },
            12 * q.nbytes,
            worst(*map(apart, found, right)),
            TOLERANCE[kind],
        )


def adam(plan: Plan, clock: Clock) -> Iterator[Row]:
    """Adam over all weights of a model, the gradients divided on the way."""
    shape = plan.steps[0]
    model = SparseGPT(shape.config).to(clock.device)
    tensors = [parameter.detach().clone() for parameter in model.parameters()]
    del model
    gradients = [torch.randn_like(tensor) for tensor in tensors]
    options = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 0.1}
    theirs = [nn.Parameter(tensor.clone()) for tensor in tensors]
    ours = Adam(tensors, **options)
    torchs = torch.optim.Adam(theirs, fused=True, **options)
    for tensor, other, grad in zip(tensors, theirs, gradients, strict=True):
        tensor.grad, other.grad = grad, grad / 2
    ours.step(1e-3, 2.0)
    torchs.step()
    error = worst(*map(apart, tensors, theirs))
    count = sum(tensor.numel() for tensor in tensors)
    yield Row(
        f"Adam, {count:,} weights in {len(tensors)} tensors",
        clock.ms(lambda: ours.step(1e-3, 2.0)),
        {"torch, fused, no division": Other(clock.ms(torchs.step))},
        28 * count,
        error,
        1e-5,
    )
