"""The interpreter takes more than the compiler does: every kernel is also compiled, though no GPU is here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsecircuits.ops import gpu


def test_every_kernel_compiles_for_an_h100(tmp_path: Path):
    pytest.importorskip("triton")
    environment = {name: value for name, value in os.environ.items() if name != gpu.INTERPRET}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-m", "tests.ops.gpu.compiled"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for kind, bits in (("bf16", 16), ("fp16", 16), ("fp32", 32)):
        # 16 rows of 64 tokens are 8 numbers for each of 128 threads, 128 bits a load; 4 entries ahead.
        wide = 8 * bits // 128
        for product in (f"multiply {kind}", f"multiply {kind} by columns"):
            assert found[product] == {"wide loads": 4 * wide, "wide stores": wide, "multiplications": 32}
        assert found[f"sample {kind}"]["wide loads"] >= wide
        assert found[f"turn {kind}"] == {
            "wide loads": 4 * wide,
            "wide stores": 4 * wide,
            "multiplications": 0,
        }
    assert "adam" in found
