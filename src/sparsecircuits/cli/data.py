"""``sparsecircuits data``: from text to a tokenizer and token shards."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tyro.conf import UseAppendAction

from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)
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

    A source is one of

      idioms, stories      small programs or stories, made up without end
      stdlib               the running Python's own library
      site-packages        all Python source of the packages installed beside this program
      FOLDER               its .py and .txt files; of a folder without any, its .jsonl or .parquet files
      'src/**/*.md'        the files that a pattern matches, read as text unless they are tables
      FILE                 .py, .txt, .md, .jsonl (field "text") or .parquet (column "text")
      hf:ORG/NAME          a data set of the Hugging Face Hub, streamed; or hf:ORG/NAME:CONFIG, hf:FOLDER

    Text and .jsonl files may end in .gz or .zst, too. Another field or column is chosen as in
    rows.jsonl?column=body, a split as in 'hf:ORG/NAME?split=test&column=body' (and revision=). What is empty,
    damaged, not UTF-8 or a duplicate is skipped and counted. Stopped at any time, the same command goes on.

    Example: sparsecircuits data --out data/mine --source my_project=0.9 --source stdlib=0.1
    """

    out: Path
    """The corpus' folder; a corpus of the same settings that lies there already is kept, and one of others is
    replaced once the new one is finished."""
    source: UseAppendAction[tuple[str, ...]] = ()
    """SOURCE or SOURCE=WEIGHT, again for each source; weights are shares of characters. None given:
    idioms=0.95 and stdlib=0.05."""
    vocab_size: int = 2048
    """Entries of the tokenizer, <|endoftext|> included; at least 257."""
    train_tokens: int | Literal["all"] = 1_500_000
    """Tokens to train on; fewer if every source ends before; or all there is, of sources that end."""
    val_tokens: int = 65_536
    """Tokens of the validation split, of other documents."""
    tokenizer: str | None = None
    """A tokenizer.json, or a folder with encoder.json and vocab.bpe, to use; else one is trained."""
    tokenizer_chars: int = 2_000_000
    """It is trained on the documents among the first so many characters."""
    seed: int = 0
    """Chooses the idioms and stories, and the order of files."""
    keep_duplicates: bool = False
    """Keep documents whose text came before, which are else left out and counted."""
    json: bool = False
    """Print JSON instead of a table."""


def run(options: Options) -> None:
    """Build, or find it built, and print what it is made of."""
    from sparsecircuits.data import DataConfig, build_corpus
    from sparsecircuits.data.shortfall import shortfalls

    keys = ("vocab_size", "val_tokens", "tokenizer", "tokenizer_chars", "seed")
    settings: dict[str, Any] = {key: getattr(options, key) for key in keys}
    settings["dedup"] = not options.keep_duplicates
    settings["train_tokens"] = None if options.train_tokens == "all" else options.train_tokens
    if options.source:
        settings["mix"] = read_mix(options.source)
    with Progress() as progress:
        corpus = build_corpus(DataConfig(**settings), options.out, progress.stage)
    manifest = corpus.manifest.to_dict()
    if options.json:
        print_json({"folder": str(corpus.folder), **manifest, "shortfalls": shortfalls(corpus.manifest)})
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
    for line in shortfalls(corpus.manifest):
        print(f"not all that was asked for: {line}")
    print(f"corpus: {corpus.folder}")


def read_mix(sources: Sequence[str]) -> dict[str, float]:
    """Source to weight, of words such as ``stdlib=0.1``; without a weight it is 1.

    What follows an option's name is its value, though it be a number: ``rows.jsonl?column=2023=0.5``.

    Raises:
        ConfigError: a source that is named twice.

    >>> read_mix(["idioms=0.9", "my=odd/folder"])
    {'idioms': 0.9, 'my=odd/folder': 1.0}
    """
    from sparsecircuits.data.specs import OPTIONS  # after --help, which does not wait for torch

    options = "|".join(sorted({key for keys in OPTIONS.values() for key in keys}))
    mix: dict[str, float] = {}
    for word in sources:
        name, _, weight = word.rpartition("=")
        named = re.search(rf"[?&]({options})$", name)
        if name and (named or not _NUMBER.fullmatch(weight)):  # the equals sign is the name's
            name, weight = word, "1"
        share = float(weight) if name else 1.0
        name = name or word
        if name in mix:
            raise ConfigError(f"--source names {name!r} twice")
        mix[name] = share
    return mix


def _note(record: dict[str, Any]) -> str | None:
    reasons = [f"{count} {reason}" for reason, count in record["skipped"].items()]
    return "; ".join([*["no more of it"] * record["ended"], *reasons]) or None
