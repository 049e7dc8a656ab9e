"""A corpus on disk: sources, mixed, as two memory-mapped arrays of token ids.

In goes a :class:`DataConfig`, out comes a folder, and from it a :class:`Corpus`::

    train.bin, val.bin   token ids, little-endian uint16 (uint32 above 65,536 entries), nothing else
    tokenizer.json       the tokenizer
    manifest.json        the config, what came from where, what was skipped, sha256 of the files above

Steps of :func:`build_corpus`:

1. a folder whose manifest has the same config, and whose files have the hashes in it, is returned;
2. sources are mixed and divided (:mod:`~sparsecircuits.data.mix`);
3. the tokenizer is trained on the training documents among the first ``tokenizer_chars`` characters;
4. documents are encoded, a million characters at a time, and written as ``<eot> doc <eot> doc ...``;
   a split that has its tokens cuts its last document there;
5. each file is written under another name, flushed to disk and renamed; the manifest comes last, so
   that a folder with a manifest is whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

import numpy as np

from sparsecircuits.data import batches, sources
from sparsecircuits.data.files import FileRecord, written
from sparsecircuits.data.manifest import FORMAT, Amount, DataConfig, Manifest, SourceRecord, read_manifest
from sparsecircuits.data.mix import Draw, Mixture, Split
from sparsecircuits.data.tokenizer import Tokenizer, train_tokenizer
from sparsecircuits.errors import DataError

Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``: stage "tokenizer" in characters, "tokens" in tokens."""

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
SHARDS: dict[Split, str] = {"train": "train.bin", "val": "val.bin"}
_BATCH_CHARS = 1_000_000


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

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open and check a folder that :func:`build_corpus` wrote: sizes, hashes, token ids.

        Raises:
            DataError: naming the file and what is wrong with it.
        """
        folder = Path(folder)
        manifest = read_manifest(folder / MANIFEST)
        for name in (*SHARDS.values(), TOKENIZER):
            if name not in manifest.files:
                raise DataError(f"{folder / MANIFEST}: it does not speak of {name}")
            manifest.files[name].check(folder / name)
        tokenizer = Tokenizer.load(folder / TOKENIZER)
        if tokenizer.hash != manifest.tokenizer_hash or tokenizer.vocab_size != manifest.vocab_size:
            raise DataError(f"{folder / TOKENIZER}: not the tokenizer that {MANIFEST} speaks of")
        arrays = {split: _map_shard(folder / name, manifest, split) for split, name in SHARDS.items()}
        return cls(folder, manifest, tokenizer, train=arrays["train"], val=arrays["val"])

    def require_context(self, n_ctx: int) -> Self:
        """The corpus itself, if both splits hold a row of ``n_ctx + 1`` tokens.

        Raises:
            DataError: a split is smaller; with both sizes.
        """
        for split, tokens in (("training", self.train), ("validation", self.val)):
            batches.require_window(len(tokens), n_ctx, where=f"{self.folder}: the {split} split")
        return self


def build_corpus(config: DataConfig, folder: str | Path, progress: Progress | None = None) -> Corpus:
    """Build the corpus in ``folder``, or return it at once where it is there already.

    Raises:
        DataError: a source does not exist or holds no text.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    report = progress or (lambda stage, done, total: None)
    existing = _same_corpus(config, folder)
    if existing is not None:
        return existing
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)

    shares: dict[Split, float] = {"train": config.train_tokens, "val": config.val_tokens}
    mixture = Mixture(config.mix, shares, config.seed)
    sample = [] if config.tokenizer else list(_first(mixture, config.tokenizer_chars, report))
    tokenizer = _given_tokenizer(config) or train_tokenizer(
        (draw.document.text for draw in sample if draw.split == "train"), config.vocab_size
    )
    tokenizer.save(folder / TOKENIZER)
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 65_536 else "<u4")
    with written(folder / SHARDS["train"]) as train_file, written(folder / SHARDS["val"]) as val_file:
        splits: dict[Split, _Shard] = {
            "train": _Shard(config.train_tokens, dtype, train_file.write),
            "val": _Shard(config.val_tokens, dtype, val_file.write),
        }
        _write(itertools.chain(sample, mixture), tokenizer, splits, report)
    manifest = Manifest(
        format=FORMAT,
        config=config,
        vocab_size=tokenizer.vocab_size,
        tokenizer_hash=tokenizer.hash,
        dtype=dtype.name,
        tokens={split: shard.tokens for split, shard in splits.items()},
        fingerprint=fingerprint(config),
        sources={name: _source_record(name, mixture, splits) for name in mixture.reports},
        files={name: FileRecord.of(folder / name) for name in (*SHARDS.values(), TOKENIZER)},
    )
    with written(folder / MANIFEST) as file:
        file.write((json.dumps(manifest.to_dict(), indent=2) + "\n").encode())
    return Corpus.open(folder)


