"""The command data: what it builds, what it says, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.cli.data import read_mix
from sparsecircuits.data import Corpus
from sparsecircuits.errors import ConfigError

SMALL = ("--vocab-size", "257", "--train-tokens", "2000", "--val-tokens", "200")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i}.py").write_text(f"value_{i} = {i} + 1\nprint(value_{i})\n" * 5)
    (folder / "empty.py").write_text("")
    (folder / "latin.py").write_bytes(b"x = '\xe9'\n")
    return folder


def test_it_builds_a_corpus_and_prints_its_manifest(call, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    done = call("data", "--out", out, "--source", texts, *SMALL, "--json")
    assert done.code == 0
    report = done.json
    corpus = Corpus.open(out)
    assert report["folder"] == str(out)
    assert (
        report["tokens"]
        == {"train": 2000, "val": 200}
        == {"train": len(corpus.train), "val": len(corpus.val)}
    )
    assert report["config"]["mix"] == {str(texts): 1.0}
    assert sum(report["sources"][str(texts)]["skipped"].values()) == 2


def test_the_table_names_what_was_skipped(call, texts: Path, tmp_path: Path) -> None:
    done = call(
        "data", "--out", tmp_path / "corpus", "--source", f"{texts}=3", "--source", "idioms=1", *SMALL
    )
    assert done.code == 0
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert "2,000 tokens to train on, 200 to validate" in done.out
    assert "1 empty" in lines[str(texts)]
    assert "empty" not in lines["idioms"]


def test_what_was_asked_for_and_is_not_there_is_said(call, texts: Path, tmp_path: Path) -> None:
    words = ("data", "--out", tmp_path / "corpus", "--source", texts, *SMALL[:-1], "999999999")
    done = call(*words)
    (line,) = [line for line in done.out.splitlines() if "to validate on" in line]
    assert line.startswith("not all that was asked for: ")
    assert "(100%)" in [line for line in done.err.splitlines() if line.startswith("tokens ")][-1]
    assert line.endswith(" of 999,999,999 tokens to validate on: its sources have no more text")
    assert line.removeprefix("not all that was asked for: ") in call(*words, "--json").json["shortfalls"]


def test_mistakes(call, tmp_path: Path) -> None:
    done = call("data", "--out", tmp_path / "corpus", "--source", "idoms", *SMALL)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("error: ")
    assert "idoms" in done.err
    done = call("data", "--out", tmp_path / "corpus", "--source", "", *SMALL)
    assert done.code == 2
    assert done.err == "error: source '': it names nothing; the folder in which one is, is '.'\n"
    done = call("data", "--out", tmp_path / "corpus", "--vocab-size", "100")
    assert (done.code, done.err) == (2, "error: DataConfig.vocab_size is 100; the minimum is 257\n")


def test_mix() -> None:
    assert read_mix(["stdlib=0.1", "my_project", "a=b=2", "odd=name"]) == {
        "stdlib": 0.1,
        "my_project": 1.0,
        "a=b": 2.0,
        "odd=name": 1.0,
    }
    assert read_mix(
        ["rows.jsonl?column=2023", "a.jsonl?column=7=0.5", "hf:o/n?split=a&column=3", "x=1e-2"]
    ) == {
        "rows.jsonl?column=2023": 1.0,
        "a.jsonl?column=7": 0.5,
        "hf:o/n?split=a&column=3": 1.0,
        "x": 0.01,
    }
    with pytest.raises(ConfigError, match="names 'stdlib' twice"):
        read_mix(["stdlib=0.1", "stdlib"])


def test_all_there_is_of_rows_of_another_field(call, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"body": "row {i % 90}"}}\n' for i in range(100)))
    words = ("--source", f"{rows}?column=body=0.5", "--vocab-size", "257", "--train-tokens", "all", "--json")
    done = call("data", "--out", tmp_path / "corpus", *words)
    assert done.code == 0
    assert done.json["config"]["mix"] == {f"{rows}?column=body": 0.5}
    assert done.json["config"]["train_tokens"] is None
    record = done.json["sources"][f"{rows}?column=body"]
    assert record["skipped"] == {"duplicate": 10}
    assert record["train"]["documents"] + record["val"]["documents"] == 90
    done = call("data", "--out", tmp_path / "again", *words, "--keep-duplicates")
    record = done.json["sources"][f"{rows}?column=body"]
    assert record["train"]["documents"] + record["val"]["documents"] == 100
    done = call("data", "--out", tmp_path / "none", "--train-tokens", "all")
    assert (done.code, done.err.strip()[:6]) == (2, "error:")
    assert "'idioms' never ends; give a number" in done.err
