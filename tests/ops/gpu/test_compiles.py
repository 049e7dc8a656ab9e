"""The kernels compile for a GPU, which the interpreter does not show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsecircuits.ops import gpu

pytest.importorskip("triton")


@pytest.mark.slow
def test_every_kernel_compiles_for_an_h100(tmp_path: Path):
    kept = {name: value for name, value in os.environ.items() if name != gpu.INTERPRET}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("compile_kernels.py")],
        env=kept | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(line.endswith(" True") for line in lines)
    assert {line.split()[0] for line in lines} == {
        *("forward", "backward", "norm_backward"),
        *("protect", "count_exponents", "count", "pick", "count_ties", "apply"),
    }
