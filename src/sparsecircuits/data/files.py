"""The record by which damage to a file is noticed; whole files, and locked folders."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from sparsecircuits.config import Config
from sparsecircuits.errors import DataError
from sparsecircuits.files import written

__all__ = ["FileRecord", "locked", "written"]

_CHUNK = 1 << 22


@contextlib.contextmanager
def locked(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Have a folder for oneself among the processes that ask for it in this way; wait for it if need be.

    The lock is the system's and ends with the process, however that ends. Where a system or a file system
    has none, nothing is locked.

    Args:
        folder: exists.
        waiting: called once before waiting for another process.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks, such as some over a network
            pass
        yield
    finally:
        os.close(handle)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileRecord(Config):
    """Size and hash of a file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path, report: Callable[[int], None] | None = None) -> Self:
        """The record of the file as it is now; ``report`` hears how many bytes were read."""
        digest, done = hashlib.sha256(), 0
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                done += len(chunk)
                if report is not None:
                    report(done)
        return cls(bytes=done, sha256=digest.hexdigest())

    def check_size(self, path: Path) -> None:
        """Raise :class:`DataError` unless ``path`` is a file of this size."""
        if not path.is_file():
            raise DataError(f"{path}: missing")
        size = path.stat().st_size
        if size != self.bytes:
            raise DataError(f"{path}: {size} bytes; {self.bytes} were written")

    def check(self, path: Path, report: Callable[[int], None] | None = None) -> None:
        """Raise :class:`DataError` unless ``path`` has this size and hash."""
        self.check_size(path)
        found = FileRecord.of(path, report).sha256
        if found != self.sha256:
            raise DataError(f"{path}: damaged: sha256 {found[:12]}…; {self.sha256[:12]}… was written")
