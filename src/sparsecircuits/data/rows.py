"""Rows as documents: ``.jsonl`` files, and the text of any row, be it of a file or a table.

Each line of a ``.jsonl`` is an object, of which one field is the text. What is no row, or has no text, is
left out and named. That the field is the wrong one is an error, as a column is that a table does not have: of
the first :data:`ROWS_LOOKED_AT` objects, or of a whole file, more than half lack it. A field that the user
chose (``?column=NAME``) is taken at his word, as long as one object of the file has it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from sparsecircuits.data import reports
from sparsecircuits.data.reports import Document, SourceReport, cut
from sparsecircuits.data.texts import BYTE_ORDER_MARK, LONG_LINE, MARK, NotText, blocks
from sparsecircuits.errors import DataError, near_misses

ROWS_LOOKED_AT = 100
"""After so many objects it is decided whether the field is the right one; at the end of the file again."""
_FIELDS_NAMED = 12


class FieldWatch:
    """Counts the objects of a file that lack the field of the text."""

    def __init__(self, path: Path, field: str, *, chosen: bool) -> None:
        """Begin; ``chosen`` says that the user named the field."""
        self._path, self._field, self._chosen = path, field, chosen
        self._rows = self._lacking = 0
        self._others: Counter[str] = Counter()

    def see(self, row: object) -> None:
        """Count a row; what is no object does not count.

        Raises:
            DataError: this is the row at which it shows that the field is the wrong one.
        """
        if not isinstance(row, dict):
            return
        self._rows += 1
        self._lacking += self._field not in row
        if self._rows <= ROWS_LOOKED_AT:
            self._others.update(key for key in row if key != self._field)
            if self._rows == ROWS_LOOKED_AT and not self._chosen:
                self._require("first ")

    def end(self) -> None:
        """The file has no more rows.

        Raises:
            DataError: the field is the wrong one.
        """
        self._require("")

    def _require(self, first: str) -> None:
        has = self._rows - self._lacking
        if not self._lacking or (has if self._chosen else has >= self._lacking):
            return
        where = f" in {self._lacking:,} of its {first}{self._rows:,} rows" if has else ""
        anyway = f"; ?column={self._field} takes the others" if has else ""
        known = [name for name, _ in self._others.most_common(_FIELDS_NAMED)]
        raise DataError(f"{missing_column(self._field, known, str(self._path), where)}{anyway}")


def missing_column(column: str, known: Iterable[str], source: str, where: str = "") -> str:
    """What is said of a field or column that is not there, with those that are."""
    return (
        f"source {source!r}: no column {column!r}{where}; {near_misses(column, known)}; "
        "choose one with ?column=NAME"
    )


def read_jsonl(path: Path, field: str, report: SourceReport, *, chosen: bool = False) -> Iterator[Document]:
    """The documents of a file with one JSON object a line.

    Args:
        path: the file.
        field: of the object, that holds the text.
        report: is filled.
        chosen: whether the user named the field, so that one row that has it is enough.

    Raises:
        DataError: the field is the wrong one; with those that there are.
    """
    watch = FieldWatch(path, field, chosen=chosen)
    try:
        for block in blocks(path):
            if block.content is None:
                where = f"{path}, row {block.line}"
                report.skip(where, f"row longer than {reports.LINE_BYTES:,} bytes")
                continue
            content = block.content
            if block.byte == 0 and content.startswith(MARK):
                report.skip(str(path), BYTE_ORDER_MARK)
                content = content[len(MARK) :]
            for number, raw in enumerate(content.split(b"\n"), start=block.line):
                if raw.strip():  # an empty line is no row
                    yield from _read_row(raw, f"{path}, row {number}", field, report, watch)
    except OSError:
        report.skip(str(path), "cannot be read")
    except NotText as error:
        report.skip(str(path), str(error))
    watch.end()


def text_of_row(text: object, origin: str, field: str, report: SourceReport) -> Iterator[Document]:
    """What a row's field holds, as documents; or the reason why it is left out."""
    if not isinstance(text, str):
        return report.skip(origin, f'no field "{field}" with a text in it')
    if not text or text.isspace():
        return report.skip(origin, "empty")
    if "\0" in text or _has_surrogates(text):
        return report.skip(origin, "holds NUL characters or lone surrogates")
    if len(text) > reports.LINE_BYTES:
        text = _without_long_lines_of_text(text, origin, report)
    yield from cut(text.replace("\r\n", "\n"), origin)


def _read_row(
    raw: bytes, origin: str, field: str, report: SourceReport, watch: FieldWatch
) -> Iterator[Document]:
    try:
        row = json.loads(raw.decode())
    except UnicodeDecodeError:
        return report.skip(origin, "not UTF-8")
    except (ValueError, RecursionError):
        return report.skip(origin, "not JSON")
    watch.see(row)
    yield from text_of_row(row.get(field) if isinstance(row, dict) else None, origin, field, report)


def _without_long_lines_of_text(text: str, origin: str, report: SourceReport) -> str:
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if len(line) > reports.LINE_BYTES:
            report.skip(f"{origin}, line {number}", LONG_LINE)
    return "\n".join(line for line in lines if len(line) <= reports.LINE_BYTES)


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
