"""Several sources mixed by weight, and divided into training and validation by document.

In go weights and a seed, out come documents, each with the split that it belongs to. The next
document is always taken for the split, and from the source, that is furthest behind its share:

1. split: the one with the fewest characters for its share (``train_tokens : val_tokens``);
2. source: within that split, the one with the fewest characters for its weight, half of its next
   document counted, so that a source of long documents is not ahead from the first one on;
3. a text that was drawn before is dropped and counted, so that none is in both splits (``dedup``).

So shares are **shares of characters**, in both splits, and at every point of the stream they are as
exact as whole documents allow: with two sources, off by no more than half a document. Nothing is
random here; the seed goes to the sources. A source that ends is not repeated: the others go on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Literal

from sparsecircuits.data.manifest import SourceRecord
from sparsecircuits.data.reports import Document, SourceReport
from sparsecircuits.data.seen import Seen, text_digest
from sparsecircuits.data.sources import read_source
from sparsecircuits.data.specs import ENDLESS_SOURCES
from sparsecircuits.errors import DataError

Split = Literal["train", "val"]
DUPLICATE = "duplicate"
_DUPLICATES_IN_A_ROW = 10_000


@dataclasses.dataclass(frozen=True)
class Draw:
    """One document, the source it is from, the split it belongs to, and the hash of its text."""

    document: Document
    source: str
    split: Split
    digest: bytes


class Mixture:
    """An iterator over :class:`Draw`; it ends when every source has ended.

    Args:
        weights: source (as :func:`~sparsecircuits.data.sources.read_source` names it) to weight; only
            their ratios matter.
        shares: split to share, likewise; a share of 0 leaves a split empty.
        seed: goes to the sources.
        dedup: whether a text that was drawn before is dropped. Kept, it may be in both splits.

    Attributes:
        reports: source to what was skipped in it, duplicates included, so far.
        ended: the sources that have ended.
    """

    def __init__(
        self, weights: Mapping[str, float], shares: Mapping[Split, float], seed: int, *, dedup: bool = True
    ) -> None:
        self.reports = {source: SourceReport() for source in sorted(weights)}
        self.ended: list[str] = []
        self._weights = dict(weights)
        self._shares: dict[Split, float] = {split: share for split, share in shares.items() if share > 0}
        self._streams = {source: read_source(source, seed, report) for source, report in self.reports.items()}
        self._chars = {split: dict.fromkeys(self._streams, 0) for split in self._shares}
        self._seen = Seen() if dedup else None
        self._next: dict[str, tuple[Document, bytes]] = {}
        for source in self._streams:
            self._advance(source)

    def __iter__(self) -> Iterator[Draw]:
        return self

    def __next__(self) -> Draw:
        if not self._next:
            raise StopIteration
        split = min(self._shares, key=lambda name: sum(self._chars[name].values()) / self._shares[name])
        chars = self._chars[split]
        half = {name: len(document.text) / 2 for name, (document, _) in self._next.items()}
        source = min(half, key=lambda name: ((chars[name] + half[name]) / self._weights[name], name))
        document, digest = self._next.pop(source)
        chars[source] += len(document.text)
        self._advance(source)
        return Draw(document, source, split, digest)

    def records(self) -> dict[str, SourceRecord]:
        """What is known of each source so far: what was skipped, whether it has ended."""
        return {
            name: SourceRecord(
                ended=name in self.ended, skipped=dict(report.skipped), skipped_named=tuple(report.named)
            )
            for name, report in self.reports.items()
        }

    def close(self) -> None:
        """Give the memory of the hashes back."""
        if self._seen is not None:
            self._seen.close()

    def _advance(self, source: str) -> None:
        """Hold the next document of ``source`` whose text was not seen before, or note that it has ended."""
        for in_a_row, document in enumerate(self._streams[source], start=1):
            digest = text_digest(document.text)
            if self._seen is None or self._seen.add(digest):
                self._next[source] = (document, digest)
                return
            self.reports[source].skip(document.origin, DUPLICATE)
            if in_a_row == _DUPLICATES_IN_A_ROW and source in ENDLESS_SOURCES:
                raise DataError(f"source {source!r}: {in_a_row:,} documents in a row were seen before")
        self.ended.append(source)
