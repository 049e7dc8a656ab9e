"""Large files that were found whole are not read again, until something touches them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sparsecircuits.data import Corpus, DataConfig, build_corpus, checked, corpus
from sparsecircuits.data.checked import CHECKED
from sparsecircuits.data.files import FileRecord
from sparsecircuits.errors import DataError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus whose training file of 4,000 bytes and tokenizer count as large."""
    monkeypatch.setattr(checked, "SMALLEST", 4000)
    monkeypatch.setattr(checked, "_SETTLED_NS", 0)
    config = DataConfig(mix={"idioms": 1.0}, vocab_size=257, train_tokens=2000, val_tokens=300)
    build_corpus(config.replace(tokenizer_chars=2000), tmp_path / "corpus")
    time.sleep(0.02)  # the clock of the file system is a coarse one
    return tmp_path / "corpus"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read whole from now on."""
    names: list[str] = []
    of = FileRecord.of.__func__  # type: ignore[attr-defined]

    def noted(cls: type[FileRecord], path: Path, report: object = None) -> FileRecord:
        names.append(path.name)
        return of(cls, path, report)

    monkeypatch.setattr(FileRecord, "of", classmethod(noted))
    return names


def reopened(folder: Path, read: list[str]) -> list[str]:
    read.clear()
    Corpus.open(folder)
    return sorted(read)


ALL = ["tokenizer.json", "train.bin", "val.bin"]


def test_a_large_file_is_read_once(folder: Path, read: list[str]):
    (folder / CHECKED).unlink(missing_ok=True)
    assert reopened(folder, read) == ALL
    assert reopened(folder, read) == ["val.bin"]
    (folder / CHECKED).unlink()
    assert reopened(folder, read) == ALL


def test_whatever_touches_it_has_it_read_again(folder: Path, read: list[str], tmp_path: Path):
    Corpus.open(folder)
    path = folder / "train.bin"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[100] ^= 1

    def in_place() -> None:
        with path.open("r+b") as file:
            file.write(content)

    def in_place_with_the_old_time() -> None:
        in_place()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def by_another_file() -> None:
        (tmp_path / "other").write_bytes(content)
        os.utime(tmp_path / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(tmp_path / "other", path)

    for damage in (in_place, in_place_with_the_old_time, by_another_file):
        damage()
        with pytest.raises(DataError, match=r"train\.bin: damaged"):
            Corpus.open(folder)


def test_another_hash_in_the_manifest_is_noticed(folder: Path):
    manifest = Corpus.open(folder).manifest
    record = manifest.files["train.bin"].replace(sha256="0" * 64)
    manifest.replace(files=manifest.files | {"train.bin": record}).to_json(folder / "manifest.json")
    with pytest.raises(DataError, match=r"train\.bin: damaged: .*000000000000… was written"):
        Corpus.open(folder)


def test_a_file_that_has_just_changed_is_not_noted(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checked, "_SETTLED_NS", 60_000_000_000)
    (folder / CHECKED).unlink(missing_ok=True)
    Corpus.open(folder)
    assert not (folder / CHECKED).exists()


@pytest.mark.parametrize("content", ["", "[1]", '{"train.bin": 3}', "\xff"])
def test_damaged_notes_are_no_notes(content: str, folder: Path, read: list[str]):
    (folder / CHECKED).write_bytes(content.encode("latin-1"))
    assert reopened(folder, read) == ALL


def test_checking_gigabytes_says_how_far_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / CHECKED).unlink(missing_ok=True)
    monkeypatch.setattr(corpus, "_BYTES_WITHOUT_PROGRESS", 0)
    calls: list[tuple[str, int, int | None]] = []
    Corpus.open(folder, lambda *call: calls.append(call))
    total = sum((folder / name).stat().st_size for name in ALL)
    assert [done for _, done, _ in calls] == [4000, 4600, total]
    assert {(stage, of) for stage, _, of in calls} == {("checking", total)}
