"""Text files, plain or compressed, as documents; never more than a block is in memory.

In goes a path, out come documents. Steps:

1. the file is read, and unpacked where its name ends in ``.gz`` or ``.zst``, 256 kB at a time;
2. it is cut into blocks of whole lines; a line longer than :data:`~sparsecircuits.data.reports.LINE_BYTES` is
   left out and named, and never held whole;
3. blocks become text (UTF-8; a byte order mark is dropped and counted, ``\\r\\n`` becomes ``\\n``), and text
   is cut at a line's end into documents. :mod:`~sparsecircuits.data.rows` makes rows of blocks.

What is no text ends its file, named with the byte at which that shows; what came before stays.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sparsecircuits.data import reports
from sparsecircuits.data.extras import import_extra
from sparsecircuits.data.reports import Cutter, Document, SourceReport

PACKED = (".gz", ".zst")
"""Endings of compressed files; the kind is told by the ending before."""
BYTE_ORDER_MARK = "byte order mark, dropped"
LONG_LINE = f"line longer than {reports.LINE_BYTES:,} bytes"
_CHUNK = 1 << 18
_GZ_PIECE = 1 << 13  # of which nothing is left where it is damaged
_ZST_CHUNK = 1 << 10  # which can hold 32 MB of one repeated byte
MARK = b"\xef\xbb\xbf"


class NotText(Exception):
    """A file that turns out to be no text; the message is the reason."""

    def __init__(self, reason: str, byte: int | None = None) -> None:
        super().__init__(reason)
        self.byte = byte


class Block(NamedTuple):
    """Some whole lines of a file."""

    line: int
    """The number of the first one, from 1."""
    byte: int
    """Where it starts, counted in the unpacked file."""
    content: bytes | None
    """None: one line that is too long."""


def kind_of(path: Path) -> str:
    """The ending that tells what is in a file: that before ``.gz`` or ``.zst``.

    >>> kind_of(Path("rows.jsonl.gz")), kind_of(Path("a.py"))
    ('.jsonl', '.py')
    """
    return Path(path.stem).suffix if path.suffix in PACKED else path.suffix


def read_text_file(path: Path, report: SourceReport, origin: str | None = None) -> Iterator[Document]:
    """The documents of one text file."""
    origin = origin or str(path)
    left_out = sum(report.skipped.values())
    found = False
    cutter = Cutter(origin)
    try:
        for block in blocks(path):
            if block.content is None:
                report.skip(f"{origin}, line {block.line}", LONG_LINE)
                continue
            content, byte = block.content, block.byte
            if byte == 0 and content.startswith(MARK):
                report.skip(origin, BYTE_ORDER_MARK)
                left_out += 1
                content, byte = content[len(MARK) :], len(MARK)
            text, problem = _decoded(content, byte)
            for document in cutter.add(text):
                found = True
                yield document
            if problem is not None:
                raise problem
    except OSError:
        report.skip(origin, "cannot be read")
    except NotText as error:
        report.skip(origin if error.byte is None else f"{origin}, byte {error.byte:,}", str(error))
    for document in cutter.end():  # the whole lines before the damage, too
        found = True
        yield document
    if not found and sum(report.skipped.values()) == left_out:
        report.skip(origin, "empty")


def _decoded(content: bytes, byte: int) -> tuple[str, NotText | None]:
    """The text of whole lines, up to the line in which it turns out to be none."""
    problem = None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        problem = NotText("not UTF-8", byte + error.start)
        text = content[: content.rfind(b"\n", 0, error.start) + 1].decode()
    if (nul := text.find("\0")) >= 0:
        before = text[:nul]
        problem = NotText("holds NUL bytes", byte + len(before.encode()))
        text = before[: before.rfind("\n") + 1]
    return text.replace("\r\n", "\n"), problem


def blocks(path: Path) -> Iterator[Block]:
    """Blocks of at least a chunk, if there is so much, and of whole lines."""
    line, byte = 1, 0
    rest = b""
    dropped = 0  # bytes so far of a line that is too long
    for chunk in _chunks(path):
        end = chunk.rfind(b"\n") + 1
        if dropped:
            start = chunk.find(b"\n") + 1
            if start == 0:
                dropped += len(chunk)
                continue
            yield Block(line, byte, None)
            line, byte, dropped = line + 1, byte + dropped + start, 0
            chunk, end = chunk[start:], end - start
        if end == 0:
            rest += chunk
            if len(rest) > reports.LINE_BYTES:
                rest, dropped = b"", len(rest)
            continue
        content, rest = rest + chunk[:end], chunk[end:]
        yield from _without_long_lines(Block(line, byte, content))
        line, byte = line + content.count(b"\n"), byte + len(content)
    if dropped:
        yield Block(line, byte, None)
    elif rest:
        yield from _without_long_lines(Block(line, byte, rest))


def _without_long_lines(block: Block) -> Iterator[Block]:
    """The block itself; in parts where a line of it is too long."""
    content = block.content or b""
    if len(content) <= reports.LINE_BYTES:
        yield block
        return
    line, byte = block.line, block.byte
    kept: list[bytes] = []
    for raw in _lines(content):
        if len(raw) > reports.LINE_BYTES:
            yield Block(line, byte, b"".join(kept))
            line, byte = line + len(kept), byte + sum(map(len, kept))
            kept = []
            yield Block(line, byte, None)
            line, byte = line + 1, byte + len(raw)
        else:
            kept.append(raw)
    yield Block(line, byte, b"".join(kept))


def _lines(content: bytes) -> list[bytes]:
    parts = content.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _chunks(path: Path) -> Iterator[bytes]:
    """The file's content, unpacked.

    Raises:
        NotText: a compressed file is damaged or cut off.
        OSError: it cannot be read.
    """
    pieces = {".zst": _zst_pieces, ".gz": _gz_pieces}.get(path.suffix, _plain_pieces)(path)
    parts: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            parts.append(piece)
            size += len(piece)
            if size >= _CHUNK:
                yield b"".join(parts)
                parts, size = [], 0
    except (NotText, OSError) as error:
        problem: Exception | None = error
    else:
        problem = None
    if size:
        yield b"".join(parts)  # what came before the damage
    if problem is not None:
        raise problem


def _plain_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


def _gz_pieces(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) as file:
            while piece := file.read1(_GZ_PIECE):
                yield piece
    except EOFError:
        raise NotText("a .gz that is cut off") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise NotText(f"a damaged .gz ({error})") from error


def _zst_pieces(path: Path) -> Iterator[bytes]:
    zstandard = import_extra("zstandard", str(path))
    unpacker = None
    try:
        with path.open("rb") as file:
            while packed := file.read(_ZST_CHUNK):
                while packed:
                    unpacker = unpacker or zstandard.ZstdDecompressor().decompressobj()
                    yield unpacker.decompress(packed)
                    packed = unpacker.unused_data if unpacker.eof else b""
                    unpacker = None if unpacker.eof else unpacker
    except zstandard.ZstdError as error:
        raise NotText(f"a damaged .zst ({error})") from error
    if unpacker is not None:
        raise NotText("a .zst that is cut off")
