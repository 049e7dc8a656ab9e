"""Results on stdout: one set of rows, shown as a table or as JSON.

Rows are plain mappings, the same that go into a run's ``summary.json``; a :class:`Column` picks a
value out of a row by its dotted key and says how to write it. With ``--json`` a command prints the
rows themselves instead, so nothing can be in the table that is not in the JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

NOTHING = "–"
"""What a table shows for a value that is missing or None."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    key: str
    """Where in a row the value is; ``circuit.sparse.nodes`` looks into nested mappings."""
    title: str
    """The column's heading."""
    format: str = ""
    """Format specification for numbers, such as ``.3f``, ``,d`` or ``.1%``."""

    def text(self, row: Mapping[str, Any]) -> str:
        """The cell of this column in ``row``.

        >>> Column("loss.sparse", "loss", ".2f").text({"loss": {"sparse": 0.1234}})
        '0.12'
        """
        value: Any = row
        for part in self.key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None:
            return NOTHING
        if isinstance(value, bool):
            return "yes" if value else "no"
        return format(value, self.format) if isinstance(value, (int, float)) else str(value)


def print_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    title: str | None = None,
    console: Console | None = None,
) -> None:
    """Print ``rows`` as a table on stdout: columns with a format to the right, the others to the left."""
    console = console or results_console()
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(Text(column.title), justify="right" if column.format else "left")
    for row in rows:
        table.add_row(*(Text(column.text(row)) for column in columns))
    console.print(table)


def print_json(data: Any) -> None:
    """Print ``data`` as indented JSON on stdout.

    Raises:
        ValueError: a NaN or an infinity, which JSON does not have; use None.
    """
    print(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def results_console() -> Console:
    """A console on stdout, wide where it is no terminal, so that files and pipes get whole lines.

    The variable ``COLUMNS`` says how wide, wherever it goes.
    """
    console = Console(highlight=False)
    told = os.environ.get("COLUMNS", "").isdigit()
    return console if console.is_terminal or told else Console(highlight=False, width=200)
