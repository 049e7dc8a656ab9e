"""Out of memory, in the words of torch and numpy, becomes bytes and a setting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsecircuits.errors import ConfigError, OutOfMemory
from sparsecircuits.memory import bytes_asked, memory_advice, require_room, total_memory

CPU = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12"
GPU = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB"


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (RuntimeError(CPU), "4,096 bytes"),
        (torch.OutOfMemoryError(GPU), "2,684,354,560 bytes"),
        (MemoryError("Unable to allocate 1.50 MiB for an array with shape (3,)"), "1,572,864 bytes"),
    ],
)
def test_the_message_has_the_bytes_and_the_setting(error: Exception, asked: str):
    with (
        pytest.raises(
            OutOfMemory, match=f"out of memory in here, with {asked} asked for; less is taken by X"
        ),
        memory_advice("here", "X"),
    ):
        raise error


def test_the_real_thing():
    with pytest.raises(OutOfMemory, match=r"with [\d,]{16,} bytes asked for"), memory_advice("here", "X"):
        torch.empty(2**46)
    with pytest.raises(OutOfMemory, match=r"with [\d,]{16,} bytes asked for"), memory_advice("here", "X"):
        np.ones(2**46)


def test_other_errors_go_through_and_the_first_advice_counts():
    with pytest.raises(RuntimeError, match="^shapes$"), memory_advice("here", "X"):
        raise RuntimeError("shapes")
    with pytest.raises(OutOfMemory, match="in there; less is taken by Y"), memory_advice("here", "X"):  # noqa: SIM117
        with memory_advice("there", "Y"):
            raise MemoryError
    assert bytes_asked(MemoryError()) is None


def test_what_this_machine_cannot_hold_is_refused():
    there = total_memory()
    assert there is not None
    require_room(there, "it")
    with pytest.raises(ConfigError, match=f"it takes {there + 1:,} bytes; this machine has {there:,} bytes"):
        require_room(there + 1, "it")
