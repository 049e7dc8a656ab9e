"""A build that is stopped anywhere goes on, and ends with the bytes of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsecircuits.data import shards
from sparsecircuits.data.shards import BUILDING, Corpus, DataConfig, build_corpus
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import DataError

PARTS = 12
FILES = ("train.bin", "val.bin", "tokenizer.json", "manifest.json")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """1,200 rows of 99 or 100 characters, every tenth said twice."""
    path = tmp_path / "rows.jsonl"
    texts = [f"value_{i} = {i * 7919 % 10007}; print(value_{i})\n".ljust(100, "#") for i in range(1200)]
    texts[9::10] = texts[8::10]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture
def config(rows: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """All of the rows, in parts of a hundred rows."""
    monkeypatch.setattr(shards, "PART_CHARS", 9_000)
    return DataConfig(mix={str(rows): 1.0}, vocab_size=300, train_tokens=None, val_tokens=800)


@pytest.fixture
def straight(config: DataConfig, tmp_path: Path) -> dict[str, bytes]:
    return content(build_corpus(config, tmp_path / "straight"))


def content(corpus: Corpus) -> dict[str, bytes]:
    assert sorted(path.name for path in corpus.folder.iterdir()) == sorted(FILES)
    return {name: (corpus.folder / name).read_bytes() for name in FILES}


def stop_after(parts: int) -> Callable[[str, int, int | None], None]:
    written = iter(range(1, 1000))

    def report(stage: str, done: int, total: int | None) -> None:
        if stage == "tokens" and next(written) == parts:
            raise KeyboardInterrupt

    return report


def stopped(config: DataConfig, folder: Path, parts: int) -> Path:
    with pytest.raises(KeyboardInterrupt):
        build_corpus(config, folder, stop_after(parts))
    with pytest.raises(DataError, match=r"manifest\.json: missing"):
        Corpus.open(folder)
    return folder


@pytest.mark.parametrize("parts", [1, 5, PARTS - 1, PARTS])
def test_it_ends_with_the_same_bytes(
    parts: int, config: DataConfig, straight: dict[str, bytes], tmp_path: Path
):
    folder = stopped(config, tmp_path / "corpus", parts)
    stages: dict[str, int] = {}
    corpus = build_corpus(config, folder, lambda stage, done, total: stages.update({stage: done}))
    assert content(corpus) == straight
    assert stages["parts found"] > 0
    assert corpus.manifest.sources[next(iter(config.mix))].skipped == {"duplicate": 120}


def test_finished_parts_are_not_encoded_again(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = stopped(config, tmp_path / "corpus", 5)
    assert len((folder / BUILDING / "journal").read_bytes().splitlines()) == 5
    counts: list[int] = []
    encode = Tokenizer.encode_batch

    def counted(self: Tokenizer, texts: list[str]) -> list[list[int]]:
        counts.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(Tokenizer, "encode_batch", counted)
    monkeypatch.setattr(shards, "train_tokenizer", lambda *_: pytest.fail("trained again"))
    build_corpus(config, folder)
    assert len(counts) == PARTS - 5
    assert sum(counts) == 1080 - 5 * 90  # of 100 rows in a part, 10 are duplicates


def test_stopped_again_and_again(config: DataConfig, straight: dict[str, bytes], tmp_path: Path):
    for _ in range(4):
        stopped(config, tmp_path / "corpus", 2)
    assert len((tmp_path / "corpus" / BUILDING / "journal").read_bytes().splitlines()) == 8
    assert content(build_corpus(config, tmp_path / "corpus")) == straight


def flip(path: Path, where: int) -> None:
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip(folder / "train.bin", 5000),
        lambda folder: flip(folder / "val.bin", 0),
        lambda folder: flip(folder / "journal", 1000),
        lambda folder: os.truncate(folder / "train.bin", 5000),
        lambda folder: os.truncate(folder / "journal", 1000),
        lambda folder: (folder / "val.bin").unlink(),
        lambda folder: (folder / "journal").unlink(),
        lambda folder: next(folder.glob("tokenizer-*")).write_text("{"),
        lambda folder: (folder / "order.json").write_bytes(b"\xff"),
    ],
)
def test_damage_costs_time_only(
    damage: Callable[[Path], None], config: DataConfig, straight: dict[str, bytes], tmp_path: Path
):
    folder = stopped(config, tmp_path / "corpus", 6)
    damage(folder / BUILDING)
    assert content(build_corpus(config, folder)) == straight


def test_a_source_that_changed_meanwhile(config: DataConfig, rows: Path, tmp_path: Path):
    # A row of the eighth part: the tokenizer's sample (20 rows) and seven parts stay what they were.
    config = config.replace(tokenizer_chars=2000)
    folder = stopped(config, tmp_path / "corpus", 10)
    lines = rows.read_text().splitlines(keepends=True)
    lines[750] = json.dumps({"text": "changed"}) + "\n"
    rows.write_text("".join(lines))
    again = build_corpus(config, folder)
    assert content(again) == content(build_corpus(config, tmp_path / "anew"))
    assert "changed" in again.tokenizer.decode(again.train.tolist())


def test_another_order_begins_anew(config: DataConfig, tmp_path: Path):
    stopped(config, tmp_path / "corpus", 5)
    other = config.replace(val_tokens=100)
    assert content(build_corpus(other, tmp_path / "corpus")) == content(
        build_corpus(other, tmp_path / "anew")
    )


def test_a_corpus_of_other_settings_is_whole_until_the_new_one_is(config: DataConfig, tmp_path: Path):
    old = build_corpus(config.replace(seed=1), tmp_path / "a")
    before = content(old)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(config, tmp_path / "a", stop_after(3))
    assert {name: (old.folder / name).read_bytes() for name in FILES} == before
    assert Corpus.open(old.folder).manifest.config.seed == 1
    assert build_corpus(config, tmp_path / "a").manifest.config.seed == 0


def test_a_killed_process(config: DataConfig, straight: dict[str, bytes], tmp_path: Path):
    config.to_json(tmp_path / "config.json")
    code = (
        "import os, sys\n"
        "from sparsecircuits.data import DataConfig, build_corpus, shards\n"
        "shards.PART_CHARS = 9_000\n"
        "def report(stage, done, total):\n"
        "    if stage == 'tokens' and done > 8_000: os.kill(os.getpid(), 9)\n"
        "build_corpus(DataConfig.from_json(sys.argv[1]), sys.argv[2], report)"
    )
    arguments = [str(tmp_path / "config.json"), str(tmp_path / "corpus")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment)
    assert done.returncode == -signal.SIGKILL
    finished = (tmp_path / "corpus" / BUILDING / "journal").read_bytes().splitlines()
    assert 2 < len(finished) < PARTS
    assert content(build_corpus(config, tmp_path / "corpus")) == straight


def test_two_at_once_build_it_once(config: DataConfig, straight: dict[str, bytes], tmp_path: Path):
    """The second waits while the first, in the middle of its work, is held up; then it finds all done."""
    second_waits, said = threading.Event(), []

    def hold(stage: str, done: int, total: int | None) -> None:
        if stage == "tokens" and not said:
            assert second_waits.wait(20)

    def second(stage: str, done: int, total: int | None) -> None:
        said.append(stage)
        second_waits.set()

    first = threading.Thread(target=build_corpus, args=(config, tmp_path / "corpus", hold))
    first.start()
    while not (tmp_path / "corpus" / BUILDING / "journal").exists():
        first.join(0.01)
    corpus = build_corpus(config, tmp_path / "corpus", second)
    first.join()
    assert said == ["waiting for another process"]
    assert content(corpus) == straight
