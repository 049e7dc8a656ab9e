"""From sources to a corpus on disk: mixed, divided, encoded on all cores, in parts that survive a kill.

In goes a :class:`DataConfig`, out comes a folder, and from it a :class:`Corpus` (its files:
:mod:`~sparsecircuits.data.corpus`). Steps of :func:`build_corpus`:

1. a folder whose manifest has the same config, and whose files have the hashes in it, is returned. Otherwise
   the folder is locked: another process that builds the same waits, and then finds it built;
2. sources are mixed and divided (:mod:`~sparsecircuits.data.mix`);
3. the tokenizer is trained on the training documents among the first ``tokenizer_chars`` characters;
4. documents are taken a million characters at a time. Such a part is encoded by one of some threads (the
   tokenizer's code runs outside Python's lock) while others are read and written. Parts are written in order,
   as ``<eot> doc <eot> doc ...``; a split that has its tokens cuts its last document there;
5. what a kill leaves is gone on with (:mod:`~sparsecircuits.data.halfway`);
6. the finished files are moved to their places, and replace those of other settings, which are whole until
   then; the manifest comes last, so that a folder with a manifest is whole.

Memory does not grow with the text: held are the tokenizer's sample, a part for each thread and two more, and
at most 32 MB of hashes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sparsecircuits.data.corpus import MANIFEST, SHARDS, TOKENIZER, Corpus, Progress
from sparsecircuits.data.files import FileRecord, locked, written
from sparsecircuits.data.halfway import Halfway
from sparsecircuits.data.manifest import FORMAT, DataConfig, Manifest, SourceRecord, read_manifest
from sparsecircuits.data.mix import Draw, Mixture, Split
from sparsecircuits.data.sources import read_source
from sparsecircuits.data.specs import ENDLESS_SOURCES
from sparsecircuits.data.tally import Tally
from sparsecircuits.data.tokenizer import Tokenizer, train_tokenizer
from sparsecircuits.errors import DataError

__all__ = [
    "MANIFEST",
    "SHARDS",
    "TOKENIZER",
    "Corpus",
    "DataConfig",
    "Progress",
    "build_corpus",
    "fingerprint",
]

BUILDING = "building"
PART_CHARS = 1_000_000
_ENCODED_CHARS = 100_000
"""So many at a time: while a text is encoded it takes a hundred bytes for each token."""
VAL_SHARE_OF_ALL = 0.05
"""The validation split's share where ``train_tokens`` is None, until it has its tokens."""
_MOST_THREADS = 32


class Part(NamedTuple):
    """Some documents, and what was known of their sources when the last one was drawn."""

    draws: list[Draw]
    texts: str
    records: dict[str, SourceRecord]


