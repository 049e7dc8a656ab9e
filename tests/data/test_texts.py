"""Text and .jsonl files, whole, compressed and damaged: what is handed on, and what is named."""

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from sparsecircuits.data import reports, texts
from sparsecircuits.data.reports import Cutter, Document, SourceReport
from sparsecircuits.data.rows import read_jsonl
from sparsecircuits.data.sources import read_source
from sparsecircuits.data.texts import read_text_file

LONG = "".join(f"line {i} of a text that fills several chunks\n" for i in range(20_000))  # 0.9 MB


def pack(path: Path, content: bytes) -> Path:
    """Write ``content`` as the path's ending says."""
    if path.suffix == ".gz":
        content = gzip.compress(content)
    elif path.suffix == ".zst":
        content = zstandard.compress(content)
    path.write_bytes(content)
    return path


def read(path: Path) -> tuple[list[Document], SourceReport]:
    report = SourceReport()
    return list(read_text_file(path, report)), report


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_a_compressed_file_reads_as_the_plain_one(ending: str, tmp_path: Path):
    path = pack(tmp_path / f"a.txt{ending}", LONG.encode())
    documents, report = read(path)
    assert "".join(document.text for document in documents) == LONG
    assert report.skipped == {}
    assert max(len(document.text) for document in documents) <= 8192
    # Every document but the last is as full as whole lines allow.
    assert all(
        len(a.text) + b.text.index("\n") + 1 > 8192 for a, b in zip(documents, documents[1:], strict=False)
    )
    assert documents[1].origin == f"{path}, part 2"


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_compressed_rows_are_numbered(ending: str, tmp_path: Path):
    rows = "".join(json.dumps({"body": f"text {i}" * 20}) + "\n" for i in range(5000))
    path = pack(tmp_path / f"a.jsonl{ending}", rows.encode())
    documents = list(read_jsonl(path, "body", SourceReport()))
    assert len(documents) == 5000
    assert documents[4321] == Document("text 4321" * 20, f"{path}, row 4322")
    assert list(read_source(f"{path}?column=body", 0)) == documents


@pytest.mark.parametrize(
    ("ending", "reason"), [(".gz", "a .gz that is cut off"), (".zst", "a .zst that is cut off")]
)
def test_a_compressed_file_that_is_cut_off_is_named(ending: str, reason: str, tmp_path: Path):
    path = pack(tmp_path / f"a.txt{ending}", LONG.encode())
    path.write_bytes(path.read_bytes()[:-200])
    documents, report = read(path)
    assert report.named == [f"{path}: {reason}"]
    assert LONG.startswith("".join(document.text for document in documents))
    assert len(documents) > 20  # what came before stays


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_compressed_file_of_another_kind_is_named(ending: str, tmp_path: Path):
    (tmp_path / f"a.txt{ending}").write_bytes(b"plain text, really\n" * 100)
    documents, report = read(tmp_path / f"a.txt{ending}")
    assert documents == []
    assert f"a damaged {ending} (" in report.named[0]


def test_two_compressed_pieces_one_after_the_other_are_one_file(tmp_path: Path):
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zstandard.compress(b"one\n") + zstandard.compress(b"two\n"))
    assert [document.text for document in read(path)[0]] == ["one\ntwo\n"]


def test_a_megabyte_of_zeros_in_a_few_bytes_is_no_burden(tmp_path: Path):
    path = pack(tmp_path / "a.txt.zst", b"0" * 100_000_000 + b"\nend\n")
    assert path.stat().st_size < 20_000
    documents, report = read(path)
    assert [document.text for document in documents] == ["end\n"]
    assert report.named == [f"{path}, line 1: line longer than 1,000,000 bytes"]


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = "ä\r\n\n" + "x" * 50 + "\nünïcode\n" * 9 + "last"
    (tmp_path / "a.txt").write_bytes(text.encode())
    monkeypatch.setattr(reports, "DOCUMENT_CHARS", 30)
    monkeypatch.setattr(reports, "LINE_BYTES", 40)
    whole = read(tmp_path / "a.txt")
    assert whole[1].named == [f"{tmp_path / 'a.txt'}, line 3: line longer than 1,000,000 bytes"]
    kept = text.replace("x" * 50 + "\n", "").replace("\r\n", "\n")
    assert "".join(document.text for document in whole[0]) == kept
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr(texts, "_CHUNK", size)
        assert read(tmp_path / "a.txt") == whole


@pytest.mark.parametrize(("bad", "reason"), [(b"\xff", "not UTF-8"), (b"\0", "holds NUL bytes")])
def test_the_byte_is_named_at_which_a_file_is_no_text(bad: bytes, reason: str, tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(LONG.encode() + "ä".encode() + bad + b"\nmore\n" + LONG.encode())
    documents, report = read(path)
    assert report.named == [f"{path}, byte {len(LONG) + 2:,}: {reason}"]
    assert LONG.startswith("".join(document.text for document in documents))
    assert sum(len(document.text) for document in documents) > len(LONG) - 8192


def test_a_dropped_byte_order_mark_is_counted(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\n")
    documents, report = read(tmp_path / "a.txt")
    assert [document.text for document in documents] == ["one\n"]
    assert report.skipped == {"byte order mark, dropped": 1}
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf")
    assert read(tmp_path / "b.txt")[1].skipped == {"byte order mark, dropped": 1, "empty": 1}


def test_lines_that_are_longer_than_a_document():
    cutter = Cutter("a", limit=5)
    assert [d.text for d in cutter.add("123456789\nab\ncd\n  \n  \n  \n")] == ["123456789\n", "ab\n", "cd\n"]
    assert [d.text for d in (*cutter.add("x\ny"), *cutter.end())] == ["  \nx\n", "y"]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_the_lines_before_damage_at_the_end_stay(ending: str, tmp_path: Path):
    """Fewer than a document's 8,192 characters: nothing had been handed on before the damage."""
    good = "".join(f"line {i * 7919 % 10007}\n" for i in range(600))
    path = pack(tmp_path / f"a.txt{ending}", good.encode() + (b"" if ending else b"caf\xe9\n"))
    if ending == ".gz":
        path.write_bytes(path.read_bytes()[:-8])  # all of the text, none of its sum
    elif ending == ".zst":
        path.write_bytes(path.read_bytes() + zstandard.compress(b"more")[:-1])
    documents, report = read(path)
    assert [document.text for document in documents] == [good]
    assert sum(report.skipped.values()) == 1
