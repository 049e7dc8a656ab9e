"""Compile the kernels of the sparse product and of Adam for an H100, and print what became of them as JSON.

As in ``compile_kernels.py`` the operations are called on tensors of the CPU, in a process without the
interpreter, and the compiler stands where kernels are launched.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import Any

import torch

from sparsecircuits.ops.gpu import adam, linear
from tests.ops.gpu.compile_kernels import compile_launch

WORDS = {"wide loads": "ld.global.v4", "wide stores": "st.global.v4", "multiplications": "fma.rn.f32"}


def main() -> None:
    found: dict[str, list[dict[str, int]]] = defaultdict(list)

    def compile_and_count(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
        ptx = compile_launch(kernel, grid, *arguments, **options).asm["ptx"]
        name = f"{kernel.fn.__name__} {kind}"
        found[name].append({what: ptx.count(word) for what, word in WORDS.items()})

    linear.launch = adam.launch = compile_and_count
    for kind in ("bfloat16", "float16", "float32"):
        dtype = getattr(torch, kind)
        x, weight = torch.zeros(128, 64, dtype=dtype), torch.eye(32, 64)
        pattern = linear.find(weight, 32)
        rest = (*pattern, *map(linear.longest_first, (pattern.start, pattern.column_start)))
        y, turned = torch.ops.sparsecircuits_gpu.sparse_linear(x, weight, torch.zeros(32), *rest)
        torch.ops.sparsecircuits_gpu.sparse_linear_backward(y, turned, torch.zeros(32), *rest, [True] * 3)
    kind = "float32"
    row = [torch.zeros(5)]
    adam.step(
        adam.Chunks([5], torch.device("cpu")), row, row, row, row, [torch.zeros(())],
        lr=0.1, betas=(0.9, 0.95), eps=0.1, divisor=2.0,
    )  # fmt: skip
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
