"""Named sources of text, each a stream of documents in an order that depends on the seed only.

====================  =========================================================================
``idioms``            small Python files of simple, repetitive idioms, made up without end
``stories``           simple stories in plain English, made up without end
``stdlib``            the source code of the running interpreter's standard library
a folder              every ``.py`` and ``.txt`` file below it (hidden and cache folders left out)
a ``.jsonl`` file     one JSON object a line; the text is its field ``text``
a ``.py``/``.txt``    that one file
====================  =========================================================================

What is read, for files:

1. the files are listed by name, then shuffled by the seed (a ``.jsonl`` keeps its order);
2. a file is read line by line as UTF-8; a byte order mark is dropped, ``\\r\\n`` becomes ``\\n``;
3. a text longer than :data:`DOCUMENT_CHARS` is cut at a line's end into several documents, so that
   one large file can still be mixed and divided, and nothing large is ever held in memory;
4. what cannot be read is skipped, counted and named in the :class:`SourceReport`; a source in which
   nothing is left is an error.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from sparsecircuits.errors import DataError, near_misses

ENDLESS_SOURCES = ("idioms", "stories")
"""Made up by the program, from the seed alone."""
MADE_SOURCES = (*ENDLESS_SOURCES, "stdlib")
TEXT_SUFFIXES = (".py", ".txt")
DOCUMENT_CHARS = 8_192
"""A longer text is cut into several documents: shares and splits are only as fine as documents are."""
LINE_BYTES = 1_000_000
"""A longer line, or row of a ``.jsonl``, is skipped: it is data, not text, and would fill the memory."""
NAMED_SKIPS = 50
"""So many skips are named in a report; all are counted."""

_STDLIB_SKIPPED_FOLDERS = frozenset(
    ("test", "tests", "idle_test", "turtledemo")  # not how programs are written
    + ("site-packages", "dist-packages", "lib-dynload")  # not the standard library, or not Python
    + ("lib2to3", "pydoc_data", "encodings")  # grammars and tables
)
_STDLIB_FILE_BYTES = 300_000


@dataclasses.dataclass(frozen=True)
class Document:
    """One text and where it is from: a path, with row or part where it has several, or a source's name."""

    text: str
    origin: str


@dataclasses.dataclass
class SourceReport:
    """What :func:`read_source` left out; it fills while the source is read.

    Attributes:
        documents: how many were handed on.
        skipped: reason to count.
        named: the first :data:`NAMED_SKIPS` as "where: reason".
    """

    documents: int = 0
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    named: list[str] = dataclasses.field(default_factory=list)

    def skip(self, where: str, reason: str) -> None:
        """Count one skip; the first ones are named too."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        if len(self.named) < NAMED_SKIPS:
            self.named.append(f"{where}: {reason}")

    def __str__(self) -> str:
        counts = ", ".join(f"{count} × {reason}" for reason, count in self.skipped.items())
        return counts or "nothing skipped"


def read_source(spec: str, seed: int, report: SourceReport | None = None) -> Iterator[Document]:
    """The documents of a source: a pure function of the source's content and ``seed``.

    Args:
        spec: ``idioms``, ``stories`` (these never end), ``stdlib``, or a path (see the table on top). A
            folder that bears the name of a made source is given as ``./idioms``.
        seed: chooses the idioms and stories, and the order of files.
        report: filled with what is skipped.

    Raises:
        DataError: at once for a source that does not exist or is of no known kind; at the end of the
            stream where it held no document at all, with the reasons.
    """
    report = report if report is not None else SourceReport()
    check_source(spec)
    return _counted(_open_source(spec, seed, report), spec, report)


def check_source(spec: str) -> None:
    """Raise :class:`DataError` unless ``spec`` names a source that exists."""
    if spec in MADE_SOURCES:
        return
    path = Path(spec)
    if not path.exists():
        hint = near_misses(spec, MADE_SOURCES)
        raise DataError(f"source {spec!r}: no such file or folder, and no made source; {hint}")
    if path.is_file() and path.suffix not in (*TEXT_SUFFIXES, ".jsonl"):
        raise DataError(f"source {spec!r}: a file of kind {path.suffix!r}; allowed: .py, .txt, .jsonl")


def _open_source(spec: str, seed: int, report: SourceReport) -> Iterator[Document]:
    if spec == "idioms":
        from sparsecircuits.data.idioms import endless_idioms

        return (Document(text, "idioms") for text in endless_idioms(seed))
    if spec == "stories":
        from sparsecircuits.data.stories import endless_stories

        return (Document(text, "stories") for text in endless_stories(seed))
    if spec == "stdlib":
        return _read_stdlib(seed, report)
    path = Path(spec)
    if path.is_dir():
        return _read_files(_listed(path, TEXT_SUFFIXES, report), seed, report)
    if path.suffix == ".jsonl":
        return _read_jsonl(path, report)
    return _read_file(path, report)


def _counted(documents: Iterable[Document], spec: str, report: SourceReport) -> Iterator[Document]:
    for document in documents:
        report.documents += 1
        yield document
    if report.documents == 0:
        named = "".join(f"\n  {line}" for line in report.named[:5])
        raise DataError(f"source {spec!r}: no text in it ({report}){named}")


def _read_stdlib(seed: int, report: SourceReport) -> Iterator[Document]:
    """The interpreter's own modules; origins are relative, so that they read the same on any machine."""
    root = Path(sysconfig.get_path("stdlib"))
    files = []
    for path in _listed(root, (".py",), report, _STDLIB_SKIPPED_FOLDERS):
        if path.name.startswith("_sysconfigdata") or path.stat().st_size > _STDLIB_FILE_BYTES:
            report.skip(f"stdlib/{path.relative_to(root).as_posix()}", "a table, not code")
        else:
            files.append(path)
    return _read_files(files, seed, report, root)


