"""What sparse files save, and how long the bundled circuits take to be drawn."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.torch import save_file

from benchmarks.ops_steps import Shape
from benchmarks.ops_timing import Measured, Row, percent
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.checkpoint import WEIGHTS_FILE
from sparsecircuits.train.projection import project, sparse_matrices
from sparsecircuits.train.schedules import Densities


def checkpoint(shape: Shape) -> Measured:
    """Bytes of a plain safetensors file over those of ours, and whether what is read back is the same."""
    model = SparseGPT(shape.config)
    project(sparse_matrices(model, shape.floor), Densities(shape.density, shape.density))
    bigram = shape.config.vocab_size**2 * 4
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, plain)
        model.save_pretrained(folder)
        dense, sparse = plain.stat().st_size, (Path(folder) / WEIGHTS_FILE).stat().st_size
        found = SparseGPT.from_pretrained(folder).state_dict()
    same = all(found[name].equal(tensor) for name, tensor in model.state_dict().items())
    name = f"saved model, width {shape.width}, {shape.layers} layers, {percent(shape.density)} kept"
    return Measured(
        [
            Row(f"{name}: bytes of a plain file / ours", dense / sparse, 10),
            Row(f"{name}: the same without the bigram table", (dense - bigram) / (sparse - bigram), 10),
            Row(f"{name}: read back bit for bit", float(same), 1),
        ]
    )


def example_page(goal: float) -> Measured:
    """Seconds of ``sparsecircuits view example``, the start of Python included."""
    command = [sys.executable, "-m", "sparsecircuits", "view", "example", "--export"]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run([*command, str(Path(folder) / "page.html")], check=True, capture_output=True)
        seconds = time.perf_counter() - started
    return Measured([Row("view example, seconds", seconds, goal, "min")])
