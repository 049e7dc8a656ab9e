import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from sparsecircuits.data import shards
from sparsecircuits.data.files import FileRecord
from sparsecircuits.data.shards import Corpus, DataConfig, build_corpus
from sparsecircuits.data.tokenizer import train_tokenizer
from sparsecircuits.errors import DataError

TEXTS = [f"value_{i} = {i}\nprint(value_{i})\n" for i in range(400)]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return str(path)


@pytest.fixture
def config(rows: str) -> DataConfig:
    return DataConfig(mix={rows: 1.0}, vocab_size=300, train_tokens=2000, val_tokens=300)


def documents(corpus: Corpus, split: str) -> list[str]:
    """The texts of a split: what lies between the end-of-text tokens."""
    tokens = getattr(corpus, split)
    assert tokens[0] == corpus.tokenizer.eot_id
    starts = [*np.flatnonzero(tokens == corpus.tokenizer.eot_id).tolist(), len(tokens)]
    return [
        corpus.tokenizer.decode(tokens[a + 1 : b].tolist()) for a, b in zip(starts, starts[1:], strict=False)
    ]


def test_a_corpus_has_the_tokens_asked_for(config: DataConfig, tmp_path: Path):
    corpus = build_corpus(config, tmp_path / "corpus")
    assert (corpus.train.shape, corpus.val.shape) == ((2000,), (300,))
    assert corpus.train.dtype == np.uint16
    assert isinstance(corpus.train, np.memmap)
    assert not corpus.train.flags.writeable
    assert sorted(path.name for path in (tmp_path / "corpus").iterdir()) == [
        "manifest.json",
        "tokenizer.json",
        "train.bin",
        "val.bin",
    ]


def test_documents_are_whole_but_the_last_and_in_one_split(config: DataConfig, tmp_path: Path):
    corpus = build_corpus(config, tmp_path / "corpus")
    train, val = documents(corpus, "train"), documents(corpus, "val")
    assert set(train[:-1]) <= set(TEXTS)
    assert set(val[:-1]) <= set(TEXTS)
    assert not set(train) & set(val)
    assert any(text.startswith(train[-1]) for text in TEXTS)


def test_the_manifest_counts_by_hand(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "aaaa"}\n{"text": "bbb"}\n{"text": "aaaa"}\n{"txt": "c"}\n{"text": "dd"}\n')
    config = DataConfig(mix={str(path): 1.0}, vocab_size=257, train_tokens=100, val_tokens=100)
    corpus = build_corpus(config, tmp_path / "corpus")
    # No merges: a token a character, and one <|endoftext|> a document. aaaa train, bbb val, dd val.
    assert corpus.train.tolist() == [256, *corpus.tokenizer.encode("aaaa")]
    assert corpus.val.tolist() == [256, *corpus.tokenizer.encode("bbb"), 256, *corpus.tokenizer.encode("dd")]
    record = corpus.manifest.sources[str(path)]
    assert (record.train.documents, record.train.chars, record.train.tokens) == (1, 4, 5)
    assert (record.val.documents, record.val.chars, record.val.tokens) == (2, 5, 7)
    assert record.ended
    assert record.skipped == {"duplicate": 1, 'no field "text" with a text in it': 1}
    assert record.skipped_named[0] == f"{path}, row 3: duplicate"
    assert corpus.manifest.tokens == {"train": 5, "val": 7}
    assert corpus.manifest.vocab_size == 257


def test_a_small_source_gives_a_small_corpus_and_no_repeats(config: DataConfig, tmp_path: Path):
    corpus = build_corpus(config.replace(train_tokens=10**6, val_tokens=10**5), tmp_path / "corpus")
    assert sorted(documents(corpus, "train") + documents(corpus, "val")) == sorted(TEXTS)
    assert 0.08 < len(corpus.val) / len(corpus.train) < 0.12
    assert all(record.ended for record in corpus.manifest.sources.values())


