"""R14: one seed, one result: fresh processes write the same bytes, another seed other ones."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.faults.forks import Outcome
from tests.faults.tiny import Bench

#: What is compared, in the folder that :mod:`tests.faults.artefacts` fills.
ARTEFACTS = {
    "train": ("trained/model/model.safetensors",),
    "prune": ("planted/**/circuit.json", "planted/**/circuit.safetensors"),
    "report card": ("planted/**/card.json",),
    "viewer HTML": ("page.html",),
}


def same_bytes(bench: Bench, count: int) -> Iterator[Outcome]:
    """R14: each artefact in ``count / 4`` fresh processes; and once with another seed."""
    repeats = max(2, count // len(ARTEFACTS))
    first = _made(bench, seed=0)
    other = _made(bench, seed=1)
    for number in range(1, repeats):
        again = _made(bench, seed=number if bench.sabotage else 0)
        for name, hashes in first.items():
            yield Outcome(f"{name}, process {number + 1}", hashes == again[name], "other bytes")
    for name in first:
        yield Outcome(f"{name}, another seed differs", first[name] != other[name], "the same bytes")


def _made(bench: Bench, seed: int) -> dict[str, str]:
    """SHA-256 of each artefact, from a process of its own."""
    folder = bench.new("made")
    shutil.rmtree(folder, ignore_errors=True)
    words = [sys.executable, "-m", "tests.faults.artefacts", folder, bench.corpus.folder, seed]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONHASHSEED"}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: _hash(folder, patterns) for name, patterns in ARTEFACTS.items()}


def _hash(folder: Path, patterns: tuple[str, ...]) -> str:
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    assert paths, f"{folder} holds none of {patterns}"
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()
