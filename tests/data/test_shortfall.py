"""What a corpus has less of than was asked for is said, with both numbers and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.data import DataConfig, build_corpus
from sparsecircuits.data.shortfall import shortfalls


@pytest.fixture
def texts(tmp_path: Path) -> str:
    """Forty texts of ten tokens each, one <|endoftext|> included, if no pair of letters is merged."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i}.txt").write_text(f"{i:09}")
    return str(folder)


def told(tmp_path: Path, **settings: object) -> list[str]:
    config = DataConfig.from_dict({"vocab_size": 257, **settings})
    return shortfalls(build_corpus(config, tmp_path / "corpus").manifest)


def test_all_that_was_asked_for(texts: str, tmp_path: Path):
    assert told(tmp_path, mix={texts: 1}, train_tokens=200, val_tokens=50) == []


def test_sources_that_end(texts: str, tmp_path: Path):
    assert told(tmp_path, mix={texts: 1}, train_tokens=600, val_tokens=200) == [
        "300 of 600 tokens to train on: its sources have no more text",
        "100 of 200 tokens to validate on: its sources have no more text",
    ]


def test_all_there_is(texts: str, tmp_path: Path):
    assert told(tmp_path, mix={texts: 1}, train_tokens=None, val_tokens=200) == [
        "20 of 200 tokens to validate on: that is a twentieth of the text"
    ]


def test_no_validation_and_a_large_vocabulary(texts: str, tmp_path: Path):
    first, second = told(tmp_path, mix={texts: 1}, train_tokens=100, val_tokens=0, vocab_size=5000)
    assert first == "no tokens to validate on, as asked for; train needs some"
    assert second.endswith(
        " of 5,000 entries in the tokenizer: no other pair of entries comes twice in the first 2,000,000 "
        "characters, on which it is trained"
    )
