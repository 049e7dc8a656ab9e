"""Damaged data (R12): each of twelve faults is a named error, with file and offset, or a named, counted skip.

:data:`CASES` maps a fault to a function that makes it in an empty folder and raises ``AssertionError`` if it
passed in silence, so that a script can count them.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sparsecircuits.data import Corpus, DataConfig, SourceReport, build_corpus, read_source
from sparsecircuits.data.files import FileRecord
from sparsecircuits.data.manifest import Manifest
from sparsecircuits.errors import ConfigError, DataError
from sparsecircuits.model import GPTConfig
from sparsecircuits.train import RunConfig, TrainConfig, train


def corpus_in(folder: Path, **settings: object) -> Corpus:
    """A corpus of 2,000 and 300 tokens; those given last change its config."""
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"value_{i} = {i}\n"}) + "\n" for i in range(400)))
    config = DataConfig(mix={str(rows): 1.0}, vocab_size=300, train_tokens=2000, val_tokens=300)
    return build_corpus(config.replace(**settings), folder / "corpus")


def rewrite(corpus: Corpus, name: str, content: bytes, **changes: object) -> None:
    """Write a file anew, with a manifest that agrees: only what is in it can be wrong."""
    path = corpus.folder / name
    path.write_bytes(content)
    manifest = Manifest.from_json(corpus.folder / "manifest.json")
    files = manifest.files | {name: FileRecord.of(path)}
    manifest.replace(files=files, **changes).to_json(corpus.folder / "manifest.json")


def refused(act: Callable[[], object], message: str, error: type[Exception] = DataError) -> None:
    """Assert that ``act`` raises an error whose message is so, names of folders left out."""
    try:
        act()
    except error as raised:
        found = str(raised)
    else:
        raise AssertionError("passed in silence")
    assert re.search(message, found), f"another message: {found}"


def skipped(source: Path, kept: list[str], named: str) -> None:
    """Assert that a source gives ``kept``, and that its one skip is counted and named."""
    report = SourceReport()
    assert [document.text for document in read_source(str(source), 0, report)] == kept
    assert sum(report.skipped.values()) == 1
    assert [line.removeprefix(f"{source}/") for line in report.named] == [named]


def truncated_shard(folder: Path) -> None:
    """The last 1,234 bytes are missing."""
    corpus = corpus_in(folder)
    path = corpus.folder / "train.bin"
    path.write_bytes(path.read_bytes()[:-1234])
    refused(lambda: Corpus.open(corpus.folder), r"train\.bin: 2766 bytes; 4000 were written")


def wrong_dtype(folder: Path) -> None:
    """The ids are written as 32-bit numbers, and the manifest says 16."""
    corpus = corpus_in(folder)
    rewrite(corpus, "train.bin", corpus.train.astype("<u4").tobytes())
    refused(lambda: Corpus.open(corpus.folder), r"train\.bin: 8000 bytes; 2000 tokens of uint16 do not fit")


def token_id_beyond_the_vocabulary(folder: Path) -> None:
    """Token 77 is 300, of a vocabulary of 300."""
    corpus = corpus_in(folder)
    ids = np.array(corpus.train)
    ids[77] = 300
    rewrite(corpus, "train.bin", ids.tobytes())
    refused(lambda: Corpus.open(corpus.folder), r"train\.bin: byte 154: token id 300; the vocabulary has 300")


def negative_id(folder: Path) -> None:
    """Token 5 is -1."""
    corpus = corpus_in(folder)
    ids = np.array(corpus.val).astype("<i2")
    ids[5] = -1
    rewrite(corpus, "val.bin", ids.tobytes())
    refused(lambda: Corpus.open(corpus.folder), r"val\.bin: byte 10: token id 65535; the vocabulary has 300")


def text_folder(folder: Path, name: str, content: bytes) -> Path:
    """A folder with a good file and another one."""
    (folder / "texts").mkdir()
    (folder / "texts" / "good.txt").write_text("good\n")
    (folder / "texts" / name).write_bytes(content)
    return folder / "texts"


def empty_document(folder: Path) -> None:
    """A file of white space, one of many."""
    skipped(text_folder(folder, "a.txt", b" \n\n"), ["good\n"], "a.txt: empty")


def not_utf8(folder: Path) -> None:
    """Latin-1."""
    skipped(text_folder(folder, "a.txt", b"caf\xe9\n"), ["good\n"], "a.txt, byte 3: not UTF-8")


def byte_order_mark(folder: Path) -> None:
    """A mark in front of the text: the text stays, the mark does not; as UTF-16 the file is no text."""
    texts = text_folder(folder, "good.txt", b"\xef\xbb\xbfgood\n")
    skipped(texts, ["good\n"], "good.txt: byte order mark, dropped")
    (texts / "good.txt").write_text("good\n")
    (texts / "a.txt").write_bytes("text".encode("utf-16"))
    skipped(texts, ["good\n"], "a.txt, byte 0: not UTF-8")


def line_of_ten_megabytes(folder: Path) -> None:
    """The second line of a file."""
    texts = text_folder(folder, "good.txt", b"before\n" + b"x" * 10_000_000 + b"\nafter\n")
    skipped(texts, ["before\nafter\n"], "good.txt, line 2: line longer than 1,000,000 bytes")


def hash_changed_on_resume(folder: Path) -> None:
    """The corpus is another one when a run goes on: of other texts, or with one bit flipped."""
    corpus = corpus_in(folder)
    model = GPTConfig(n_layer=1, d_model=16, n_ctx=8, d_head=8, vocab_size=300)
    config = RunConfig(model=model, train=TrainConfig(steps=2, rows=2, density=1, embed_density=1))

    def go_on() -> None:
        train(config, Corpus.open(corpus.folder), folder / "run")

    go_on()
    (folder / "run" / "result.json").unlink()  # not finished yet
    bits = bytearray((corpus.folder / "train.bin").read_bytes())
    bits[1000] ^= 1
    (corpus.folder / "train.bin").write_bytes(bits)
    refused(go_on, r"train\.bin: damaged: sha256 \w+…; \w+… was written")
    corpus_in(folder, seed=1, train_tokens=1900)
    refused(go_on, r"run holds a run with other settings \(another corpus\)", ConfigError)


def missing_shard(folder: Path) -> None:
    """One of the two files is gone, or the manifest does not know of it."""
    corpus = corpus_in(folder)
    manifest = corpus.manifest
    (corpus.folder / "val.bin").unlink()
    refused(lambda: Corpus.open(corpus.folder), r"val\.bin: missing")
    files = {name: record for name, record in manifest.files.items() if name != "val.bin"}
    manifest.replace(files=files).to_json(corpus.folder / "manifest.json")
    refused(lambda: Corpus.open(corpus.folder), r"manifest\.json: it does not speak of val\.bin")


def duplicate_shard(folder: Path) -> None:
    """The training tokens a second time, as those to validate with."""
    corpus = corpus_in(folder)
    shutil.copy(corpus.folder / "train.bin", corpus.folder / "val.bin")
    refused(lambda: Corpus.open(corpus.folder), r"val\.bin: 4000 bytes; 600 were written")
    content = (corpus.folder / "train.bin").read_bytes()
    rewrite(corpus, "val.bin", content, tokens={"train": 2000, "val": 2000})
    refused(lambda: Corpus.open(corpus.folder), r"val\.bin: a copy of train\.bin")


def split_of_length_zero(folder: Path) -> None:
    """A corpus without validation tokens, asked to train with."""
    corpus = corpus_in(folder, val_tokens=0)
    message = r"the validation split: 0 tokens; a context of 8 needs at least 9"
    refused(lambda: Corpus.open(corpus.folder).require_context(8), message)


CASES: dict[str, Callable[[Path], None]] = {
    "truncated shard": truncated_shard,
    "wrong dtype": wrong_dtype,
    "token id beyond the vocabulary": token_id_beyond_the_vocabulary,
    "negative id": negative_id,
    "empty document": empty_document,
    "not UTF-8": not_utf8,
    "byte order mark": byte_order_mark,
    "line of 10 MB": line_of_ten_megabytes,
    "hash changed on resume": hash_changed_on_resume,
    "missing shard": missing_shard,
    "duplicate shard": duplicate_shard,
    "split of length zero": split_of_length_zero,
}


@pytest.mark.parametrize("case", CASES)
def test_no_fault_passes_in_silence(case: str, tmp_path: Path):
    CASES[case](tmp_path)


def test_all_twelve_are_there():
    assert len(CASES) == 12


def test_a_damaged_corpus_says_what_builds_it_anew_and_that_does(tmp_path: Path):
    corpus = corpus_in(tmp_path)
    whole = (corpus.folder / "train.bin").read_bytes()
    (corpus.folder / "train.bin").write_bytes(whole[:-2])
    refused(
        lambda: Corpus.open(corpus.folder),
        r"train\.bin: 3998 bytes; 4000 were written; the command that built the corpus, given again,",
    )
    assert (corpus_in(tmp_path).folder / "train.bin").read_bytes() == whole
    refused(lambda: Corpus.open(tmp_path), r"manifest\.json: missing; [^;]+$")


def test_a_corpus_is_shown_in_a_line(tmp_path: Path):
    corpus = corpus_in(tmp_path)
    entries = corpus.tokenizer.vocab_size
    assert repr(corpus) == (
        f"Corpus('{tmp_path}/corpus': 2,000 tokens to train on, 300 to validate on, "
        f"{entries} entries in the tokenizer)"
    )
