"""Files that are there whole or not at all, and the record by which damage is noticed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from sparsecircuits.config import Config
from sparsecircuits.errors import DataError


@contextlib.contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write; it takes its name, flushed to disk, only when the block ends well.

    Two processes that write the same file at once do not disturb each other: the last one stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileRecord(Config):
    """Size and hash of a file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """The record of the file as it is now."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(bytes=path.stat().st_size, sha256=digest)

    def check(self, path: Path) -> None:
        """Raise :class:`DataError` unless ``path`` has this size and hash."""
        if not path.is_file():
            raise DataError(f"{path}: missing")
        size = path.stat().st_size
        if size != self.bytes:
            raise DataError(f"{path}: {size} bytes; {self.bytes} were written")
        found = FileRecord.of(path).sha256
        if found != self.sha256:
            raise DataError(f"{path}: damaged: sha256 {found[:12]}…; {self.sha256[:12]}… was written")
