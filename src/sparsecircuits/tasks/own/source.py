"""A task file as rows: from bytes to text, and what JSONL and YAML have in common afterwards.

In goes a path, out comes a :class:`Source`: the settings at the top of the file, its rows as plain mappings,
and where in the file each stands. What the values mean is not looked at yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sparsecircuits.errors import Place, near_misses
from sparsecircuits.tasks.own.problems import Problems

PAIR_KEYS = ("left", "right", "left_answer", "right_answer")
"""What every row of a list of pairs has."""
OPTIONAL_KEYS = ("split", "template")
"""What it may have."""
HEADER_KEYS = ("name", "about", "form", "same_last")
"""What any file may say about its task."""


class Located(NamedTuple):
    """A value and where it stands."""

    value: Any
    place: Place


@dataclass(frozen=True)
class Row:
    """One entry of a file's list."""

    place: Place
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """What a file says."""

    header: Mapping[str, Located] = field(default_factory=dict)
    """Settings by key."""
    pairs: list[Row] | None = None
    """The rows of a list of pairs; None: the file has templates instead."""
    templates: list[Row] | None = None
    """The rows of a list of templates: mappings with ``prompt``, perhaps ``answer`` and ``split``."""


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say of a key that means nothing."""
    if key in ("left_tokens", "right_tokens", "tokens", "token_ids"):
        return f"{key!r}: token ids are not taken; prompts are text, without any padding"
    return f"unknown key {key!r}; {near_misses(key, known)}"


def read_text(path: Path, problems: Problems) -> str | None:
    """The text of a file without a byte order mark, its lines ended by ``\\n``; None where there is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        problems.add(Place(), f"cannot be read: {error.strerror or error}")
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        shown = f"byte 0x{content[error.start]:02x}"
        problems.add(Place(line), f"{shown} is not UTF-8 text; save the file as UTF-8")
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")
