"""A corpus that is being built: what a kill leaves behind, and what of it still holds when building goes on.

While a corpus is built its folder has a folder ``building``::

    order.json               the config; that of another order is thrown away
    tokenizer-HASH.json      the tokenizer trained on the sample of this hash
    train.bin, val.bin       the tokens so far
    journal                  a line for each part: the line's own hash, then as JSON the hash of the part's
                             texts, the tokens of each document, and what it added to the two files

Building that goes on reads the sources again, which is quick beside encoding them, and compares, part
by part: while the texts are the same as in the journal, and the bytes in the files too, a part is taken as
it is. From the first that differs, or was not finished, parts are encoded. So the result is what it would be
without the kill, even where a source has changed since or a file was damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from sparsecircuits.data.corpus import SHARDS
from sparsecircuits.data.files import FileRecord, written
from sparsecircuits.data.manifest import DataConfig
from sparsecircuits.data.mix import Split
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import DataError

FORMAT = 1
_ORDER = "order.json"
_JOURNAL = "journal"


class Part(NamedTuple):
    """One line of the journal."""

    texts: str
    """Hash of the documents, their sources and splits, and the tokenizer."""
    lengths: Sequence[int]
    """Tokens of each document, <|endoftext|> included, before any cut."""
    added: dict[str, int]
    """Split to how many bytes."""
    hashes: dict[str, str]
    """Split to their hash."""


class Halfway:
    """The files of a half-built corpus, open to go on. A context manager that closes them."""

    def __init__(self, folder: Path, config: DataConfig) -> None:
        """Go on with what is in ``folder``, if it is of the same order, or begin.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder = folder
        order = json.dumps({"format": FORMAT, "config": config.to_dict()}, sort_keys=True)
        if not _has(folder / _ORDER, order):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            with written(folder / _ORDER) as file:
                file.write(order.encode())
        self._files: dict[Split, BinaryIO] = {split: _open(folder / name) for split, name in SHARDS.items()}
        self._hashes = {split: hashlib.sha256() for split in SHARDS}
        self._journal = _open(folder / _JOURNAL)
        self._goes_on = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (*self._files.values(), self._journal):
            file.close()

    def tokenizer(self, sample: str) -> Tokenizer | None:
        """The tokenizer that was trained on the sample of this hash, if it was."""
        try:
            return Tokenizer.load(self._tokenizer_path(sample))
        except DataError:
            return None

    def keep_tokenizer(self, sample: str, tokenizer: Tokenizer) -> None:
        """Remember it for :meth:`tokenizer`."""
        tokenizer.save(self._tokenizer_path(sample))

    def found(self, texts: str) -> Part | None:
        """The next part, if it is of these texts and whole; None from the first one that is not."""
        if not self._goes_on:
            return None
        line_starts = self._journal.tell()
        starts = {split: file.tell() for split, file in self._files.items()}
        part = _parsed(self._journal.readline())
        if part is not None and part.texts == texts:
            added = {split: file.read(part.added[split]) for split, file in self._files.items()}
            if all(_hash(added[split]) == part.hashes[split] for split in added):
                for split, content in added.items():
                    self._hashes[split].update(content)
                return part
        self._goes_on = False
        for split, file in self._files.items():
            _cut_at(file, starts[split])
        _cut_at(self._journal, line_starts)
        return None

    def add(self, texts: str, lengths: Sequence[int], content: dict[Split, bytes]) -> None:
        """Write a part; the journal's line comes last."""
        for split, file in self._files.items():
            file.write(content[split])
            file.flush()
            self._hashes[split].update(content[split])
        part = Part(
            texts=texts,
            lengths=lengths,
            added={split: len(added) for split, added in content.items()},
            hashes={split: _hash(added) for split, added in content.items()},
        )
        line = json.dumps(part._asdict()).encode()
        self._journal.write(_hash(line).encode() + b" " + line + b"\n")
        self._journal.flush()

    def finish(self, folder: Path) -> dict[str, FileRecord]:
        """Move the finished shards, flushed to disk, into ``folder``; their records as they were written."""
        records = {}
        for split, file in self._files.items():
            name, end = SHARDS[split], file.tell()
            file.truncate(end)  # parts behind the last one that was needed
            file.flush()
            os.fsync(file.fileno())
            file.close()
            os.replace(self.folder / name, folder / name)
            records[name] = FileRecord(bytes=end, sha256=self._hashes[split].hexdigest())
        return records

    def remove(self) -> None:
        """Throw away what is left: the corpus is whole."""
        self._journal.close()
        shutil.rmtree(self.folder)

    def _tokenizer_path(self, sample: str) -> Path:
        return self.folder / f"tokenizer-{sample}.json"


def _parsed(line: bytes) -> Part | None:
    """A line of the journal; None for one that a kill has cut off, that is damaged, or none at all."""
    found, _, content = line.removesuffix(b"\n").partition(b" ")
    return Part(**json.loads(content)) if found == _hash(content).encode() else None


def _has(path: Path, content: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == content
    except (OSError, ValueError):
        return False


def _open(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")


def _cut_at(file: BinaryIO, end: int) -> None:
    file.seek(end)
    file.truncate()


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