def build_corpus(config: DataConfig, folder: str | Path, progress: Progress | None = None) -> Corpus:
    """Build the corpus in ``folder``, go on where building it was stopped, or return it where it is there.

    Raises:
        DataError: a source does not exist, cannot be read or holds no text.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    report = progress or (lambda stage, done, total: None)
    existing = _same_corpus(config, folder, report)
    if existing is not None:
        return existing
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, lambda: report("waiting for another process", 0, None)):
        if (built := _same_corpus(config, folder, report)) is not None:  # by that process
            return built
        with Halfway(folder / BUILDING, config) as half:
            _build(config, folder, half, report)
    return Corpus.open(folder, report)


def fingerprint(config: DataConfig) -> str:
    """Sixteen hex digits that change when the program comes to make up other texts from the same seed."""
    made = [source for source in ENDLESS_SOURCES if source in config.mix]
    if not made:
        return ""
    first = [
        document.text
        for source in made
        for document in itertools.islice(read_source(source, config.seed), 16)
    ]
    return hashlib.sha256("\0".join(first).encode()).hexdigest()[:16]


def _build(config: DataConfig, folder: Path, half: Halfway, report: Progress) -> None:
    mixture = Mixture(config.mix, _shares(config), config.seed, dedup=config.dedup)
    sample = [] if config.tokenizer else list(_first(mixture, config.tokenizer_chars, report))
    tokenizer = _given_tokenizer(config) or _trained(sample, config, half)
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 65_536 else "<u4")
    tally = Tally({"train": config.train_tokens, "val": config.val_tokens})
    parts = _parts(itertools.chain(sample, mixture), mixture, tally.total, tokenizer)
    records = _write(parts, half, tokenizer, dtype, tally, report)
    mixture.close()
    (folder / MANIFEST).unlink(missing_ok=True)  # a corpus of other settings is kept until now
    tokenizer.save(folder / TOKENIZER)
    files = half.finish(folder) | {TOKENIZER: FileRecord.of(folder / TOKENIZER)}
    manifest = Manifest(
        format=FORMAT,
        config=config,
        vocab_size=tokenizer.vocab_size,
        tokenizer_hash=tokenizer.hash,
        dtype=dtype.name,
        tokens={str(split): count for split, count in tally.tokens.items()},
        fingerprint=fingerprint(config),
        sources={name: tally.of(name, record) for name, record in records.items()},
        files=files,
    )
    with written(folder / MANIFEST) as file:
        file.write((json.dumps(manifest.to_dict(), indent=2) + "\n").encode())
    half.remove()


def _shares(config: DataConfig) -> dict[Split, float]:
    if config.train_tokens is not None:
        return {"train": config.train_tokens, "val": config.val_tokens}
    val = VAL_SHARE_OF_ALL if config.val_tokens else 0.0
    return {"train": 1 - val, "val": val}


def _write(
    parts: Iterable[Part],
    half: Halfway,
    tokenizer: Tokenizer,
    dtype: np.dtype,
    tally: Tally,
    report: Progress,
) -> dict[str, SourceRecord]:
    """Write parts until every split is full or they end; what is known of the sources by then.

    Parts that were finished before are only counted. The others are encoded ahead of where is written.
    """
    records: dict[str, SourceRecord] = {}
    waiting: deque[tuple[Part, Future[tuple[np.ndarray, list[int]]]]] = deque()

    def take() -> None:
        nonlocal records
        part, encoded = waiting.popleft()
        ids, lengths = encoded.result()
        half.add(part.texts, lengths, tally.divide(part.draws, ids, lengths))
        records = part.records
        report("tokens", sum(tally.tokens.values()), tally.total)

    threads = min(_cores(), _MOST_THREADS) + 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="encode")
    try:
        for part in parts:
            if tally.full:
                break
            if (found := half.found(part.texts)) is not None:
                tally.count(part.draws, found.lengths)
                records = part.records
                report("parts found", sum(tally.tokens.values()), tally.total)
                continue
            waiting.append((part, pool.submit(_encode, tokenizer, part.draws, dtype)))
            if len(waiting) > threads:
                take()
        while waiting and not tally.full:
            take()
        written = sum(tally.tokens.values())
        report("tokens", written, written)  # which may be fewer than were asked for
    finally:
        pool.shutdown(cancel_futures=True)
    return records


def _encode(tokenizer: Tokenizer, draws: list[Draw], dtype: np.dtype) -> tuple[np.ndarray, list[int]]:
    """Token ids of documents, each begun by <|endoftext|>, one after the other; and how many each has."""
    pieces: list[np.ndarray] = []
    lengths: list[int] = []
    texts = iter(draws)
    while some := list(_first(texts, _ENCODED_CHARS)):
        for ids in tokenizer.encode_batch([draw.document.text for draw in some]):
            pieces.append(np.array([tokenizer.eot_id, *ids], dtype=dtype))
            lengths.append(len(pieces[-1]))
    return np.concatenate(pieces), lengths


def _parts(
    draws: Iterator[Draw], mixture: Mixture, total: int | None, tokenizer: Tokenizer
) -> Iterator[Part]:
    """Documents in parts whose ends depend on nothing but the documents and ``total``.

    As few tokens as asked for are not to cost a whole part: a token is 3 to 4 characters of code.
    """
    drawn = 0
    while True:
        chars = PART_CHARS if total is None else min(PART_CHARS, max(4 * total - drawn, total // 4, 1))
        if not (part := list(_first(draws, chars))):
            return
        drawn += sum(len(draw.document.text) for draw in part)
        texts = hashlib.blake2b(tokenizer.hash.encode(), digest_size=16)
        for draw in part:
            texts.update(b"%s\0%s\0%s" % (draw.source.encode(), draw.split.encode(), draw.digest))
        yield Part(part, texts.hexdigest(), mixture.records())


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


def _trained(sample: list[Draw], config: DataConfig, half: Halfway) -> Tokenizer:
    """The tokenizer of the sample's training documents; from before the kill where it was trained then."""
    train = [draw for draw in sample if draw.split == "train"]
    digest = hashlib.blake2b(b"".join(draw.digest for draw in train), digest_size=16).hexdigest()
    if (found := half.tokenizer(digest)) is not None:
        return found
    tokenizer = train_tokenizer((draw.document.text for draw in train), config.vocab_size)
    half.keep_tokenizer(digest, tokenizer)
    return tokenizer


def _given_tokenizer(config: DataConfig) -> Tokenizer | None:
    if config.tokenizer is None:
        return None
    path = Path(config.tokenizer)
    if path.is_dir():
        return Tokenizer.from_gpt2_files(path / "encoder.json", path / "vocab.bpe")
    return Tokenizer.load(path)


def _same_corpus(config: DataConfig, folder: Path, report: Progress) -> Corpus | None:
    """The corpus in ``folder`` if it is whole and made by the same config, else None."""
    try:
        manifest = read_manifest(folder / MANIFEST)
        if manifest.config != config or manifest.fingerprint != fingerprint(config):
            return None
        corpus = Corpus.open(folder, report)
    except DataError:
        return None
    given = _given_tokenizer(config)
    if given is not None and given.hash != corpus.manifest.tokenizer_hash:
        return None
    return corpus


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
