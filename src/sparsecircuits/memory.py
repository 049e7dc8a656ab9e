"""Out of memory, in words that help: the bytes asked for, and the setting that takes less.

``with memory_advice("training", "fewer rows at once"):`` turns what torch (on a CPU or a GPU), numpy or
Python raise when memory runs out into :class:`~sparsecircuits.errors.OutOfMemory`; other errors go through.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from sparsecircuits.errors import ConfigError, OutOfMemory

#: "you tried to allocate 4096 bytes" (torch, CPU), "Tried to allocate 2.00 GiB" (torch, GPU),
#: "Unable to allocate 1.5 MiB" (numpy).
_ASKED = re.compile(r"(?:tried|unable) to allocate ([\d.]+) (bytes|[KMGT]iB)", re.IGNORECASE)
_UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_NO_MEMORY = re.compile(r"out of memory|not enough memory|can't allocate memory|bad_alloc", re.IGNORECASE)


@contextlib.contextmanager
def memory_advice(doing: str, knob: str) -> Iterator[None]:
    """Turn running out of memory inside the block into :class:`OutOfMemory`.

    Args:
        doing: what the block does: ``training``.
        knob: what takes less: ``a smaller --batch``.
    """
    try:
        yield
    except OutOfMemory:
        raise
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        asked = bytes_asked(error)
        what = "" if asked is None else f", with {asked:,} bytes asked for"
        raise OutOfMemory(f"out of memory in {doing}{what}; less is taken by {knob}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: a CPU's, which torch says with a RuntimeError, or a GPU's."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def bytes_asked(error: BaseException) -> int | None:
    """How many bytes were asked for in vain, where the error says so.

    >>> bytes_asked(MemoryError("Unable to allocate 1.50 MiB for an array"))
    1572864
    """
    found = _ASKED.search(str(error))
    return None if found is None else int(float(found[1]) * _UNITS[found[2].lower()])


def require_room(needed: int, what: str) -> None:
    """Raise :class:`ConfigError` if this machine has not so many bytes of memory at all."""
    there = total_memory()
    if there is not None and needed > there:
        raise ConfigError(f"{what} takes {needed:,} bytes; this machine has {there:,} bytes of memory")


def total_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on every system
        return None
