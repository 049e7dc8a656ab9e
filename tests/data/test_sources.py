import itertools
import json
import os
from pathlib import Path

import pytest

from sparsecircuits.data import reports
from sparsecircuits.data.reports import Document, SourceReport
from sparsecircuits.data.sources import read_source
from sparsecircuits.errors import DataError


def texts(spec: Path | str, seed: int = 0, report: SourceReport | None = None) -> list[str]:
    return [document.text for document in read_source(str(spec), seed, report)]


def jsonl(path: Path, *rows: bytes) -> Path:
    path.write_bytes(b"\n".join(rows) + b"\n")
    return path


def test_a_folder_gives_its_py_and_txt_files(tmp_path: Path):
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "__pycache__").mkdir()
    for name in ("a.py", "b.txt", "c.md", "deep/deeper/d.py", ".git/e.py", "__pycache__/f.py"):
        (tmp_path / name).write_text(name)
    assert sorted(texts(tmp_path)) == ["a.py", "b.txt", "deep/deeper/d.py"]


def test_the_seed_orders_the_files(tmp_path: Path):
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text(str(number))
    assert texts(tmp_path, seed=1) == texts(tmp_path, seed=1)
    assert texts(tmp_path, seed=1) != texts(tmp_path, seed=2)
    assert sorted(texts(tmp_path, seed=1)) == sorted(texts(tmp_path, seed=2))


def test_a_single_file_has_its_path_as_origin(tmp_path: Path):
    path = tmp_path / "one.py"
    path.write_text("x = 1\n")
    assert list(read_source(str(path), 0)) == [Document("x = 1\n", str(path))]


def test_byte_order_mark_and_carriage_returns_are_dropped(tmp_path: Path):
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert texts(path) == ["one\ntwo\n"]


def test_bad_files_are_skipped_counted_and_named(tmp_path: Path):
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "blank.txt").write_text(" \n\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "utf16.txt").write_bytes("text".encode("utf-16"))
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    report = SourceReport()
    assert texts(tmp_path, report=report) == ["good"]
    assert report.documents == 1
    assert report.skipped == {"empty": 2, "not UTF-8": 2, "holds NUL bytes": 1}
    assert f"{tmp_path / 'latin.txt'}, byte 3: not UTF-8" in report.named
    assert f"{tmp_path / 'binary.txt'}, byte 1: holds NUL bytes" in report.named


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all"
)
def test_an_unreadable_file_is_skipped(tmp_path: Path):
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "closed.txt").write_text("closed")
    (tmp_path / "closed.txt").chmod(0)
    report = SourceReport()
    assert texts(tmp_path, report=report) == ["good"]
    assert report.skipped == {"cannot be read": 1}


def test_a_dangling_link_is_skipped(tmp_path: Path):
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone.txt")
    report = SourceReport()
    assert texts(tmp_path, report=report) == ["good"]
    assert report.named == [f"{tmp_path / 'link.txt'}: cannot be read"]


def test_a_line_of_ten_megabytes_is_skipped_and_the_rest_stays(tmp_path: Path):
    path = tmp_path / "long.txt"
    path.write_bytes(b"before\n" + b"x" * 10_000_000 + b"\nafter\n")
    report = SourceReport()
    assert texts(path, report=report) == ["before\nafter\n"]
    assert report.named == [f"{path}, line 2: line longer than 1,000,000 bytes"]


def test_a_long_text_is_cut_at_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reports, "DOCUMENT_CHARS", 8)
    path = tmp_path / "long.txt"
    path.write_text("aaa\nbbb\nccc\nddddddddddd\ne\n")
    assert list(read_source(str(path), 0)) == [
        Document("aaa\nbbb\n", f"{path}, part 1"),
        Document("ccc\n", f"{path}, part 2"),
        Document("ddddddddddd\n", f"{path}, part 3"),
        Document("e\n", f"{path}, part 4"),
    ]


