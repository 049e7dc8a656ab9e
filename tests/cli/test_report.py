"""Tables and JSON come from the same rows."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from sparsecircuits.cli.report import Column, print_json, print_table

ROWS = [
    {"name": "bracket_counting", "loss": 0.1234, "done": True, "circuit": {"sparse": {"nodes": 12}}},
    {"name": "var_swap", "loss": None, "done": False},
]
COLUMNS = [
    Column("name", "task"),
    Column("loss", "loss", ".3f"),
    Column("done", "done"),
    Column("circuit.sparse.nodes", "nodes", ",d"),
]


def test_cells() -> None:
    assert [column.text(ROWS[0]) for column in COLUMNS] == ["bracket_counting", "0.123", "yes", "12"]
    assert [column.text(ROWS[1]) for column in COLUMNS] == ["var_swap", "–", "no", "–"]


def test_table() -> None:
    out = io.StringIO()
    print_table(ROWS, COLUMNS, title="Tasks", console=Console(file=out, width=80))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["Tasks"] in lines
    assert ["task", "loss", "done", "nodes"] in lines
    assert ["bracket_counting", "0.123", "yes", "12"] in lines
    assert ["var_swap", "–", "no", "–"] in lines


def test_brackets_in_a_cell_are_text_not_markup() -> None:
    out = io.StringIO()
    print_table([{"token": "[bold]]]"}], [Column("token", "token")], console=Console(file=out))
    assert "[bold]]]" in out.getvalue()


def test_a_file_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"a": "x" * 90, "b": "y" * 90}], [Column("a", "a"), Column("b", "b")])
    assert any("x" * 90 in line and "y" * 90 in line for line in capsys.readouterr().out.splitlines())


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(ROWS)
    assert json.loads(capsys.readouterr().out) == ROWS


def test_json_refuses_what_json_does_not_have() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"loss": float("nan")})


def test_columns_say_how_wide_a_pipe_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"about": "word " * 30}]
    for columns, lines in (("80", 2), ("", 1), ("many", 1)):
        monkeypatch.setenv("COLUMNS", columns)
        print_table(rows, [Column("about", "what it is")])
        printed = [line for line in capsys.readouterr().out.splitlines() if "word" in line]
        assert len(printed) == lines
        assert max(map(len, printed)) <= (80 if lines == 2 else 200)
