"""Which large files of a corpus were found whole, so that opening it again need not read gigabytes.

``checked.json`` in the corpus' folder holds, for each such file, the hash that it was found to have and what
the file system then said of it: size, inode, and the times of its last change of content and of name. While
all of these stay, the file is taken to be what it was; a write, a copy over it or a restored time stamp shows
in at least one. Damage below the file system does not: delete ``checked.json`` to have everything read again.

Files below :data:`SMALLEST` bytes are read every time. A file that was changed in the last two seconds is not
noted, as a second change might bear the same time.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from sparsecircuits.data.files import FileRecord, written

CHECKED = "checked.json"
SMALLEST = 64 << 20
_SETTLED_NS = 2_000_000_000


class Checked:
    """The notes of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened_ns = time.time_ns()
        self._notes: dict[str, dict[str, object]] = {}
        with contextlib.suppress(OSError, ValueError):
            notes = json.loads((folder / CHECKED).read_text(encoding="utf-8"))
            self._notes = notes if isinstance(notes, dict) else {}

    def knows(self, name: str, record: FileRecord) -> bool:
        """Whether the file was found to have this hash, and has not been touched since."""
        return record.bytes >= SMALLEST and self._notes.get(name) == self._note(name, record)

    def note(self, names_to_records: dict[str, FileRecord]) -> None:
        """Note files that were read and found whole since this object was made."""
        notes = {
            name: self._note(name, record)
            for name, record in names_to_records.items()
            if record.bytes >= SMALLEST and self._settled(name)
        }
        if not notes or notes == self._notes:
            return
        with contextlib.suppress(OSError), written(self._folder / CHECKED) as file:  # it may be read-only
            file.write((json.dumps(notes, indent=2) + "\n").encode())

    def _note(self, name: str, record: FileRecord) -> dict[str, object]:
        stat = (self._folder / name).stat()
        times = {"changed_ns": stat.st_mtime_ns, "touched_ns": stat.st_ctime_ns}
        return {"sha256": record.sha256, "bytes": stat.st_size, "inode": stat.st_ino, **times}

    def _settled(self, name: str) -> bool:
        stat = (self._folder / name).stat()
        return max(stat.st_mtime_ns, stat.st_ctime_ns) < self._opened_ns - _SETTLED_NS
