"""Hashes of the texts that were seen, exact and within a fixed memory.

A corpus of a hundred million short documents has hashes of gigabytes. They are kept in a temporary
SQLite database, which holds up to :data:`CACHE_BYTES` of itself in memory and the rest in a file that has no
name and vanishes with the process. Hashes are of 16 bytes: two different texts of one hash are not to be
expected before there are some 2**64 of them.
"""

from __future__ import annotations

import hashlib
import sqlite3

CACHE_BYTES = 32 << 20
"""The memory of :class:`Seen`, some 800,000 hashes; more of them go to disk."""


def text_digest(text: str) -> bytes:
    """The 16 bytes by which texts are compared."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class Seen:
    """A set of hashes that only grows.

    >>> seen = Seen()
    >>> seen.add(text_digest("x")), seen.add(text_digest("x"))
    (True, False)
    """

    def __init__(self) -> None:
        # The name "": a temporary file, unlinked at once.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size = -{CACHE_BYTES >> 10}")
        for setting in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")  # one transaction that never ends: nothing is to be kept

    def add(self, digest: bytes) -> bool:
        """Whether ``digest`` is new; it is in the set from now on."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,)).rowcount == 1

    def close(self) -> None:
        """Give memory and file back."""
        self._database.close()

    def __del__(self) -> None:
        self.close()