def test_jsonl_rows(tmp_path: Path):
    rows = (b'\xef\xbb\xbf{"text": "one"}', b"", b'{"text": "two\\r\\n", "id": 2}')
    path = jsonl(tmp_path / "a.jsonl", *rows)
    assert list(read_source(str(path), 0)) == [
        Document("one", f"{path}, row 1"),
        Document("two\n", f"{path}, row 3"),
    ]


def test_bad_rows_are_named_with_their_number(tmp_path: Path):
    path = jsonl(
        tmp_path / "a.jsonl",
        b'{"text": "good"}',
        b'{"text": ',
        b'{"content": "x"}',
        b'{"text": 3}',
        b'["text"]',
        b'{"text": " "}',
        b'{"text": "caf\xe9"}',
        b'{"text": "\\ud800"}',
        b'{"text": "' + b"x" * 1_000_000 + b'"}',
        b"[" * 100_000,
    )
    report = SourceReport()
    assert texts(path, report=report) == ["good"]
    field = 'no field "text" with a text in it'
    assert report.named == [
        f"{path}, row 2: not JSON",
        f"{path}, row 3: {field}",
        f"{path}, row 4: {field}",
        f"{path}, row 5: {field}",
        f"{path}, row 6: empty",
        f"{path}, row 7: not UTF-8",
        f"{path}, row 8: holds NUL characters or lone surrogates",
        f"{path}, row 9: row longer than 1,000,000 bytes",
        f"{path}, row 10: not JSON",
    ]
    assert report.skipped[field] == 3


def test_all_skips_are_counted_and_the_first_named(tmp_path: Path):
    path = jsonl(tmp_path / "a.jsonl", *[b'{"text": 3}'] * 60, json.dumps({"text": "good"}).encode())
    report = SourceReport()
    assert texts(path, report=report) == ["good"]
    assert sum(report.skipped.values()) == 60
    assert len(report.named) == 50


def test_a_source_without_text_is_an_error_that_names_the_reasons(tmp_path: Path):
    with pytest.raises(DataError, match=r"no text in it \(nothing skipped\)"):
        texts(tmp_path)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match=r"no text in it \(1 × empty\)\n.*empty\.txt: empty"):
        texts(tmp_path)


def test_unknown_sources_are_refused_at_once(tmp_path: Path):
    with pytest.raises(DataError, match="'idoms'.*did you mean 'idioms'"):
        read_source("idoms", 0)
    (tmp_path / "a.csv.gz").write_text("")
    with pytest.raises(DataError, match=r"kind '\.csv'; allowed: \.py, \.txt, \.md, \.jsonl, \.parquet"):
        read_source(str(tmp_path / "a.csv.gz"), 0)


def test_the_standard_library_is_code_without_tests():
    first = list(itertools.islice(read_source("stdlib", 0), 40))
    assert first == list(itertools.islice(read_source("stdlib", 0), 40))
    assert all(document.origin.startswith("stdlib/") for document in first)
    assert not any("/test/" in document.origin or "site-packages" in document.origin for document in first)
    assert sum("def " in document.text for document in first) > 20


def test_idioms_do_not_end_and_follow_the_seed():
    first = list(itertools.islice(read_source("idioms", 3), 50))
    assert len(first) == 50
    assert first == list(itertools.islice(read_source("idioms", 3), 50))
    assert first != list(itertools.islice(read_source("idioms", 4), 50))


