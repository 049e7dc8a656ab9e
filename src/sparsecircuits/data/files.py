"""The record by which damage to a file is noticed; and files that are there whole or not at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Self

from sparsecircuits.config import Config
from sparsecircuits.errors import DataError
from sparsecircuits.files import sha256_of, written

__all__ = ["FileRecord", "written"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileRecord(Config):
    """Size and hash of a file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """The record of the file as it is now."""
        return cls(bytes=path.stat().st_size, sha256=sha256_of(path))

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
