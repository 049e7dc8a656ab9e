"""Tell the C library to keep freed memory, so that large tensors do not page-fault anew every time.

By default glibc gives blocks above 128 kB back to the kernel when they are freed; every large tensor
then costs a page fault for each 4 kB on its first write, several times the cost of the operation
itself. Commands and worker processes ask once, for their own process, to keep them.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE = 2**31 - 1
#: Blocks of up to so many bytes stay; glibc below 2.35 refuses more than the second.
_BLOCK_SIZES = (2**30, 2**25)
#: Larger blocks go back at once where freed memory is not to be kept.
_RETURNED = 2**18


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds for this process; returns whether it took (glibc on Linux only)."""
    return any(_limit(size) for size in _BLOCK_SIZES) and _set(_M_TRIM_THRESHOLD, _LARGE)


def return_freed_memory() -> bool:
    """Have this process give large blocks back as soon as they are freed; whether it took.

    It holds no more than it uses then, and is much slower. Memory that is kept gets cut into pieces that fit
    nothing else, so that a process holds half as much again as it uses.
    """
    return _limit(_RETURNED)


def release_freed_memory() -> bool:
    """Give all freed memory back to the system, once; whether there was any to give."""
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))


def _limit(size: int) -> bool:
    """Blocks of up to ``size`` bytes stay when they are freed."""
    return _set(_M_MMAP_THRESHOLD, size)


def _set(setting: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(setting, value))
