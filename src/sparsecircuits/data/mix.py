"""Several sources mixed by weight, and divided into training and validation by document.

In go weights and a seed, out come documents, each with the split that it belongs to. The next
document is always taken for the split, and from the source, that is furthest behind its share:

1. split: the one with the fewest characters for its share (``train_tokens : val_tokens``);
2. source: within that split, the one with the fewest characters for its weight, half of its next
   document counted, so that a source of long documents is not ahead from the first one on;
3. a text that was drawn before is dropped, so that none is in both splits.

So shares are **shares of characters**, in both splits, and at every point of the stream they are as
exact as whole documents allow: with two sources, off by no more than half a document. Nothing is
random here; the seed goes to the sources. A source that ends is not repeated: the others go on.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Literal

from sparsecircuits.data.sources import Document, SourceReport, read_source
from sparsecircuits.errors import DataError

Split = Literal["train", "val"]
DUPLICATE = "duplicate"
_DUPLICATES_IN_A_ROW = 10_000


@dataclasses.dataclass(frozen=True)
class Draw:
    """One document, the source it is from, and the split it belongs to."""

    document: Document
    source: str
    split: Split


class Mixture:
    """An iterator over :class:`Draw`; it ends when every source has ended.

    Args:
        weights: source (as :func:`~sparsecircuits.data.sources.read_source` names it) to weight; only
            their ratios matter.
        shares: split to share, likewise; a share of 0 leaves a split empty.
        seed: goes to the sources.

    Attributes:
        reports: source to what was skipped in it, duplicates included, so far.
        ended: the sources that have ended.
    """

    def __init__(self, weights: Mapping[str, float], shares: Mapping[Split, float], seed: int) -> None:
        self.reports = {source: SourceReport() for source in sorted(weights)}
        self.ended: list[str] = []
        self._weights = dict(weights)
        self._shares: dict[Split, float] = {split: share for split, share in shares.items() if share > 0}
        self._streams = {source: read_source(source, seed, report) for source, report in self.reports.items()}
        self._chars = {split: dict.fromkeys(self._streams, 0) for split in self._shares}
        self._seen: set[bytes] = set()  # 16 bytes of hash for each document, the one thing that grows
        self._next: dict[str, Document] = {}
        for source in self._streams:
            self._advance(source)

    def __iter__(self) -> Iterator[Draw]:
        return self

    def __next__(self) -> Draw:
        if not self._next:
            raise StopIteration
        split = min(self._shares, key=lambda name: sum(self._chars[name].values()) / self._shares[name])
        chars = self._chars[split]
        half = {name: len(document.text) / 2 for name, document in self._next.items()}
        source = min(half, key=lambda name: ((chars[name] + half[name]) / self._weights[name], name))
        document = self._next.pop(source)
        chars[source] += len(document.text)
        self._advance(source)
        return Draw(document, source, split)

    def _advance(self, source: str) -> None:
        """Hold the next document of ``source`` whose text was not seen before, or note that it has ended."""
        for in_a_row, document in enumerate(self._streams[source], start=1):
            digest = hashlib.blake2b(document.text.encode(), digest_size=16).digest()
            if digest not in self._seen:
                self._seen.add(digest)
                self._next[source] = document
                return
            self.reports[source].skip(document.origin, DUPLICATE)
            if in_a_row == _DUPLICATES_IN_A_ROW:
                raise DataError(f"source {source!r}: {in_a_row:,} documents in a row were seen before")
        self.ended.append(source)