def test_a_pattern_takes_text_of_any_ending(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("a.md", "deep/b.md", "c.txt", "deep/d.rst", ".hidden/e.md"):
        (tmp_path / name).write_text(name)
    jsonl(tmp_path / "rows.jsonl", b'{"text": "row"}')
    assert sorted(texts(f"{tmp_path}/**/*.md")) == ["a.md", "deep/b.md"]
    assert sorted(texts(f"{tmp_path}/*.[mj]*")) == ["a.md", "row"]
    assert texts(f"{tmp_path}/deep/?.rst") == ["deep/d.rst"]
    with pytest.raises(DataError, match="no file matches the pattern"):
        read_source(f"{tmp_path}/*.gone", 0)


def test_a_folder_without_text_gives_its_rows(tmp_path: Path):
    jsonl(tmp_path / "a.jsonl", b'{"text": "one"}')
    jsonl(tmp_path / "b.jsonl", b'{"text": "two"}')
    assert sorted(texts(tmp_path)) == ["one", "two"]
    (tmp_path / "c.txt").write_text("three")
    assert texts(tmp_path) == ["three"]


def test_the_packages_of_the_running_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, second = tmp_path / "a" / "site-packages", tmp_path / "b" / "dist-packages"
    for path, text in ((first / "one" / "x.py", "x"), (first / "one" / "y.txt", "y"), (second / "z.py", "z")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    link = tmp_path / "c" / "site-packages"
    link.parent.mkdir()
    link.symlink_to(first)
    monkeypatch.setattr("sys.path", ["", str(first), str(tmp_path), str(second), str(link)])
    assert sorted(read_source("site-packages", 0), key=lambda document: document.text) == [
        Document("x", "site-packages/one/x.py"),
        Document("z", "site-packages/z.py"),
    ]


def test_the_real_packages_are_code():
    first = list(itertools.islice(read_source("site-packages", 0), 40))
    assert all(document.origin.startswith("site-packages/") for document in first)
    assert sum("def " in document.text or "import " in document.text for document in first) > 20


def test_what_is_not_read_beside_text_is_counted_and_named(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.jsonl").write_text('{"text": "b"}\n')
    (tmp_path / "c.parquet").write_bytes(b"")
    report = SourceReport()
    assert texts(tmp_path, report=report) == ["a"]
    assert report.named == [
        f"{tmp_path / name}: not read beside .py and .txt files" for name in ("b.jsonl", "c.parquet")
    ]


def test_what_a_folder_has_of_other_endings_is_counted(tmp_path: Path):
    for name in ("a.txt", "b.md", "c.md", "deep/d.md", "e.png", "LICENSE", ".gitignore", "f.tar.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a")
    report = SourceReport()
    assert texts(tmp_path, report=report) == ["a"]
    assert report.skipped == {
        "of ending .md, not read": 3,
        "of ending .png, not read": 1,
        "without an ending, not read": 1,
        "of ending .tar, not read": 1,
    }
    assert report.named[0] == f"{tmp_path}: of ending .md, not read"


def test_a_folder_of_other_endings_is_refused_at_once_with_the_pattern_that_reads_it(tmp_path: Path):
    folder = tmp_path / "notes[1]"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.md"):
        (folder / name).write_text(name)
    with pytest.raises(DataError) as raised:
        read_source(str(folder), 0)
    message = str(raised.value)
    assert "but 2 of ending .png, 1 of ending .md; a pattern reads text of any ending" in message
    assert texts(message.rpartition(": ")[2].strip("'")) == ["c.md"]


def test_text_has_no_column(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a")
    for source in (tmp_path, tmp_path / "a.txt", tmp_path / "*.txt"):
        with pytest.raises(DataError, match=r"column=x': text has no columns; \?column= is for \.jsonl and"):
            read_source(f"{source}?column=x", 0)
    jsonl(tmp_path / "b.jsonl", b'{"x": "b"}')
    assert sorted(texts(f"{tmp_path}/*?column=x")) == ["a", "b"]  # it is of the rows


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a")
    os.mkfifo(tmp_path / "pipe.txt")
    report = SourceReport()
    assert texts(tmp_path, report=report) == ["a"]
    assert report.named == [f"{tmp_path / 'pipe.txt'}: cannot be read"]
    with pytest.raises(DataError, match="neither a file nor a folder"):
        texts(tmp_path / "pipe.txt")
