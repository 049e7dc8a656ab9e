"""Parquet files and Hugging Face data sets as documents: one row after the other, one column of them.

Rows are read a few at a time: neither a file nor one of its row groups is ever in memory whole, as far as
its writer has cut it into pages. Nothing goes over the network but for a data set named on the Hub.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sparsecircuits.data.extras import import_extra
from sparsecircuits.data.reports import Document, SourceReport
from sparsecircuits.data.rows import missing_column, text_of_row
from sparsecircuits.errors import DataError, near_misses

_ROWS = 64
_HUB_NAME = re.compile(r"(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(:(?P<config>[\w.-]+))?")
_SAVED = ("state.json", "dataset_dict.json")
"""One of them is in a folder that ``save_to_disk`` wrote."""


def read_parquet(path: Path, column: str, report: SourceReport) -> Iterator[Document]:
    """The documents of one column.

    Raises:
        DataError: there is no such column; with those that there are.
    """
    pyarrow = import_extra("pyarrow", str(path))
    parquet = import_extra("pyarrow.parquet", str(path))
    try:
        with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            require_column(column, file.schema_arrow.names, str(path))
            batches = file.iter_batches(batch_size=_ROWS, columns=[column], use_threads=False)
            cells = (cell for batch in batches for cell in batch.column(0))
            yield from _read_rows(_python_values(cells), str(path), column, report)
    except pyarrow.ArrowInvalid as error:
        report.skip(str(path), f"a damaged parquet file ({_first_line(error)})")
    except (OSError, pyarrow.ArrowException) as error:  # a damaged page, or what pyarrow cannot do
        report.skip(str(path), f"cannot be read ({_first_line(error)})")


def read_hub(
    name: str, column: str, split: str | None, revision: str | None, report: SourceReport
) -> Iterator[Document]:
    """The documents of a data set that ``datasets`` opens, streamed.

    Args:
        name: ``org/name`` or ``org/name:config`` on the Hub, or a folder here: one that ``save_to_disk``
            wrote, or of data files.
        column: that holds the text.
        split: None: the one called train, or the only one.
        revision: of a data set on the Hub: a branch, tag or commit.
        report: is filled.

    Raises:
        DataError: it, its split or its column does not exist, or reading it failed.
    """
    source = f"hf:{name}"
    datasets = import_extra("datasets", source)
    try:
        with _without_retries_told():
            data = _opened(datasets, name, split, revision)
        known = data.column_names
        if known is None:
            known = list(next(iter(data), {}))
        require_column(column, known, source)
        rows = (row[column] for row in data.select_columns([column]))
        yield from _read_rows(rows, source, column, report)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"source {source!r}: {type(error).__name__}: {_first_line(error)}") from error


def check_hub_name(name: str) -> None:
    """Raise :class:`DataError` unless ``name`` is a folder, or spelled as a data set on the Hub is."""
    if not (name and Path(name).is_dir()) and not _HUB_NAME.fullmatch(name):
        raise DataError(
            f"source 'hf:{name}': neither a folder nor a name on the Hub; allowed: hf:NAME, hf:ORG/NAME, "
            "hf:ORG/NAME:CONFIG, hf:FOLDER"
        )


def require_column(column: str, known: Iterable[str], source: str) -> None:
    """Raise :class:`DataError` with the columns that there are unless ``column`` is among them."""
    known = list(known)
    if column not in known:
        raise DataError(missing_column(column, known, source))


def _opened(datasets: Any, name: str, split: str | None, revision: str | None) -> Any:
    if Path(name).is_dir():
        if not any((Path(name) / mark).is_file() for mark in _SAVED):
            return datasets.load_dataset(name, split=split or "train", streaming=True)
        data = datasets.load_from_disk(name)
        return _split_of(data, split, name) if isinstance(data, datasets.DatasetDict) else data
    found = _HUB_NAME.fullmatch(name)
    assert found is not None, "checked before"
    return datasets.load_dataset(
        found["name"], found["config"], split=split or "train", revision=revision, streaming=True
    )


@contextlib.contextmanager
def _without_retries_told() -> Iterator[None]:
    """Within the block the Hub's client tries again without a word; what comes of it is told in the end."""
    log = logging.getLogger("huggingface_hub")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _split_of(data: Any, split: str | None, name: str) -> Any:
    if split is None:
        split = next(iter(data)) if len(data) == 1 else "train"
    if split not in data:
        raise DataError(f"source 'hf:{name}': no split {split!r}; {near_misses(split, data)}")
    return data[split]


def _read_rows(rows: Iterable[Any], source: str, column: str, report: SourceReport) -> Iterator[Document]:
    for number, text in enumerate(rows, start=1):
        origin = f"{source}, row {number}"
        if isinstance(text, UnicodeDecodeError):
            report.skip(origin, "not UTF-8")
        else:
            yield from text_of_row(text, origin, column, report)


def _python_values(cells: Iterable[Any]) -> Iterator[object]:
    """Each cell's value; bytes are taken as UTF-8; the error itself for a text that is none."""
    for cell in cells:
        try:
            value = cell.as_py()
            yield value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError as error:
            yield error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
