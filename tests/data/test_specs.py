from pathlib import Path

import pytest

from sparsecircuits.data.specs import parse_spec
from sparsecircuits.errors import DataError


@pytest.mark.parametrize(
    ("text", "kind", "name", "options"),
    [
        ("idioms", "made", "idioms", {}),
        ("./idioms", "path", "./idioms", {}),
        ("site-packages", "made", "site-packages", {}),
        ("a.parquet?column=content", "path", "a.parquet", {"column": "content"}),
        ("a/**/*.md", "pattern", "a/**/*.md", {}),
        ("a?.txt", "pattern", "a?.txt", {}),
        ("a?.jsonl?column=x", "pattern", "a?.jsonl", {"column": "x"}),
        ("hf:org/n:cfg?split=a[:9]&column=x&revision=b", "hub", "org/n:cfg",
         {"split": "a[:9]", "column": "x", "revision": "b"}),
    ],
)  # fmt: skip
def test_taken_apart(text: str, kind: str, name: str, options: dict[str, str]):
    spec = parse_spec(text)
    assert (spec.kind, spec.name, spec.options) == (kind, name, options)
    assert spec.column == options.get("column", "text")


def test_a_file_of_that_very_name_counts_first(tmp_path: Path):
    path = tmp_path / "a?b=[c].txt"
    path.write_text("x")
    spec = parse_spec(str(path))
    assert (spec.kind, spec.name, spec.options) == ("path", str(path), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.parquet?colum=x", "unknown option 'colum'; did you mean 'column'"),
        ("a.parquet?split=x", "unknown option 'split'; known: column"),
        ("idioms?column=x", "unknown option 'column'; known: none"),
        ("a.parquet?column=", "option 'column='; expected NAME=VALUE, each name once"),
        ("a.parquet?column=a&column=b", "option 'column=b'; expected"),
    ],
)
def test_wrong_options_are_refused(text: str, message: str):
    with pytest.raises(DataError, match=message):
        parse_spec(text)


@pytest.mark.parametrize("text", ["", "  ", "?column=body"])
def test_nothing_is_not_the_current_folder(text: str):
    with pytest.raises(DataError, match="it names nothing"):
        parse_spec(text)
    assert parse_spec(".").kind == "path"
