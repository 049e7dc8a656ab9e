"""Faults of a disk, made to order (``shim.c``): built when needed, preloaded, set from inside a process."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("shim.c")
WRITE, FLUSH, RENAME, OPEN = 1, 2, 4, 8
FAIL, KILL, SHORT = 1, 2, 3


class Fault(NamedTuple):
    """What is to go wrong, in which calls, after how many bytes written below which paths."""

    path: str
    calls: int
    action: int
    error: int = 0
    after: int = 0
    once: bool = False

    def set(self) -> None:
        """Let it happen in this process from now on."""
        _library().fault_set(
            self.path.encode(), self.calls, self.action, self.error, ctypes.c_long(self.after), int(self.once)
        )


def counted() -> int:
    """Bytes that were written below the fault's paths since it was set, and other calls."""
    return int(_library().fault_bytes())


def fired() -> int:
    """How often something failed since the fault was set."""
    return int(_library().fault_fired())


def available() -> bool:
    """Whether it can be built here: it takes Linux and a C compiler."""
    return sys.platform == "linux" and shutil.which("cc") is not None


def preloaded() -> bool:
    """Whether this process has it."""
    return hasattr(ctypes.CDLL(None), "fault_set")


def environment(folder: Path) -> dict[str, str]:
    """What a process needs to have it preloaded; it is built in ``folder``."""
    library = folder / "shim.so"
    if not library.exists():
        subprocess.run(
            ["cc", "-O1", "-Wall", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True
        )
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def scratch() -> Path:
    """A new folder, in memory where there is room for that."""
    shm = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="faults-", dir=shm if os.access(shm, os.W_OK) else None))


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.fault_bytes.restype = library.fault_fired.restype = ctypes.c_long
    return library
