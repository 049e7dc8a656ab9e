"""The reader's batches are those of ``batch``, whatever is read ahead, divided or resumed (R4)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from sparsecircuits.data import BatchReader, batch
from sparsecircuits.errors import ConfigError, DataError

TOKENS = (np.arange(20_000, dtype=np.uint32) * 2_654_435_761 % 1021).astype(np.uint16)
SEED, ROWS, N_CTX, FIRST, LAST = 5, 8, 16, 30, 42

CASES = [(ahead, world) for ahead in (0, 2, 4) for world in (1, 2, 4)]
"""R4's nine: batches made ahead, and processes that share a step's rows."""


def stream_hash(ahead: int, world: int) -> str:
    """sha256 of the tokens of steps 30 to 41, read by ``world`` readers, other random numbers being drawn."""
    readers = [
        BatchReader(
            TOKENS,
            seed=SEED,
            rows=ROWS,
            n_ctx=N_CTX,
            first_step=FIRST,
            last_step=LAST,
            ahead=ahead,
            rank=rank,
            world=world,
        )
        for rank in range(world)
    ]
    digest = hashlib.sha256()
    for shares in zip(*readers, strict=True):
        torch.rand(3)
        digest.update(torch.cat(shares).numpy().tobytes())
    for reader in readers:
        reader.close()
    return digest.hexdigest()


@pytest.fixture(scope="module")
def expected() -> str:
    digest = hashlib.sha256()
    for step in range(FIRST, LAST):
        digest.update(batch(TOKENS, seed=SEED, step=step, rows=ROWS, n_ctx=N_CTX).numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def other_process() -> dict[str, str]:
    """The nine hashes in a process with another hash seed, and other seeds of all generators."""
    code = (
        "import json, random, numpy, torch; random.seed(9); torch.manual_seed(9); numpy.random.seed(9)\n"
        "from tests.data.test_reader import CASES, stream_hash\n"
        "print(json.dumps({f'{a} {w}': stream_hash(a, w) for a, w in CASES}))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "4242", "PYTHONPATH": os.pathsep.join([".", *sys.path])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(("ahead", "world"), CASES)
def test_the_stream_is_the_same(ahead: int, world: int, expected: str, other_process: dict[str, str]):
    assert stream_hash(ahead, world) == expected
    assert other_process[f"{ahead} {world}"] == expected


def test_the_shares_in_order_are_the_batch():
    whole = batch(TOKENS, seed=1, step=0, rows=6, n_ctx=4)
    shares = [
        next(BatchReader(TOKENS, seed=1, rows=6, n_ctx=4, rank=rank, world=3, ahead=0)) for rank in range(3)
    ]
    assert [share.shape for share in shares] == [(2, 5)] * 3
    assert torch.equal(torch.cat(shares), whole)


def test_it_ends_and_stays_ended():
    for ahead in (0, 1, 5):
        with BatchReader(TOKENS, seed=0, rows=2, n_ctx=4, first_step=3, last_step=6, ahead=ahead) as reader:
            assert len(list(reader)) == 3
            assert reader.taken == 3
            assert list(reader) == []
    with BatchReader(TOKENS, seed=0, rows=2, n_ctx=4, first_step=6, last_step=6) as reader:
        assert list(reader) == []


def readers_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_leaving_it_ends_the_thread():
    with BatchReader(TOKENS, seed=0, rows=2, n_ctx=4) as reader:  # without end
        next(reader)
        assert readers_threads()
    assert readers_threads() == []
    with pytest.raises(StopIteration):
        next(reader)
    reader.close()


class Damaged(np.ndarray):
    """Tokens that cannot be read, as those of a file on a disk that fails."""

    def __getitem__(self, index: object) -> np.ndarray:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_in_the_thread_is_raised_where_the_batch_is_asked_for(ahead: int):
    reader = BatchReader(TOKENS.view(Damaged), seed=0, rows=2, n_ctx=4, ahead=ahead)
    with pytest.raises(OSError, match="Input/output error"):
        next(reader)
    assert readers_threads() == []
    with pytest.raises(StopIteration):
        next(reader)


def slowly(rows: torch.Tensor) -> torch.Tensor:
    time.sleep(0.05)
    return rows


def steps(reader: BatchReader, seconds: float) -> Iterator[None]:
    for _ in reader:
        time.sleep(seconds)
        yield


def test_waiting_is_counted():
    """A batch takes 50 ms. Steps of 80 ms wait for the first one only; steps of 0 ms wait for each."""
    settings = {"seed": 0, "rows": 2, "n_ctx": 4, "last_step": 6, "prepare": slowly}
    with BatchReader(TOKENS, **settings) as reader:
        assert len(list(steps(reader, 0.08))) == 6
        assert 0.02 < reader.waited < 0.25
    with BatchReader(TOKENS, **settings) as reader:
        assert len(list(steps(reader, 0.0))) == 6
        assert reader.waited > 0.25
    with BatchReader(TOKENS, ahead=0, **settings) as reader:
        assert len(list(steps(reader, 0.08))) == 6
        assert reader.waited > 0.29


def test_no_more_is_made_than_is_asked_for():
    made = []

    def count(rows: torch.Tensor) -> torch.Tensor:
        made.append(1)
        return rows

    with BatchReader(TOKENS, seed=0, rows=2, n_ctx=4, ahead=3, prepare=count) as reader:
        next(reader)
        time.sleep(0.2)
        assert len(made) == 4  # the one that was taken, and three


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 6, "world": 4}, "6 rows cannot be divided evenly on 4 processes"),
        ({"rows": 0}, "0 rows cannot"),
        ({"rank": 2, "world": 2}, "rank 2: 2 processes are numbered from 0 to 1"),
        ({"ahead": -1}, "ahead is -1"),
        ({"first_step": -1}, "first_step -1"),
    ],
)
def test_what_cannot_be_is_refused_at_once(changes: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        BatchReader(TOKENS, **{"seed": 0, "rows": 4, "n_ctx": 4, **changes})


def test_too_few_tokens_are_refused_at_once():
    with pytest.raises(DataError, match="16 tokens; a context of 16 needs at least 17"):
        BatchReader(TOKENS[:16], seed=0, rows=1, n_ctx=16)
