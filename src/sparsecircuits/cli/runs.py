"""``sparsecircuits runs``: the runs there are, how far each is, and how good."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import RUNS
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError

if TYPE_CHECKING:
    from sparsecircuits.study.overview import RunRow

Key = Literal[
    "run",
    "state",
    "step",
    "val_loss",
    "density",
    "l0",
    "dead_neurons",
    "tokens",
    "seconds",
    "circuits",
    "when",
]

COLUMNS = (
    Column("run", "run"),
    Column("state", "state"),
    Column("progress", "step"),
    Column("saved", "goes on at", ",d"),
    Column("val_loss", "validation", ".4f"),
    Column("val_tokens", "on tokens", ",d"),
    Column("density", "density", ".4f"),
    Column("l0", "L0", ",d"),
    Column("dead_neurons", "dead", ".1%"),
    Column("tokens", "tokens", ",d"),
    Column("seconds", "seconds", ",.0f"),
    Column("circuits", "circuits", "d"),
    Column("when", "last change"),
    Column("note", "note"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """List the runs in a folder: state, progress, validation loss, density, nonzero weights (L0), circuits.

    A run is finished, running (somebody trains in it), stopped (the command that began it goes on) or
    damaged; the note says what is wrong. "on tokens" is how many the validation loss was measured on, where
    that differs: losses of unlike numbers cannot be compared. "dead" is the share of the MLP's neurons that
    did not fire in the latest validation.

    Example: sparsecircuits runs --sort val_loss
    """

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")] = RUNS
    """Where to look, in it and below."""
    sort: Key = "run"
    """Order by this, the smallest first, for when the latest; what a run does not say comes last. Validation
    losses on more tokens come before those on fewer."""
    json: bool = False
    """Print JSON instead of a table."""


def run(options: Options) -> None:
    """Look and print."""
    from sparsecircuits.study.overview import survey

    if not options.folder.is_dir():
        raise ConfigError(f"{options.folder}: no such folder")
    rows = ordered(survey(options.folder), options.sort)
    if options.json:
        print_json([row._asdict() for row in rows])
    elif rows:
        print_table([{**row._asdict(), "progress": _progress(row)} for row in rows], _needed(rows))
    else:
        print(f"no runs in {options.folder}; sparsecircuits train NAME makes one")


def ordered(rows: Sequence[RunRow], key: Key) -> list[RunRow]:
    """Rows by ``key``, those without a value last."""
    with_value = [row for row in rows if getattr(row, key) not in (None, "")]
    without = [row for row in rows if getattr(row, key) in (None, "")]
    if key == "val_loss":  # those that can be compared stand together
        with_value.sort(key=lambda row: (-(row.val_tokens or 0), row.val_loss))
    else:
        with_value.sort(key=lambda row: getattr(row, key), reverse=key == "when")
    return with_value + without


def _progress(row: RunRow) -> str | None:
    if row.step is None or row.steps is None or row.step == row.steps:
        return None if row.step is None else f"{row.step:,}"
    return f"{row.step:,} of {row.steps:,} ({row.step / row.steps:.0%})"


def _needed(rows: Sequence[RunRow]) -> list[Column]:
    """Without columns in which nothing would stand."""
    empty = {key for key in rows[0]._fields if all(getattr(row, key) is None for row in rows)}
    if len({row.val_tokens for row in rows} - {None}) == 1:
        empty.add("val_tokens")
    return [column for column in COLUMNS if column.key not in empty]