def test_the_mix_is_in_both_splits(config: DataConfig, rows: str, tmp_path: Path):
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number}.txt").write_text(f"A sentence about the number {number}.\n")
    corpus = build_corpus(config.replace(mix={rows: 3.0, str(folder): 1.0}), tmp_path / "corpus")
    for split in ("train", "val"):
        a, b = (getattr(corpus.manifest.sources[name], split).chars for name in (rows, str(folder)))
        assert abs(b - 0.25 * (a + b)) <= 40  # a document


def test_the_tokenizer_does_not_see_the_validation_split(config: DataConfig, tmp_path: Path):
    corpus = build_corpus(config, tmp_path / "corpus")
    mixture = shards.Mixture(config.mix, {"train": 2000, "val": 300}, config.seed)
    train = [draw.document.text for draw in mixture if draw.split == "train"]
    assert train_tokenizer(train, 300).hash == corpus.tokenizer.hash


def test_the_same_config_gives_the_same_bytes(config: DataConfig, tmp_path: Path):
    one, two = build_corpus(config, tmp_path / "one"), build_corpus(config, tmp_path / "two")
    assert one.manifest == two.manifest
    assert np.array_equal(one.train, two.train)


def test_batches_of_encoding_do_not_show(config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = build_corpus(config, tmp_path / "one")
    monkeypatch.setattr(shards, "PART_CHARS", 100)
    assert build_corpus(config, tmp_path / "two").manifest == one.manifest


def test_a_corpus_that_is_there_is_returned_at_once(config: DataConfig, tmp_path: Path):
    folder = tmp_path / "corpus"
    stages: list[str] = []
    build_corpus(config, folder, lambda stage, done, total: stages.append(stage))
    assert set(stages) == {"tokenizer", "tokens"}
    stages.clear()
    before = (folder / "train.bin").stat()
    corpus = build_corpus(config, folder, lambda stage, done, total: stages.append(stage))
    assert stages == []
    assert (folder / "train.bin").stat().st_ino == before.st_ino
    assert len(corpus.train) == 2000


def test_another_config_or_damage_builds_again(config: DataConfig, tmp_path: Path):
    folder = tmp_path / "corpus"
    build_corpus(config, folder)
    assert len(build_corpus(config.replace(train_tokens=1000), folder).train) == 1000
    (folder / "val.bin").write_bytes(b"")
    assert len(build_corpus(config.replace(train_tokens=1000), folder).val) == 300


def test_an_interrupted_build_leaves_no_manifest(config: DataConfig, tmp_path: Path):
    folder = tmp_path / "corpus"

    def interrupt(stage: str, done: int, total: int | None) -> None:
        if stage == "tokens":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(config.replace(seed=1, train_tokens=1500), folder, interrupt)
    with pytest.raises(DataError, match=r"manifest\.json: missing; .* interrupted"):
        Corpus.open(folder)
    assert not list(folder.glob(".*"))
    assert len(build_corpus(config, folder).train) == 2000


def test_progress_reaches_its_total(config: DataConfig, tmp_path: Path):
    calls: list[tuple[str, int, int | None]] = []
    build_corpus(config, tmp_path / "corpus", lambda *call: calls.append(call))
    assert calls[-1] == ("tokens", 2300, 2300)


def test_a_given_tokenizer_is_used(config: DataConfig, tmp_path: Path):
    given = train_tokenizer(["something else entirely\n"] * 3, 270)
    given.save(tmp_path / "given.json")
    config = config.replace(tokenizer=str(tmp_path / "given.json"))
    corpus = build_corpus(config, tmp_path / "corpus")
    assert corpus.tokenizer.hash == given.hash
    train_tokenizer(["another"] * 3, 270).save(tmp_path / "given.json")
    assert build_corpus(config, tmp_path / "corpus").tokenizer.hash != given.hash


def test_a_vocabulary_above_16_bits_is_stored_in_32(tmp_path: Path, config: DataConfig):
    # A small tokenizer, filled up with entries that no merge makes, so that <|endoftext|> is 70,000.
    train_tokenizer(TEXTS, 300).save(tmp_path / "wide.json")
    content = json.loads((tmp_path / "wide.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary.update({f"unused{index}": index for index in range(len(vocabulary), 70_000)})
    content["added_tokens"][0]["id"] = 70_000
    (tmp_path / "wide.json").write_text(json.dumps(content))
    corpus = build_corpus(config.replace(tokenizer=str(tmp_path / "wide.json")), tmp_path / "corpus")
    assert corpus.train.dtype == np.uint32
    assert corpus.train[0] == 70_000
    assert (tmp_path / "corpus" / "train.bin").stat().st_size == 4 * 2000


def test_a_corpus_too_small_for_the_context_gives_both_sizes(config: DataConfig, tmp_path: Path):
    corpus = build_corpus(config.replace(train_tokens=65, val_tokens=64), tmp_path / "corpus")
    assert corpus.require_context(63) is corpus
    with pytest.raises(DataError, match="the validation split: 64 tokens; a context of 64 needs at least 65"):
        corpus.require_context(64)
    with pytest.raises(DataError, match="the training split: 65 tokens; a context of 65 needs at least 66"):
        corpus.require_context(65)


def test_one_document_leaves_no_validation_split(tmp_path: Path):
    (tmp_path / "one.txt").write_text("only one\n")
    corpus = build_corpus(DataConfig(mix={str(tmp_path / "one.txt"): 1.0}), tmp_path / "corpus")
    assert corpus.val.shape == (0,)
    with pytest.raises(DataError, match="the validation split: 0 tokens; a context of 2 needs at least 3"):
        corpus.require_context(2)


def test_no_text_at_all_is_an_error(tmp_path: Path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match=r"no text in it \(1 × empty\)"):
        build_corpus(DataConfig(mix={str(tmp_path / "empty.txt"): 1.0}), tmp_path / "corpus")


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "tokenizer.json"])
def test_damage_names_the_file(config: DataConfig, tmp_path: Path, name: str):
    folder = tmp_path / "corpus"
    build_corpus(config, folder)
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match=f"{name}: {len(content) - 1} bytes; {len(content)} were written"):
        Corpus.open(folder)
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(DataError, match=f"{name}: damaged: sha256"):
        Corpus.open(folder)
    path.unlink()
    with pytest.raises(DataError, match=f"{name}: missing"):
        Corpus.open(folder)


