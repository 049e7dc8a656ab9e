"""Compiles for an H100 what the operations would launch on one; to be run without the interpreter.

``launch`` is replaced by the compiler, and the operations are called on tensors of the CPU, so that every
kernel is compiled for just the types and sizes that it would be launched with. Prints a line for each.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sparsecircuits.ops.gpu import projection, topk

NAMES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int32: "i32",
    torch.int64: "i64",
}


def compile_launch(
    kernel: Any, grid: tuple[int, ...], *arguments: Any, warps: int, fuse: bool = False, **constants: Any
) -> Any:
    """In place of ``launch``; returns what became of the kernel."""
    types: dict[str, str] = dict.fromkeys(constants, "constexpr")
    aligned = {}
    for index, (name, argument) in enumerate(zip(kernel.arg_names, arguments, strict=False)):
        if isinstance(argument, Tensor):
            types[name] = "*" + NAMES[argument.dtype]
        else:
            types[name] = "fp32" if isinstance(argument, float) else "i32"
        if isinstance(argument, Tensor) or (isinstance(argument, int) and argument % 16 == 0):
            aligned[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(
        fn=kernel,
        signature={name: types[name] for name in kernel.arg_names},
        constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
        attrs=aligned,
    )
    options = {"num_warps": warps, "enable_fp_fusion": fuse}
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert built.metadata.shared < 227 * 1024  # bytes that a program may have
    sys.stdout.write(f"{kernel.fn.__name__} {len(built.asm['cubin']) > 0}\n")
    return built


def main() -> None:
    topk.launch = projection.launch = compile_launch
    for dtype in topk.TYPES:
        for dim in (16, 100, 1024, 8192):
            x, weight = torch.zeros(8, dim, dtype=dtype), torch.ones(dim)
            _, mask = torch.ops.sparsecircuits_gpu.abs_topk(x, 4)
            torch.ops.sparsecircuits_gpu.abs_topk_backward(x, mask)
        torch.ops.sparsecircuits_gpu.gelu_abs_topk(x, 4)
        torch.ops.sparsecircuits_gpu.gelu_abs_topk_backward(x, x, mask)
        _, mask, scale = torch.ops.sparsecircuits_gpu.rms_norm_abs_topk(x, weight, 1e-5, 4)
        torch.ops.sparsecircuits_gpu.rms_norm_abs_topk_backward(x, x, weight, scale, mask)
    for shape, axis in (((48, 16), 1), ((1024, 128), 0), ((1, 8192), 1), ((8192, 8), 0)):
        projection.keep_largest_all_([projection.Matrix(torch.ones(shape), 5000, 2, axis)])


if __name__ == "__main__":
    main()