def _read_files(
    files: list[Path], seed: int, report: SourceReport, root: Path | None = None
) -> Iterator[Document]:
    files = list(files)
    random.Random(seed).shuffle(files)
    for path in files:
        origin = f"stdlib/{path.relative_to(root).as_posix()}" if root else str(path)
        yield from _read_file(path, report, origin)


def _listed(
    folder: Path, suffixes: tuple[str, ...], report: SourceReport, without: frozenset[str] = frozenset()
) -> list[Path]:
    """The files below ``folder``, by name. Links to folders are not followed: no file comes twice."""
    found = []

    def unreadable(error: OSError) -> None:
        report.skip(str(error.filename), "cannot be read")

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        hidden = {name for name in folders if name.startswith(".") or name == "__pycache__"}
        folders[:] = sorted(set(folders) - hidden - without)
        found += [Path(parent, name) for name in sorted(files) if Path(name).suffix in suffixes]
    return found


def _read_file(path: Path, report: SourceReport, origin: str | None = None) -> Iterator[Document]:
    """One text file; where a line is no text, the part before it that is complete has been handed on."""
    origin = origin or str(path)
    skips_before = sum(report.skipped.values())
    found = False
    try:
        with path.open("rb") as file:
            for document in _cut(_text_lines(file, origin, report), origin):
                found = True
                yield document
    except OSError:
        report.skip(origin, "cannot be read")
    except _NotText as error:
        report.skip(origin, str(error))
    if not found and sum(report.skipped.values()) == skips_before:
        report.skip(origin, "empty")


class _NotText(Exception):
    """A file that turns out to be no text; the message is the reason."""


def _text_lines(file: BinaryIO, origin: str, report: SourceReport) -> Iterator[str]:
    for number, raw in _raw_lines(file):
        if raw is None:
            report.skip(f"{origin}, line {number}", f"line longer than {LINE_BYTES:,} bytes")
            continue
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise _NotText("not UTF-8") from None
        if "\0" in line:
            raise _NotText("holds NUL bytes")
        yield line.replace("\r\n", "\n")


def _raw_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines, from 1; ``None`` stands for one that is too long, which is never held whole."""
    number = 0
    while raw := file.readline(LINE_BYTES + 1):
        number += 1
        if len(raw) <= LINE_BYTES:
            yield number, raw
            continue
        while raw and not raw.endswith(b"\n"):
            raw = file.readline(LINE_BYTES)
        yield number, None


def _cut(lines: Iterable[str], origin: str) -> Iterator[Document]:
    """Join lines to documents of at most :data:`DOCUMENT_CHARS` (one longer line is a document itself)."""
    part: list[str] = []
    size = parts = 0
    for line in lines:
        if part and size + len(line) > DOCUMENT_CHARS:
            parts += 1
            if text := _nonempty(part):
                yield Document(text, f"{origin}, part {parts}")
            part, size = [], 0
        part.append(line)
        size += len(line)
    if text := _nonempty(part):
        yield Document(text, f"{origin}, part {parts + 1}" if parts else origin)


def _nonempty(lines: list[str]) -> str:
    text = "".join(lines)
    return "" if text.isspace() else text


def _read_jsonl(path: Path, report: SourceReport) -> Iterator[Document]:
    try:
        with path.open("rb") as file:
            for number, raw in _raw_lines(file):
                origin = f"{path}, row {number}"
                if raw is None:
                    report.skip(origin, f"row longer than {LINE_BYTES:,} bytes")
                elif raw.strip():  # an empty line is no row
                    yield from _read_row(raw, origin, report)
    except OSError:
        report.skip(str(path), "cannot be read")


def _read_row(raw: bytes, origin: str, report: SourceReport) -> Iterator[Document]:
    try:
        row = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return report.skip(origin, "not UTF-8")
    except (ValueError, RecursionError):
        return report.skip(origin, "not JSON")
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        return report.skip(origin, 'no field "text" with a text in it')
    if not text or text.isspace():
        return report.skip(origin, "empty")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return report.skip(origin, "holds NUL characters or lone surrogates")
    yield from _cut(text.replace("\r\n", "\n").splitlines(keepends=True), origin)
