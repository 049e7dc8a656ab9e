"""A few cases of every kind of fault but R14; the whole count is ``python benchmarks/faults.py``.

R14, four commands in several processes, takes three quarters of a minute at the least: it is a slow test.
They run in a process of their own, which has the faulty disk preloaded and is copied for each case.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.faults import shim
from tests.faults.kinds import KINDS

pytestmark = pytest.mark.skipif(not shim.available(), reason="needs Linux and a C compiler")

#: So many cases of each; R8 takes eleven for cut, empty and swapped files before it flips bits.
FEW = {
    "R1": 3,
    "R3": 6,
    "R4": 2,
    "R5": 3,
    "R6": 7,
    "R7": 3,
    "R8": 40,
    "R9": 8,
    "R10": 2,
    "R11": 6,
    "R12": 3,
    "R18": 3,
}


def outcomes(*words: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.faults", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert found, done.stderr[-2000:]
    return found


@pytest.mark.parametrize("kind", FEW)
def test_a_few_cases_hold(kind: str):
    found = outcomes(kind, "--cases", str(FEW[kind]))
    assert [outcome for outcome in found if not outcome["good"]] == []
    assert len(found) == FEW[kind]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in FEW])
def test_all_cases_hold(kind: str):
    found = outcomes(kind)
    assert [outcome for outcome in found if not outcome["good"]] == []
    assert len(found) == KINDS[kind].cases


@pytest.mark.parametrize("kind", ["R5", "R8"])
def test_broken_code_is_noticed(kind: str):
    assert any(not outcome["good"] for outcome in outcomes(kind, "--sabotage", "--cases", "12"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_broken_code_is_noticed_in_every_kind(kind: str):
    assert any(not outcome["good"] for outcome in outcomes(kind, "--sabotage", "--cases", "8"))
