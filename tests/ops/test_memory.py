"""Freed memory stays: what a process that asked for it sees of page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sparsecircuits.ops.memory import keep_freed_memory, release_freed_memory, return_freed_memory

# Faults when 4,096 pages of 4 kB are written where as many were written and freed just before.
PROGRAM = """
import resource
from sparsecircuits.ops.memory import keep_freed_memory, return_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def written_again():
    block = b"x" * (16 << 20)
    del block
    before = faults()
    block = b"x" * (16 << 20)
    return faults() - before
print(written_again(), keep_freed_memory(), written_again())
kept = [b"x" * (16 << 20) for _ in range(2)]  # what was kept is in use again
print(return_freed_memory(), written_again())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's matter")
def test_memory_that_was_freed_costs_no_faults_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, took, after, returned, fresh = done.stdout.split()
    if took == "False":
        pytest.skip("this C library has no such thresholds")
    assert int(after) < 100
    assert int(before) > int(after)
    assert returned == "True"
    assert int(fresh) > 4000  # the pages are new ones


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
    assert return_freed_memory() is False
    assert release_freed_memory() is False