def test_a_token_outside_the_vocabulary_is_refused(config: DataConfig, tmp_path: Path):
    folder = tmp_path / "corpus"
    manifest = build_corpus(config, folder).manifest
    tokens = np.fromfile(folder / "train.bin", dtype="<u2")
    tokens[7] = 300
    tokens.tofile(folder / "train.bin")
    files = manifest.files | {"train.bin": FileRecord.of(folder / "train.bin")}
    manifest.replace(files=files).to_json(folder / "manifest.json")
    with pytest.raises(DataError, match=r"train\.bin: byte 14: token id 300; the vocabulary has 300 entries"):
        Corpus.open(folder)


def test_a_shard_of_another_length_than_the_manifest_says(config: DataConfig, tmp_path: Path):
    folder = tmp_path / "corpus"
    manifest = build_corpus(config, folder).manifest
    manifest.replace(tokens={"train": 1999, "val": 300}).to_json(folder / "manifest.json")
    with pytest.raises(DataError, match=r"train\.bin: 4000 bytes; 1999 tokens of uint16 do not fit"):
        Corpus.open(folder)


def test_idioms_and_the_standard_library_make_a_corpus(tmp_path: Path):
    config = DataConfig(train_tokens=20_000, val_tokens=2000, vocab_size=512, tokenizer_chars=50_000)
    corpus = build_corpus(config, tmp_path / "corpus").require_context(64)
    assert (len(corpus.train), len(corpus.val)) == (20_000, 2000)
    assert len(corpus.manifest.fingerprint) == 16
    assert build_corpus(config, tmp_path / "corpus").manifest == corpus.manifest


