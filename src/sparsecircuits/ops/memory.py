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


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds for this process; returns whether it took (glibc on Linux only)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    blocks = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _BLOCK_SIZES)
    return blocks and bool(mallopt(_M_TRIM_THRESHOLD, _LARGE))
