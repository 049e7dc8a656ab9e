"""Compile kernels for an H100, which takes no GPU, and print what became of them as JSON: run by a test.

A process of its own, since where the interpreter runs kernels they cannot be compiled.
"""

from __future__ import annotations

import json
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sparsecircuits.ops.gpu import adam, linear

H100 = GPUTarget("cuda", 90, 32)
#: Arguments that the launcher would find to be multiples of 16, addresses of tensors among them.
ALIGNED = ("x", "y", "tokens", "grad", "columns", "step", "wide", "start", "index", "values", "order", "out")


def compiled(kernel: Any, types: dict[str, str], **fixed: Any) -> dict[str, int]:
    """Counts of instructions of a kernel whose arguments have these types, i32 where none is given."""
    places = {name: place for place, name in enumerate(kernel.arg_names)}
    assert set(types) <= set(places), f"no such arguments: {set(types) - set(places)}"
    source = ASTSource(
        kernel,
        {name: "constexpr" if name in fixed else types.get(name, "i32") for name in places},
        constexprs={(places[name],): value for name, value in fixed.items()},
        attrs={(places[name],): [["tt.divisibility", 16]] for name in ALIGNED if name in places},
    )
    options = {"num_warps": 4, "enable_fp_fusion": True}
    made = triton.compile(source, target=H100, options=options)
    assert len(made.asm["cubin"]) > 0
    words = {"wide loads": "ld.global.v4", "wide stores": "st.global.v4", "multiplications": "fma.rn.f32"}
    return {what: made.asm["ptx"].count(word) for what, word in words.items()}


def all_kernels() -> dict[str, dict[str, int]]:
    """What became of each, by its name and the type of activations."""
    found = {}
    lists = dict.fromkeys(("start", "index", "order", "longest"), "*i32")
    for kind in ("bf16", "fp16", "fp32"):
        data = dict.fromkeys(("x", "y", "grad"), f"*{kind}")

        def of(
            kernel: Any, more: dict[str, str], data: dict[str, str] = data, **fixed: Any
        ) -> dict[str, int]:
            known = {**lists, **data, **more}
            return compiled(
                kernel, {name: known[name] for name in kernel.arg_names if name in known}, **fixed
            )

        for ordered in (False, True):
            found[f"multiply {kind}{' by columns' * ordered}"] = of(
                linear._multiply, {"values": "*fp32", "bias": "*fp32"},
                HAS_ORDER=ordered, HAS_BIAS=not ordered,
                ROWS=linear.ROWS, TOKENS=linear.TOKENS, AHEAD=linear.AHEAD,
            )  # fmt: skip
        found[f"sample {kind}"] = of(
            linear._sample, {"out": "*fp32"}, PIECE=linear.PIECE, ENTRIES=linear.ROWS, TOKENS=linear.TOKENS
        )
        found[f"turn {kind}"] = of(linear._turn, {}, SIDE=linear.SIDE)
        found[f"gather {kind}"] = of(linear._gather, {"weight": f"*{kind}", "values": f"*{kind}"}, BLOCK=128)
    types = {
        "table": "*i64",
        "which": "*i64",
        "begin": "*i64",
        "lr": "fp32",
        "eps": "fp32",
        "divisor": "fp32",
    }
    found["adam"] = compiled(
        adam._step, types, BETA1=0.9, BETA2=0.95, LOG1=-0.1, LOG2=-0.05, CHUNK=adam.CHUNK, KINDS=5
    )
    return found


if __name__ == "__main__":
    print(json.dumps(all_kernels()))  # noqa: T201
