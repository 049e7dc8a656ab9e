"""R4 and R12: the data reader's stream is one and the same, and damaged data is named or counted."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from unittest import mock

from sparsecircuits.data import batch
from sparsecircuits.data.files import FileRecord
from tests.data import test_damaged, test_reader
from tests.faults.forks import Outcome
from tests.faults.tiny import Bench


def one_stream(bench: Bench, count: int) -> Iterator[Outcome]:
    """R4: batches made 0, 2 or 4 ahead, for 1, 2 or 4 processes; against plain batches."""
    digest = hashlib.sha256()
    shape = {"rows": test_reader.ROWS, "n_ctx": test_reader.N_CTX}
    for step in range(test_reader.FIRST, test_reader.LAST):
        seed = test_reader.SEED + int(bench.sabotage)
        digest.update(batch(test_reader.TOKENS, seed=seed, step=step, **shape).numpy().tobytes())
    for ahead, world in test_reader.CASES[:count]:
        same = test_reader.stream_hash(ahead, world) == digest.hexdigest()
        yield Outcome(f"{ahead} batches ahead, {world} processes", same, "another stream")


def damaged_data(bench: Bench, count: int) -> Iterator[Outcome]:
    """R12: the twelve cases of damaged data, each of which raises where the damage stays silent."""
    for number, (name, case) in enumerate(list(test_damaged.CASES.items())[:count]):
        folder = bench.new(f"data-{number}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            with _trusting(bench.sabotage):
                case(folder)
        except AssertionError as error:
            yield Outcome(name, False, str(error))
        else:
            yield Outcome(name, True)


def _trusting(sabotage: bool) -> AbstractContextManager[object]:
    """Sabotage: whatever the manifest says of a file is taken to be so."""
    if not sabotage:
        return nullcontext()
    return mock.patch.multiple(FileRecord, check=mock.DEFAULT, check_size=mock.DEFAULT)
