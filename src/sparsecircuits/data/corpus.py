"""A corpus on disk, opened and checked: two memory-mapped arrays of token ids and their tokenizer.

A folder that :func:`~sparsecircuits.data.shards.build_corpus` wrote::

    train.bin, val.bin   token ids, little-endian uint16 (uint32 above 65,536 entries), nothing else
    tokenizer.json       the tokenizer
    manifest.json        the config, what came from where, what was skipped, sha256 of the files above
    checked.json         only beside large files: which of them were read and found whole
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np

from sparsecircuits.data import batches
from sparsecircuits.data.checked import Checked
from sparsecircuits.data.manifest import Manifest, read_manifest
from sparsecircuits.data.mix import Split
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import DataError

Progress = Callable[[str, int, int | None], None]
"""``progress(stage, done, total)``: stage "tokenizer" in characters, "tokens" and "parts found" in tokens,
"checking" in bytes; no total where nobody knows it."""

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
SHARDS: dict[Split, str] = {"train": "train.bin", "val": "val.bin"}
REBUILD = "the command that built the corpus, given again, builds it anew"
_IDS_AT_ONCE = 1 << 20
_BYTES_WITHOUT_PROGRESS = 1 << 28


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A corpus that has been checked.

    Attributes:
        train, val: token ids, shape [tokens], memory-mapped, read-only.
    """

    folder: Path
    manifest: Manifest
    tokenizer: Tokenizer
    train: np.ndarray
    val: np.ndarray

    def __repr__(self) -> str:
        tokens = f"{len(self.train):,} tokens to train on, {len(self.val):,} to validate on"
        return (
            f"Corpus({str(self.folder)!r}: {tokens}, {self.tokenizer.vocab_size:,} entries in the tokenizer)"
        )

    @classmethod
    def open(cls, folder: str | Path, progress: Progress | None = None) -> Self:
        """Open and check a folder that ``build_corpus`` wrote: sizes, hashes, token ids.

        Files of 64 MB and more that were found whole before, and not touched since, are not read again; see
        :mod:`~sparsecircuits.data.checked`.

        Raises:
            DataError: naming the file and what is wrong with it.
        """
        folder = Path(folder)
        try:
            return cls._open(folder, progress)
        except DataError as error:
            if not (folder / MANIFEST).is_file():
                raise
            raise DataError(f"{error}; {REBUILD}") from error

    @classmethod
    def _open(cls, folder: Path, progress: Progress | None) -> Self:
        manifest = read_manifest(folder / MANIFEST)
        checked = Checked(folder)
        known = {name for name in _records(manifest, folder) if checked.knows(name, manifest.files[name])}
        _check_files(manifest, folder, known, progress)
        tokenizer = Tokenizer.load(folder / TOKENIZER)
        if tokenizer.hash != manifest.tokenizer_hash or tokenizer.vocab_size != manifest.vocab_size:
            raise DataError(f"{folder / TOKENIZER}: not the tokenizer that {MANIFEST} speaks of")
        arrays = {}
        for split, name in SHARDS.items():
            arrays[split] = _map_shard(folder / name, manifest, split)
            if name not in known:
                _check_ids(folder / name, arrays[split].dtype, manifest.vocab_size)
        checked.note(manifest.files)
        return cls(folder, manifest, tokenizer, train=arrays["train"], val=arrays["val"])

    def require_context(self, n_ctx: int) -> Self:
        """The corpus itself, if both splits hold a row of ``n_ctx + 1`` tokens.

        Raises:
            DataError: a split is smaller; with both sizes.
        """
        for split, tokens in (("training", self.train), ("validation", self.val)):
            batches.require_window(len(tokens), n_ctx, where=f"{self.folder}: the {split} split")
        return self


def _records(manifest: Manifest, folder: Path) -> tuple[str, ...]:
    """The names of a corpus' files; the sizes of all fit before one of them is read."""
    names = (*SHARDS.values(), TOKENIZER)
    for name in names:
        if name not in manifest.files:
            raise DataError(f"{folder / MANIFEST}: it does not speak of {name}")
        manifest.files[name].check_size(folder / name)
    train, val = (manifest.files[name] for name in SHARDS.values())
    if train.bytes and train.sha256 == val.sha256:
        raise DataError(
            f"{folder / SHARDS['val']}: a copy of {SHARDS['train']}; nothing is left to validate with"
        )
    return names


def _check_files(manifest: Manifest, folder: Path, known: set[str], progress: Progress | None) -> None:
    unread = [name for name in (*SHARDS.values(), TOKENIZER) if name not in known]
    total, before = sum(manifest.files[name].bytes for name in unread), 0
    for name in unread:

        def report(done: int, before: int = before) -> None:
            if progress is not None and total >= _BYTES_WITHOUT_PROGRESS:
                progress("checking", before + done, total)

        manifest.files[name].check(folder / name, report)
        before += manifest.files[name].bytes


def _map_shard(path: Path, manifest: Manifest, split: str) -> np.ndarray:
    dtype = np.dtype(manifest.dtype).newbyteorder("<")
    count = manifest.tokens.get(split, 0)
    if path.stat().st_size != count * dtype.itemsize:
        raise DataError(f"{path}: {path.stat().st_size} bytes; {count} tokens of {manifest.dtype} do not fit")
    # nothing cannot be mapped
    return np.memmap(path, dtype=dtype, mode="r") if count else np.zeros(0, dtype=dtype)


def _check_ids(path: Path, dtype: np.dtype, vocab_size: int) -> None:
    """Read them all; not through the map, whose pages would count as this process' memory."""
    byte = 0
    with path.open("rb") as file:
        while len(ids := np.fromfile(file, dtype=dtype, count=_IDS_AT_ONCE)):
            if int(ids.max()) >= vocab_size:
                where = int(np.argmax(ids >= vocab_size))
                raise DataError(
                    f"{path}: byte {byte + where * ids.itemsize:,}: token id {int(ids[where])}; "
                    f"the vocabulary has {vocab_size} entries"
                )
            byte += ids.nbytes
