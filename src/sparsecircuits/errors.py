"""The errors that a user can meet, each naming what was wrong, where, and what is allowed.

Every class derives from :class:`SparseCircuitsError`, so that the command line can tell a user's
mistake (one line, exit code 2) from a fault of ours (a traceback).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class SparseCircuitsError(Exception):
    """Base of everything that this package raises on purpose."""


class ConfigError(SparseCircuitsError, ValueError):
    """A setting that does not exist, has the wrong type, or cannot hold together with the others."""


class DataError(SparseCircuitsError, ValueError):
    """Text, tokens or shards that are missing, damaged or too small."""


class CheckpointError(SparseCircuitsError, ValueError):
    """A saved model, run or circuit that is missing, damaged or of another shape."""


class PeerFailed(SparseCircuitsError, RuntimeError):
    """Another of the processes that train together failed; it says itself why."""

    def __init__(self, rank: int, message: str) -> None:
        self.rank = rank
        super().__init__(f"process {rank} failed: {message}")


class PeerGone(SparseCircuitsError, RuntimeError):
    """Another of the processes that train together ended without a word, or does not answer."""


class SaveError(SparseCircuitsError, OSError):
    """A file that could not be written: which, and why. What was there before is as it was."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.errno = code


class OutOfMemory(SparseCircuitsError, MemoryError):
    """Memory ran out: the bytes that were asked for, doing what, and which setting takes less."""


class RunLocked(SparseCircuitsError, RuntimeError):
    """Another process trains in this folder."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: somebody, such as a cluster's scheduler, asked the program to end, as Ctrl-C does."""


NOTHING_SAVED = "nothing is saved yet"
"""What a KeyboardInterrupt that ends a training says where it is so; else at which step it is saved."""


class HubError(CheckpointError):
    """The Hugging Face Hub has no such model or revision, lets no one in, or does not answer."""


class TaskError(SparseCircuitsError, ValueError):
    """A task whose pairs do not fit: unequal lengths, candidates that are not one token, no room."""


class Place(NamedTuple):
    """Where in a file something is written.

    >>> str(Place(2, 9)), str(Place(2)), str(Place(None, 9)), str(Place())
    ('row 2 (line 9)', 'row 2', 'line 9', 'the file')
    """

    row: int | None = None
    """Which entry of the file's list, from 1; None: none of them."""
    line: int | None = None
    """Which line, from 1; None: the row's number is the line's, or the whole file is meant."""

    def __str__(self) -> str:
        if self.row is None:
            return "the file" if self.line is None else f"line {self.line}"
        return f"row {self.row}" + ("" if self.line is None else f" (line {self.line})")


class Problem(NamedTuple):
    """What is wrong at one place of a file."""

    place: Place
    reason: str


class TaskFileError(TaskError):
    """A user's task file with mistakes: all of them, a line ``FILE: row N: reason`` for each."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__("\n".join(self.lines))

    @property
    def lines(self) -> list[str]:
        """Each mistake as one line."""
        return [
            f"{self.file}: {reason}" if place == Place() else f"{self.file}: {place}: {reason}"
            for place, reason in self.problems
        ]


class PruneError(SparseCircuitsError, RuntimeError):
    """A pruning that could not be done at all (a missed target is a result, not an error)."""


def near_misses(name: str, known: Iterable[str]) -> str:
    """A sentence end for "unknown X 'name'": the closest known names, or all of them if none is close.

    >>> near_misses("exponental", ["linear", "exponential"])
    "did you mean 'exponential'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known: " + (", ".join(names) if names else "none")
