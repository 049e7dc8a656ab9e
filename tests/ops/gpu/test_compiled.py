"""The interpreter takes more than the compiler does: what that makes of the sparse product and of Adam."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsecircuits.ops import gpu


def test_every_kernel_compiles_and_loads_wide(tmp_path: Path):
    pytest.importorskip("triton")
    environment = {name: value for name, value in os.environ.items() if name != gpu.INTERPRET}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-m", "tests.ops.gpu.compiled"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for kind, bits in (("bfloat16", 16), ("float16", 16), ("float32", 32)):
        # 16 rows of 64 tokens are 8 numbers for each of 128 threads, 128 bits a load; 4 entries ahead.
        # And so by columns, for dX.
        wide = 8 * bits // 128
        product = {"wide loads": 4 * wide, "wide stores": wide, "multiplications": 32}
        assert found[f"multiply {kind}"] == [product, product]
        assert found[f"sample {kind}"][0]["wide loads"] >= wide
        # x, y back, the slope, dX back: 64 x 64 numbers are 32 for each thread.
        turn = {"wide loads": 4 * wide, "wide stores": 4 * wide, "multiplications": 0}
        assert found[f"turn {kind}"] == [turn] * 4
    assert len(found["gather float32"]) == 1
    assert len(found["_step float32"]) == 1
