import itertools
import json
from pathlib import Path

import pytest

from sparsecircuits.data import idioms, mix
from sparsecircuits.data.mix import Draw, Mixture, Split
from sparsecircuits.errors import DataError

EQUAL: dict[Split, float] = {"train": 1.0, "val": 1.0}
TRAIN: dict[Split, float] = {"train": 1.0, "val": 0.0}


def source(path: Path, letter: str, count: int, size: int = 10) -> str:
    """A .jsonl of ``count`` different texts of ``size`` characters that start with ``letter``."""
    path.write_text("".join(json.dumps({"text": f"{letter}{i:0{size - 1}}"}) + "\n" for i in range(count)))
    return str(path)


def chars(draws: list[Draw], split: str, letter: str) -> int:
    return sum(len(d.document.text) for d in draws if d.split == split and d.document.text[0] == letter)


def test_the_order_by_hand(tmp_path: Path):
    a, b = source(tmp_path / "a.jsonl", "a", 100), source(tmp_path / "b.jsonl", "b", 100)
    draws = itertools.islice(Mixture({a: 3.0, b: 1.0}, TRAIN, seed=0), 8)
    # (characters + 5) / weight; b starts at 5. a: 5/3, 15/3 (a tie goes to the first name), 25/3: b's turn,
    # which is then at 15. a: 25/3, 35/3, 45/3 (a tie), 55/3: b's turn again.
    assert "".join(draw.document.text[0] for draw in draws) == "aabaaaba"


def test_long_documents_do_not_come_first(tmp_path: Path):
    a, b = source(tmp_path / "a.jsonl", "a", 1000), source(tmp_path / "b.jsonl", "b", 10, size=1000)
    draws = list(itertools.islice(Mixture({a: 0.9, b: 0.1}, TRAIN, seed=0), 452))
    # b's first thousand characters come when half of them are due: after 4,500 of a.
    first = next(index for index, draw in enumerate(draws) if draw.source == b)
    assert first == 450


def test_both_splits_have_the_shares(tmp_path: Path):
    a, b = source(tmp_path / "a.jsonl", "a", 1000), source(tmp_path / "b.jsonl", "b", 1000, size=40)
    draws = list(itertools.islice(Mixture({a: 0.9, b: 0.1}, {"train": 0.8, "val": 0.2}, seed=0), 900))
    for split, share in (("train", 0.8), ("val", 0.2)):
        in_a, in_b = chars(draws, split, "a"), chars(draws, split, "b")
        assert abs(in_b - 0.1 * (in_a + in_b)) <= 20  # half a document of b
        assert abs(in_a + in_b - share * sum(len(d.document.text) for d in draws)) <= 40


def test_no_text_comes_twice_nor_in_both_splits(tmp_path: Path):
    a, b = source(tmp_path / "a.jsonl", "a", 20), source(tmp_path / "b.jsonl", "a", 30)
    mixture = Mixture({a: 1.0, b: 1.0}, EQUAL, seed=0)
    texts = [draw.document.text for draw in mixture]
    assert sorted(texts) == [f"a{i:09}" for i in range(30)]
    skipped = [report.skipped.get(mix.DUPLICATE, 0) for report in mixture.reports.values()]
    assert sum(skipped) == 20
    assert any(line.endswith(", row 1: duplicate") for r in mixture.reports.values() for line in r.named)


def test_a_source_that_ends_is_not_repeated(tmp_path: Path):
    a, b = source(tmp_path / "a.jsonl", "a", 3), source(tmp_path / "b.jsonl", "b", 50)
    mixture = Mixture({a: 1.0, b: 1.0}, TRAIN, seed=0)
    draws = list(itertools.islice(mixture, 20))
    assert mixture.ended == [a]
    assert sum(draw.source == a for draw in draws) == 3
    assert len(draws) + len(list(mixture)) == 53
    assert mixture.ended == [a, b]


def test_an_empty_share_leaves_a_split_out(tmp_path: Path):
    a = source(tmp_path / "a.jsonl", "a", 10)
    assert {draw.split for draw in Mixture({a: 1.0}, TRAIN, seed=0)} == {"train"}


def test_the_order_of_the_weights_does_not_matter(tmp_path: Path):
    a, b = source(tmp_path / "a.jsonl", "a", 10), source(tmp_path / "b.jsonl", "b", 10)
    assert list(Mixture({a: 1.0, b: 2.0}, EQUAL, 0)) == list(Mixture({b: 2.0, a: 1.0}, EQUAL, 0))


def test_a_source_that_repeats_itself_without_end_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(mix, "_DUPLICATES_IN_A_ROW", 5)
    monkeypatch.setattr(idioms, "endless_idioms", lambda seed: itertools.repeat("same"))
    with pytest.raises(DataError, match="5 documents in a row were seen before"):
        list(Mixture({"idioms": 1.0}, EQUAL, seed=0))


def test_a_file_that_repeats_itself_just_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mix, "_DUPLICATES_IN_A_ROW", 5)
    path = tmp_path / "same.jsonl"
    path.write_text('{"text": "same"}\n' * 10)
    mixture = Mixture({str(path): 1.0}, EQUAL, seed=0)
    assert [draw.document.text for draw in mixture] == ["same"]
    assert mixture.records()[str(path)].skipped == {"duplicate": 9}


def test_duplicates_stay_where_they_are_wanted(tmp_path: Path):
    path = tmp_path / "same.jsonl"
    path.write_text('{"text": "same"}\n' * 10)
    mixture = Mixture({str(path): 1.0}, EQUAL, seed=0, dedup=False)
    assert [draw.split for draw in mixture] == ["train", "val"] * 5
    assert mixture.records()[str(path)].skipped == {}
