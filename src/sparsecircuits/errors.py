"""The errors that a user can meet, each naming what was wrong, where, and what is allowed.

Every class derives from :class:`SparseCircuitsError`, so that the command line can tell a user's
mistake (one line, exit code 2) from a fault of ours (a traceback).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SparseCircuitsError(Exception):
    """Base of everything that this package raises on purpose."""


class ConfigError(SparseCircuitsError, ValueError):
    """A setting that does not exist, has the wrong type, or cannot hold together with the others."""


class DataError(SparseCircuitsError, ValueError):
    """Text, tokens or shards that are missing, damaged or too small."""


class CheckpointError(SparseCircuitsError, ValueError):
    """A saved model, run or circuit that is missing, damaged or of another shape."""


class TaskError(SparseCircuitsError, ValueError):
    """A task whose pairs do not fit: unequal lengths, candidates that are not one token, no room."""


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
