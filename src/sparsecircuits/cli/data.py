"""``sparsecircuits data``: from text to a tokenizer and token shards."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tyro.conf import UseAppendAction

from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError

COLUMNS = (
    Column("source", "source"),
    Column("train.documents", "documents", ",d"),
    Column("train.chars", "characters", ",d"),
    Column("train.tokens", "tokens", ",d"),
    Column("val.documents", "documents", ",d"),
    Column("val.tokens", "tokens for validation", ",d"),
    Column("skipped_count", "skipped", ",d"),
    Column("note", "note"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Turn text into a corpus: a tokenizer, token shards, and a manifest of what they are made of.

    A source is a folder of .py or .txt files, a .jsonl file with a field "text", one file, or one of the
    built-in "idioms" (endless small programs), "stories" (the same of plain English) and "stdlib" (the
    running Python's own library). Files that are empty or not UTF-8 are skipped and counted.

    Example: sparsecircuits data --out data/mine --source my_project=0.9 --source stdlib=0.1
    """

    out: Path
    """The corpus' folder; a corpus of the same settings that lies there already is kept."""
    source: UseAppendAction[tuple[str, ...]] = ()
    """SOURCE or SOURCE=WEIGHT, again for each source; weights are shares of characters. None given:
    idioms=0.95 and stdlib=0.05."""
    vocab_size: int = 2048
    """Entries of the tokenizer, <|endoftext|> included; at least 257."""
    train_tokens: int = 1_500_000
    """Tokens to train on; fewer if every source ends before."""
    val_tokens: int = 65_536
    """Tokens of the validation split, of other documents."""
    tokenizer: str | None = None
    """A tokenizer.json, or a folder with encoder.json and vocab.bpe, to use; else one is trained."""
    seed: int = 0
    """Chooses the idioms and stories, and the order of files."""
    json: bool = False
    """Print JSON instead of a table."""


def run(options: Options) -> None:
    """Build, or find it built, and print what it is made of."""
    from sparsecircuits.data import DataConfig, build_corpus

    keys = ("vocab_size", "train_tokens", "val_tokens", "tokenizer", "seed")
    settings: dict[str, Any] = {key: getattr(options, key) for key in keys}
    if options.source:
        settings["mix"] = read_mix(options.source)
    with Progress() as progress:
        corpus = build_corpus(DataConfig(**settings), options.out, progress.stage)
    manifest = corpus.manifest.to_dict()
    if options.json:
        print_json({"folder": str(corpus.folder), **manifest})
        return
    rows = [
        {
            "source": name,
            **record,
            "skipped_count": sum(record["skipped"].values()),
            "note": _note(record),
        }
        for name, record in manifest["sources"].items()
    ]
    print_table(rows, COLUMNS)
    tokens = manifest["tokens"]
    print(f"{tokens['train']:,} tokens to train on, {tokens['val']:,} to validate")
    print(f"{manifest['vocab_size']:,} entries in the tokenizer")
    print(f"corpus: {corpus.folder}")


def read_mix(sources: Sequence[str]) -> dict[str, float]:
    """Source to weight, of words such as ``stdlib=0.1``; without a weight it is 1.

    Raises:
        ConfigError: a source that is named twice.

    >>> read_mix(["idioms=0.9", "my=odd/folder"])
    {'idioms': 0.9, 'my=odd/folder': 1.0}
    """
    mix: dict[str, float] = {}
    for word in sources:
        name, _, weight = word.rpartition("=")
        try:
            share = float(weight) if name else 1.0
        except ValueError:  # an equals sign in the name
            name, share = word, 1.0
        name = name or word
        if name in mix:
            raise ConfigError(f"--source names {name!r} twice")
        mix[name] = share
    return mix


def _note(record: dict[str, Any]) -> str | None:
    reasons = [f"{count} {reason}" for reason, count in record["skipped"].items()]
    return "; ".join([*["no more of it"] * record["ended"], *reasons]) or None