def test_another_process_makes_the_same_bytes(config: DataConfig, tmp_path: Path):
    build_corpus(config, tmp_path / "here")
    config.to_json(tmp_path / "config.json")
    code = (
        "import sys; from sparsecircuits.data import DataConfig, build_corpus;"
        "build_corpus(DataConfig.from_json(sys.argv[1]), sys.argv[2])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [str(tmp_path / "config.json"), str(tmp_path / "there")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment)
    for name in ("manifest.json", "train.bin", "val.bin", "tokenizer.json"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_duplicates_are_counted_or_kept(rows: str, config: DataConfig, tmp_path: Path):
    Path(rows).write_text(Path(rows).read_text() * 2)
    config = config.replace(train_tokens=None, val_tokens=0)
    once = build_corpus(config, tmp_path / "once")
    twice = build_corpus(config.replace(dedup=False), tmp_path / "twice")
    assert once.manifest.sources[rows].skipped == {"duplicate": 400}
    assert twice.manifest.sources[rows].skipped == {}
    assert len(documents(twice, "train")) == 800 == 2 * len(documents(once, "train"))


def test_all_there_is(config: DataConfig, tmp_path: Path):
    corpus = build_corpus(config.replace(train_tokens=None, val_tokens=100), tmp_path / "corpus")
    # A twentieth of 400 documents of some 8 tokens is more than 100: the rest of it is trained on.
    assert len(corpus.val) == 100
    lost = set(TEXTS) - set(documents(corpus, "train")) - set(documents(corpus, "val")[:-1])
    assert len(lost) == 1  # the one that is cut at the validation split's end
    few = build_corpus(config.replace(train_tokens=None), tmp_path / "few")
    assert len(documents(few, "val")) == 20


def test_the_manifest_has_a_hash_of_each_sources_texts(config: DataConfig, rows: str, tmp_path: Path):
    hashes = []
    for number in range(3):
        hashes.append(build_corpus(config, tmp_path / str(number)).manifest.sources[rows].hash)
        if number == 1:
            Path(rows).write_text(Path(rows).read_text().replace("value_3 ", "value_x "))
    assert len(hashes[0]) == 128 // 4
    assert hashes[0] == hashes[1] != hashes[2]


MEMORY = """
import resource, sys
from sparsecircuits.data import DataConfig, build_corpus
def build(source, folder):
    build_corpus(DataConfig(mix={source: 1.0}, train_tokens=None, tokenizer_chars=100_000), folder)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
small, large, folder = sys.argv[1:]
print(-build(small, folder + "/small") + build(large, folder + "/large"))
"""


def growth(tmp_path: Path, lines: Iterable[str]) -> float:
    """MB by which the peak memory of a process grows when it builds from these lines after 2 MB of text."""
    (tmp_path / "small.txt").write_text("".join(f"value_{i} = {i}\n".rjust(64) for i in range(32_000)))
    with (tmp_path / "large.txt").open("w") as file:
        file.writelines(lines)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [str(tmp_path / "small.txt"), str(tmp_path / "large.txt"), str(tmp_path)]
    command = [sys.executable, "-c", MEMORY, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_memory_does_not_grow_with_a_source(tmp_path: Path):
    """128 MB in one file, nearly all of it said again and again, which is quickly read."""
    block = "".join(f"value_{i} = {i} + 1\n".rjust(64) for i in range(16_384))  # documents of 128 lines
    assert growth(tmp_path, [block] * 128) < 40


@pytest.mark.slow
def test_memory_does_not_grow_with_a_corpus(tmp_path: Path):
    """400 MB of text in one file, all of it encoded."""
    lines = (f"value_{i} = {i * 7919 % 10007}; print(value_{i})\n".rjust(64) for i in range(6_250_000))
    assert growth(tmp_path, lines) < 100
