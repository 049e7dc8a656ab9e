"""Lines survive a kill in the middle of a write."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sparsecircuits.study.lines import append_line, read_lines


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    assert read_lines(path) == []
    append_line(path, {"a": 1})
    append_line(path, {"b": "é\n"})
    assert read_lines(path) == [{"a": 1}, {"b": "é\n"}]
    assert path.read_text(encoding="utf-8") == '{"a": 1}\n{"b": "é\\n"}\n'


@pytest.mark.parametrize("rest", ['{"cut": "sh', '{"a": 1', "3"])
def test_a_line_cut_short_costs_no_other(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n' + rest)
    assert read_lines(path) == [{"a": 1}]
    append_line(path, {"c": 3})
    assert read_lines(path) == [{"a": 1}, {"c": 3}]


def test_nothing_is_written_that_is_not_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_line(path, {"a": math.nan})
    assert read_lines(path) == []
