"""One text with its origin, and the account of what a source left out: what every reader of texts makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

DOCUMENT_CHARS = 8_192
"""A longer text is cut into several documents: shares and splits are only as fine as documents are."""
LINE_BYTES = 1_000_000
"""A longer line, or row of a ``.jsonl``, is skipped: it is data, not text, and would fill the memory."""
NAMED_SKIPS = 50
"""So many skips are named in a report; all are counted."""


@dataclasses.dataclass(frozen=True)
class Document:
    """One text and where it is from: a path, with row or part where it has several, or a source's name."""

    text: str
    origin: str


@dataclasses.dataclass
class SourceReport:
    """What :func:`~sparsecircuits.data.sources.read_source` left out; it fills while the source is read.

    Attributes:
        documents: how many were handed on.
        skipped: reason to count.
        named: the first :data:`NAMED_SKIPS` as "where: reason".
    """

    documents: int = 0
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    named: list[str] = dataclasses.field(default_factory=list)

    def skip(self, where: str, reason: str, count: int = 1) -> None:
        """Count one skip, or several that go by one name; the first ones are named too."""
        self.skipped[reason] = self.skipped.get(reason, 0) + count
        if len(self.named) < NAMED_SKIPS:
            self.named.append(f"{where}: {reason}")

    def __str__(self) -> str:
        counts = ", ".join(f"{count} × {reason}" for reason, count in self.skipped.items())
        return counts or "nothing skipped"


class Cutter:
    """Joins whole lines to documents of at most :data:`DOCUMENT_CHARS`; one longer line is one itself.

    >>> cutter = Cutter("a.txt")
    >>> [document.origin for document in (*cutter.add("one\\ntwo\\n"), *cutter.end())]
    ['a.txt']
    """

    def __init__(self, origin: str, limit: int | None = None) -> None:
        self._origin = origin
        self._limit = limit or DOCUMENT_CHARS
        self._rest = ""
        self._parts = 0

    def add(self, lines: str) -> Iterator[Document]:
        """Take lines, each whole but perhaps the file's last; hand on what is a whole document now."""
        text = self._rest + lines
        start = 0
        while len(text) - start > self._limit:
            end = text.rfind("\n", start, start + self._limit) + 1
            if end <= start:  # the line alone is longer
                end = text.find("\n", start) + 1 or len(text)
            self._parts += 1
            if not (part := text[start:end]).isspace():
                yield Document(part, f"{self._origin}, part {self._parts}")
            start = end
        self._rest = text[start:]

    def end(self) -> Iterator[Document]:
        """Hand on what is left."""
        if self._rest and not self._rest.isspace():
            yield Document(
                self._rest, f"{self._origin}, part {self._parts + 1}" if self._parts else self._origin
            )
        self._rest = ""


def cut(text: str, origin: str) -> Iterator[Document]:
    """A whole text as documents."""
    cutter = Cutter(origin)
    yield from cutter.add(text)
    yield from cutter.end()