def fingerprint(config: DataConfig) -> str:
    """Sixteen hex digits that change when the program comes to make up other texts from the same seed."""
    made = [source for source in sources.ENDLESS_SOURCES if source in config.mix]
    if not made:
        return ""
    first = [
        document.text
        for source in made
        for document in itertools.islice(sources.read_source(source, config.seed), 16)
    ]
    return hashlib.sha256("\0".join(first).encode()).hexdigest()[:16]


class _Shard:
    """One split while it is written: takes documents until it has its tokens."""

    def __init__(self, limit: int, dtype: np.dtype, write: Callable[[bytes], object]) -> None:
        self.limit = limit
        self.tokens = 0
        self.amounts: dict[str, Amount] = {}
        self._dtype = dtype
        self._write = write

    def add(self, draw: Draw, ids: list[int], eot_id: int) -> None:
        taken = [eot_id, *ids][: self.limit - self.tokens]
        if not taken:
            return
        self._write(np.asarray(taken, dtype=self._dtype).tobytes())
        self.tokens += len(taken)
        before = self.amounts.get(draw.source, Amount())
        self.amounts[draw.source] = Amount(
            documents=before.documents + 1,
            chars=before.chars + len(draw.document.text),
            tokens=before.tokens + len(taken),
        )


def _write(
    draws: Iterable[Draw], tokenizer: Tokenizer, splits: dict[Split, _Shard], report: Progress
) -> None:
    draws = iter(draws)
    total = sum(shard.limit for shard in splits.values())
    while (missing := total - sum(shard.tokens for shard in splits.values())) > 0:
        group = list(_first(draws, min(_BATCH_CHARS, 4 * missing)))  # a token is 3 to 4 characters of code
        if not group:
            return
        encoded = tokenizer.encode_batch([draw.document.text for draw in group])
        for draw, ids in zip(group, encoded, strict=True):
            splits[draw.split].add(draw, ids, tokenizer.eot_id)
        report("tokens", sum(shard.tokens for shard in splits.values()), total)


def _first(draws: Iterator[Draw], chars: int, report: Progress | None = None) -> Iterator[Draw]:
    """Draws until ``chars`` characters are reached."""
    done = 0
    while done < chars:
        draw = next(draws, None)
        if draw is None:
            return
        done += len(draw.document.text)
        if report is not None:
            report("tokenizer", min(done, chars), chars)
        yield draw


def _given_tokenizer(config: DataConfig) -> Tokenizer | None:
    if config.tokenizer is None:
        return None
    path = Path(config.tokenizer)
    if path.is_dir():
        return Tokenizer.from_gpt2_files(path / "encoder.json", path / "vocab.bpe")
    return Tokenizer.load(path)


def _source_record(source: str, mixture: Mixture, splits: dict[Split, _Shard]) -> SourceRecord:
    report = mixture.reports[source]
    return SourceRecord(
        train=splits["train"].amounts.get(source, Amount()),
        val=splits["val"].amounts.get(source, Amount()),
        ended=source in mixture.ended,
        skipped=report.skipped,
        skipped_named=tuple(report.named),
    )


def _same_corpus(config: DataConfig, folder: Path) -> Corpus | None:
    """The corpus in ``folder`` if it is whole and made by the same config, else None."""
    try:
        corpus = Corpus.open(folder)
    except DataError:
        return None
    if corpus.manifest.config != config or corpus.manifest.fingerprint != fingerprint(config):
        return None
    given = _given_tokenizer(config)
    if given is not None and given.hash != corpus.manifest.tokenizer_hash:
        return None
    return corpus


def _map_shard(path: Path, manifest: Manifest, split: str) -> np.ndarray:
    dtype = np.dtype(manifest.dtype).newbyteorder("<")
    count = manifest.tokens.get(split, 0)
    if path.stat().st_size != count * dtype.itemsize:
        raise DataError(f"{path}: {path.stat().st_size} bytes; {count} tokens of {manifest.dtype} do not fit")
    if count == 0:  # nothing cannot be mapped
        return np.zeros(0, dtype=dtype)
    tokens = np.memmap(path, dtype=dtype, mode="r")
    for start in range(0, count, 1 << 24):
        largest = int(tokens[start : start + (1 << 24)].max())
        if largest >= manifest.vocab_size:
            raise DataError(f"{path}: token id {largest}; the vocabulary has {manifest.vocab_size} entries")
    return tokens
