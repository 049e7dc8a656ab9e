"""The field that the rows of a .jsonl lack: an error where it is the wrong one, a row left out where not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsecircuits.data.reports import SourceReport
from sparsecircuits.data.sources import read_source
from sparsecircuits.errors import DataError


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(spec: str | Path) -> list[str]:
    return [document.text for document in read_source(str(spec), 0, SourceReport())]


def test_a_field_that_most_rows_lack_is_the_wrong_one(tmp_path: Path):
    others = [{"body": f"row {i}", "id": i} for i in range(9)]
    path = write(tmp_path / "a.jsonl", {"text": "the one"}, *others)
    with pytest.raises(DataError) as raised:
        texts(path)
    assert str(raised.value) == (
        f"source '{path}': no column 'text' in 9 of its 10 rows; known: body, id; "
        "choose one with ?column=NAME; ?column=text takes the others"
    )
    assert texts(f"{path}?column=text") == ["the one"]
    assert texts(f"{path}?column=body") == [f"row {i}" for i in range(9)]


def test_a_field_that_no_row_has_is_refused_though_it_was_chosen(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", *[{"body": "x", "id": 3}] * 2)
    with pytest.raises(DataError, match=r"a\.jsonl': no column 'bodi'; did you mean 'body'\?; choose one"):
        texts(f"{path}?column=bodi")


def test_half_of_the_rows_may_lack_it(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", {"text": "one"}, {"body": "two"}, ["text"], "text")
    assert texts(path) == ["one"]


def test_it_shows_after_a_hundred_rows_not_at_the_end_of_a_long_file(tmp_path: Path):
    rows = [{"body": "x"}] * 51 + [{"text": f"row {i}"} for i in range(1000)]
    path = write(tmp_path / "a.jsonl", *rows)
    with pytest.raises(DataError, match="in 51 of its first 100 rows"):
        texts(path)
    path = write(tmp_path / "b.jsonl", *rows[1:])
    assert len(texts(path)) == 1000
    path = write(tmp_path / "c.jsonl", *rows[51:], *[{"body": "x"}] * 1001)
    with pytest.raises(DataError, match="in 1,001 of its 2,001 rows"):
        texts(path)
