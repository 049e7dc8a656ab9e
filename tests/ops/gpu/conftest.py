"""The GPU kernels run in Triton's interpreter, on tensors of the CPU; with ``--gpu`` on a GPU."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
import torch

from sparsecircuits.ops import gpu


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--gpu"):
        os.environ.setdefault(gpu.INTERPRET, "1")  # before anything imports Triton


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Generator[torch.device]:
    """Where the kernels take tensors while a test runs."""
    pytest.importorskip("triton")
    if request.config.getoption("--gpu"):
        yield torch.device("cuda")
        return
    with gpu.interpreted():
        yield torch.device("cpu")
