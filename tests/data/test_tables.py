"""Parquet files and saved data sets: rows to documents, and what is said of wrong ones."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparsecircuits.data.reports import Document, SourceReport
from sparsecircuits.data.sources import read_source
from sparsecircuits.errors import DataError

TEXTS = [f"value_{i} = {i}\n" for i in range(300)]


def texts(spec: str, report: SourceReport | None = None) -> list[str]:
    return [document.text for document in read_source(spec, 0, report)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    columns = {"content": TEXTS, "id": list(range(300)), "text": ["other"] + ["same"] * 299}
    pq.write_table(pa.table(columns), path, row_group_size=70)
    return path


def test_a_column_is_chosen(table: Path):
    assert list(read_source(f"{table}?column=content", 0)) == [
        Document(text, f"{table}, row {number}") for number, text in enumerate(TEXTS, start=1)
    ]
    assert texts(str(table))[:2] == ["other", "same"]


def test_folders_and_patterns_of_tables(table: Path):
    table.with_name("b.parquet").write_bytes(table.read_bytes())
    assert sorted(texts(f"{table.parent}?column=content")) == sorted(TEXTS * 2)
    assert sorted(texts(f"{table.parent}/[b]*.parquet?column=content")) == sorted(TEXTS)


def test_another_column_is_refused_with_those_there_are(table: Path):
    with pytest.raises(DataError, match=r"a\.parquet': no column 'contents'; did you mean 'content'\?"):
        texts(f"{table}?column=contents")


def test_bad_rows_are_named(tmp_path: Path):
    path = tmp_path / "a.parquet"
    raw = pa.array(["good", None, "", "a\0b", "a\r\nb\n"]).cast(pa.binary())
    raw = pa.concat_arrays([raw, pa.array([b"caf\xe9"])])
    pq.write_table(pa.table({"text": raw}), path)
    report = SourceReport()
    assert texts(str(path), report) == ["good", "a\nb\n"]
    assert report.named == [
        f'{path}, row 2: no field "text" with a text in it',
        f"{path}, row 3: empty",
        f"{path}, row 4: holds NUL characters or lone surrogates",
        f"{path}, row 6: not UTF-8",
    ]


def test_a_long_line_in_a_row_is_left_out(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["before\n" + "x" * 2_000_000 + "\nafter\n"]}), path)
    report = SourceReport()
    assert texts(str(path), report) == ["before\nafter\n"]
    assert report.named == [f"{path}, row 1, line 2: line longer than 1,000,000 bytes"]


def test_damaged_tables_are_named_and_the_others_stay(table: Path):
    whole = table.read_bytes()
    table.with_name("b.parquet").write_bytes(whole[: len(whole) // 2])
    table.with_name("c.parquet").write_bytes(b"")
    page = whole.index(b"value_")
    table.with_name("d.parquet").write_bytes(whole[: page - 30] + b"\xff" * 60 + whole[page + 30 :])
    report = SourceReport()
    found = texts(f"{table.parent}?column=content", report)
    assert set(TEXTS) <= set(found)
    assert {line.split(": ")[0].rpartition("/")[2][0] for line in report.named} >= {"b", "c"}
    assert all("a damaged parquet file (" in line or "cannot be read (" in line for line in report.named)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))

    def connect(self: socket.socket, address: object) -> None:
        raise AssertionError(f"a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)


def test_what_pyarrow_cannot_do_is_named(table: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise pa.ArrowNotImplementedError("Support for codec 'lzo' not built")

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    report = SourceReport()
    with pytest.raises(DataError, match="no text in it"):
        texts(f"{table}?column=content", report)
    assert report.named == [f"{table}: cannot be read (Support for codec 'lzo' not built)"]


def saved(folder: Path, code: str) -> str:
    """A data set written by another process, so that this one need not import the library."""
    command = [sys.executable, "-c", f"import datasets, sys; folder = sys.argv[1]; {code}", str(folder)]
    environment = os.environ | {"HF_HOME": str(folder.parent / "home")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return f"hf:{folder}"


def test_a_saved_data_set_with_splits(tmp_path: Path, no_network: None):
    spec = saved(
        tmp_path / "saved",
        "make = lambda word: datasets.Dataset.from_dict({'body': [f'{word} {i}' for i in range(5)]});"
        "datasets.DatasetDict(train=make('a'), test=make('b')).save_to_disk(folder)",
    )
    assert texts(f"{spec}?column=body") == [f"a {i}" for i in range(5)]
    assert texts(f"{spec}?column=body&split=test") == [f"b {i}" for i in range(5)]
    with pytest.raises(DataError, match="no split 'tset'; did you mean 'test'"):
        texts(f"{spec}?column=body&split=tset")
    with pytest.raises(DataError, match="no column 'text'; known: body; choose one with"):
        texts(spec)
    one = saved(tmp_path / "one", "datasets.Dataset.from_dict({'text': ['x', 'y']}).save_to_disk(folder)")
    assert list(read_source(one, 0))[1] == Document("y", f"{one}, row 2")


def test_a_folder_of_data_files_is_streamed(table: Path, tmp_path: Path, no_network: None):
    folder = tmp_path / "files"
    folder.mkdir()
    table.rename(folder / "train.parquet")
    assert texts(f"hf:{folder}?column=content") == TEXTS
    with pytest.raises(DataError, match=r"files': ValueError: .*split"):
        texts(f"hf:{folder}?column=content&split=test")
    assert not (tmp_path / "home" / "datasets").exists()  # nothing was copied into a cache


def test_a_data_set_on_the_hub_without_network_is_one_line(tmp_path: Path):
    code = (
        "from sparsecircuits.data import read_source\n"
        "from sparsecircuits.errors import DataError\n"
        "try: next(read_source('hf:org/name?split=train', 0))\n"
        "except DataError as error: print(error)"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("source 'hf:org/name': ")
    assert len(done.stdout.splitlines()) == 1


def test_the_clients_retries_are_not_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """The real ones take half a minute."""
    log = logging.getLogger("huggingface_hub.utils._http")

    def unreachable(*_: object, **__: object) -> None:
        log.warning("Retrying in 1s [Retry 1/5].")
        log.error("this is said")
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
    with pytest.raises(DataError, match="source 'hf:org/name': ConnectionError: no route"):
        next(read_source("hf:org/name", 0))
    assert caplog.messages == ["this is said"]
    assert log.isEnabledFor(logging.WARNING)


def test_names_that_cannot_be_on_the_hub_are_refused_at_once():
    for name in ("hf:a/b/c", "hf:", "hf:./gone"):
        with pytest.raises(DataError, match="neither a folder nor a name on the Hub"):
            read_source(name, 0)


@pytest.mark.parametrize(
    ("package", "spec"), [("pyarrow", "a.parquet"), ("zstandard", "a.txt.zst"), ("datasets", "hf:org/name")]
)
def test_a_missing_package_names_the_extra(
    package: str, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("a.parquet").write_text("")
    Path("a.txt.zst").write_text("")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=rf"needs {package}, .*: pip install 'sparsecircuits\[data\]'"):
        read_source(spec, 0)
