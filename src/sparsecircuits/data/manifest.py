"""What a corpus is to be made of, and the record of what became of it.

:class:`DataConfig` is the order; :class:`Manifest`, saved as ``manifest.json`` beside the tokens, is the
receipt: the config again, how much of which source is in which split, what was skipped and why, and the
hashes by which damage is noticed. Nothing here reads text or tokens; ``shards.py`` does.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sparsecircuits.config import Config
from sparsecircuits.data.files import FileRecord
from sparsecircuits.data.specs import ENDLESS_SOURCES
from sparsecircuits.data.tokenizer import SMALLEST_VOCABULARY
from sparsecircuits.errors import ConfigError, DataError

FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """What a corpus is made of."""

    mix: dict[str, float] = dataclasses.field(default_factory=lambda: {"idioms": 0.95, "stdlib": 0.05})
    """Source to share of characters; only ratios matter. Sources: idioms, stories, stdlib, site-packages,
    a folder or pattern of files, a text, .jsonl or .parquet file, hf:ORG/NAME (sparsecircuits data --help
    has all). More real code than a tenth hurts at small scale."""
    vocab_size: int = 2048
    """Entries of the tokenizer, <|endoftext|> included (Gao et al. 2025: 2048); at least 257."""
    train_tokens: int | None = 1_500_000
    """Tokens to train on; fewer if every source ends before. None: all there is, of sources that end."""
    val_tokens: int = 65_536
    """Tokens of the validation split, of documents that are not in the training split. With all there is
    to train on: a twentieth of the text, and no more than these."""
    tokenizer_chars: int = 2_000_000
    """The tokenizer is trained on the training documents among the first so many characters."""
    tokenizer: str | None = None
    """A tokenizer.json, or a folder with encoder.json and vocab.bpe, to use; None trains one."""
    seed: int = 0
    """Chooses the idioms and stories, and the order of files."""
    dedup: bool = True
    """Drop a document whose text came before, and count it; otherwise it may be in both splits."""

    def validate(self) -> None:
        """Refuse an empty mix, weights that are not above 0, and sizes below their minimum."""
        if not self.mix:
            raise ConfigError("DataConfig.mix is empty; name at least one source")
        for source, weight in self.mix.items():
            if weight <= 0:
                raise ConfigError(f"DataConfig.mix: the weight of {source!r} is {weight}; it must be above 0")
        minimums = {"train_tokens": 1, "val_tokens": 0, "tokenizer_chars": 1, "seed": 0}
        for name, minimum in {"vocab_size": SMALLEST_VOCABULARY, **minimums}.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise ConfigError(f"DataConfig.{name} is {value}; the minimum is {minimum}")
        endless = [source for source in self.mix if source in ENDLESS_SOURCES]
        if self.train_tokens is None and endless:
            raise ConfigError(
                f"DataConfig.train_tokens is None, all there is, but {endless[0]!r} never ends; give a number"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Amount(Config):
    """How much of a source, or of all, is in a split."""

    documents: int = 0
    """Documents, the last one possibly cut."""
    chars: int = 0
    """Characters of these documents."""
    tokens: int = 0
    """Tokens, one <|endoftext|> for each document included."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceRecord(Config):
    """What became of one source."""

    train: Amount = Amount()
    val: Amount = Amount()
    ended: bool = False
    """It had no more; the other sources went on, so its share is smaller than asked for."""
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    """Reason to count."""
    skipped_named: tuple[str, ...] = ()
    """The first ones as "where: reason"."""
    hash: str = ""
    """Of the texts of this source in both splits, in their order; equal hashes, equal texts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest(Config):
    """What ``manifest.json`` holds."""

    format: int
    config: DataConfig
    vocab_size: int
    """Entries that the tokenizer has; fewer than asked for where the sample was too small."""
    tokenizer_hash: str
    """:attr:`Tokenizer.hash`."""
    dtype: str
    """uint16 or uint32, little-endian."""
    tokens: dict[str, int]
    """Split to token count."""
    fingerprint: str
    """:func:`fingerprint` of the sources that the program makes up."""
    sources: dict[str, SourceRecord]
    files: dict[str, FileRecord]
    """File name to size and sha256."""


def read_manifest(path: Path) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        DataError: it is missing, damaged, or of another version of the format.
    """
    if not path.is_file():
        raise DataError(f"{path}: missing; not a corpus, or one whose building was interrupted")
    try:
        manifest = Manifest.from_json(path)
    except (ConfigError, TypeError) as error:
        raise DataError(f"{path}: damaged: {str(error).removeprefix(f'{path}: ')}") from error
    if manifest.format != FORMAT:
        raise DataError(f"{path}: format {manifest.format}; this version reads {FORMAT}")
    if manifest.dtype not in ("uint16", "uint32"):
        raise DataError(f"{path}: dtype {manifest.dtype!r}; allowed: 'uint16', 'uint32'")
    return manifest
