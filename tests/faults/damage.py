"""R8: whatever happens to the bytes of a checkpoint is noticed, named, and passed over for the one before."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest import mock

from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import checkpoint
from sparsecircuits.train.checkpoint import Checkpoint, latest_checkpoint
from sparsecircuits.train.optimizer import SparseOptimizer
from tests.faults import tiny
from tests.faults.forks import Outcome
from tests.faults.tiny import Bench

FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
#: Of a full count: flipped bits, cut lengths, empty files, and files or folders that changed places.
FLIPS, CUTS, EMPTY, SWAPS = 1000, 100, 3, 7


def damaged(bench: Bench, count: int) -> Iterator[Outcome]:
    """R8: of ``count`` cases nine in ten are flipped bits, the others cuts, empty and swapped files."""
    bench.straight(tiny.config())
    source = next(bench.folder.glob("straight-*/checkpoints"))
    folder = bench.new("damaged")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in sorted(source.iterdir())[-2:]:
        shutil.copytree(path, folder / path.name)
    older, newer = sorted(folder.iterdir())
    rest = EMPTY + SWAPS
    cuts = max(1, (count - rest) * CUTS // (FLIPS + CUTS))
    for case in range(count - rest - cuts):
        yield _try(bench, newer, *_flip(random.Random(case), newer, case))
    for case in range(cuts):
        yield _try(bench, newer, *_cut(random.Random(case), newer, case))
    for name in FILES:
        yield _try(bench, newer, name, b"", f"{name}: empty")
    for name in FILES:
        yield _try(bench, newer, name, (older / name).read_bytes(), f"{name}: the older one's")
    first, second = ((newer / name).read_bytes() for name in FILES[:2])
    yield _try(bench, newer, FILES[0], second, f"{FILES[0]}: {FILES[1]}'s content")
    yield _try(bench, newer, FILES[1], first, f"{FILES[1]}: {FILES[0]}'s content")
    yield _try(bench, newer, FILES[2], first, f"{FILES[2]}: {FILES[0]}'s content")
    yield _renamed(bench, older, newer)


def _flip(draw: random.Random, folder: Path, case: int) -> tuple[str, bytes, str]:
    name = FILES[case % 3]
    data = bytearray((folder / name).read_bytes())
    at, bit = draw.randrange(len(data)), draw.randrange(8)
    data[at] ^= 1 << bit
    return name, bytes(data), f"{name}: bit {bit} of byte {at:,}"


def _cut(draw: random.Random, folder: Path, case: int) -> tuple[str, bytes, str]:
    name = FILES[case % 3]
    data = (folder / name).read_bytes()
    length = draw.randrange(1, len(data))
    return name, data[:length], f"{name}: cut to {length:,} bytes"


def _try(bench: Bench, newer: Path, name: str, data: bytes, what: str) -> Outcome:
    path = newer / name
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        return _noticed(bench, newer.parent, f"{newer.name}/{name}", what)
    finally:
        path.write_bytes(before)


def _renamed(bench: Bench, older: Path, newer: Path) -> Outcome:
    """The newer folder under the name of a step that it is not of."""
    wrong = newer.with_name("step_000099")
    newer.rename(wrong)
    try:
        return _noticed(bench, newer.parent, f"{wrong.name}/state.json", "a folder called as another step")
    finally:
        wrong.rename(newer)


def _noticed(bench: Bench, folder: Path, place: str, what: str) -> Outcome:
    """Whether resuming warns with the damaged file's name, and goes on from the one before."""
    config = tiny.config()
    model = SparseGPT(config.model)
    parts = {"optimizer": SparseOptimizer(model, config.train)}
    expected = sorted(int(path.name[5:]) for path in folder.iterdir())[0]
    with warnings.catch_warnings(record=True) as caught, _blind(bench.sabotage):
        warnings.simplefilter("always")
        try:
            step = latest_checkpoint(folder, model, parts).step
        except CheckpointError as error:
            return Outcome(what, False, f"refused altogether: {error}")
    said = "; ".join(str(warning.message) for warning in caught)
    if "passed over a damaged checkpoint" not in said or place not in said:
        return Outcome(what, False, f"{place} is not named: {said}")
    return Outcome(what, step == expected, f"resumed at {step}, {expected} is whole")


def _blind(sabotage: bool) -> AbstractContextManager[object]:
    """Sabotage: no hash is compared."""
    if not sabotage:
        return nullcontext()
    unsealed: Callable[..., object] = lambda data, _raw: data  # noqa: E731
    return mock.patch.multiple(
        checkpoint,
        _unsealed=unsealed,
        Checkpoint=type("Blind", (Checkpoint,), {"verify": lambda _self: None}),
    )
