"""One thread for every test, so that sums come out the same everywhere; slow and GPU tests are opt-in."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.processes import Processes

# Before torch is first imported, here or in a process that a test starts.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"  # a name of the shape org/name that is not here is asked for on the Hub
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # tokenizers otherwise warns when a test forks

# Tests that are started in the background may have Ctrl-C ignored, which a training respects; some send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

OPT_IN = {
    "slow": "slow: give --slow to run it",
    "gpu": "needs a CUDA device: give --gpu on a machine that has one",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption("--gpu", action="store_true", help="also run the tests marked gpu; needs a CUDA device")


def pytest_configure(config: pytest.Config) -> None:
    if "torch" in sys.modules:  # a plugin was first
        sys.modules["torch"].set_num_threads(1)
    if config.getoption("--gpu"):
        import torch

        if not torch.cuda.is_available():
            raise pytest.UsageError("--gpu: torch sees no CUDA device here")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for marker, reason in OPT_IN.items():
            if item.get_closest_marker(marker) and not config.getoption(f"--{marker}"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    """Processes that compute together; each starts when a test first needs it."""
    from tests.processes import Processes

    made = Processes()
    yield made
    made.close()
