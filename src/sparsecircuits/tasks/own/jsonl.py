"""JSONL: a pair a line, after a first line of settings if there is one.

A row's number is the number of its line, blank lines counted, so that it is where an editor goes.
"""

from __future__ import annotations

import json
from typing import Any

from sparsecircuits.errors import Place
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.own.source import (
    HEADER_KEYS,
    OPTIONAL_KEYS,
    PAIR_KEYS,
    Located,
    Row,
    Source,
    unknown_key,
)


def read_jsonl(text: str, problems: Problems) -> Source:
    """The rows of a file; lines that are none are noted as problems."""
    header: dict[str, Located] = {}
    rows: list[Row] = []
    if text.lstrip().startswith("["):
        line = text[: len(text) - len(text.lstrip())].count("\n") + 1
        problems.add(
            Place(line), "a JSON array; in a .jsonl file each line is one object, with no brackets around"
        )
        return Source(header, pairs=rows)
    first = True
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = Place(number)
        data = _object(line, place, problems)
        if data is not None:
            if not _is_header(data):
                rows.append(Row(place, data))
            elif first:
                header = {key: Located(value, place) for key, value in data.items()}
            else:
                problems.add(place, "only the file's first row can be a header; a pair has " + _needed())
        first = False
    return Source(header, pairs=rows)


def _is_header(data: dict[str, Any]) -> bool:
    """Whether a row speaks of the task and not of a pair."""
    return any(key in HEADER_KEYS for key in data) and not any(key in PAIR_KEYS for key in data)


def _needed() -> str:
    return ", ".join(PAIR_KEYS)


def _object(line: str, place: Place, problems: Problems) -> dict[str, Any] | None:
    """The object on a line, or None and why it is none."""
    twice: list[str] = []

    def once(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in entries]
        twice.extend(key for key in dict.fromkeys(keys) if keys.count(key) > 1)
        return dict(entries)

    text = line.strip()
    try:
        data = json.loads(text, object_pairs_hook=once)
    except RecursionError:
        problems.add(place, "not JSON that can be read: nested too deeply")
        return None
    except ValueError as error:
        problems.add(place, f"not JSON: {_why(text, error)}")
        return None
    if not isinstance(data, dict):
        problems.add(place, f"{_kind(data)}, where an object is needed: {{{_needed()}}}")
        return None
    for key in twice:
        problems.add(place, f"the key {key!r} occurs twice")
    header = _is_header(data)
    allowed = HEADER_KEYS if header else (*PAIR_KEYS, *OPTIONAL_KEYS)
    for key in data:
        if key in HEADER_KEYS and not header:
            problems.add(place, f"the key {key!r} belongs into a header, the file's first row")
        elif key not in allowed:
            known = allowed if header else (*allowed, *HEADER_KEYS)
            problems.add(place, unknown_key(key, known))
    return data


def _why(text: str, error: ValueError) -> str:
    """What is wrong, with a hint where the mistake is a common one."""
    if text in ("{", "}", "},") or text.startswith('"'):
        return "in a .jsonl file each object is on one line"
    if text.endswith("},"):
        return "a comma after the object; each line is one object, with nothing between them"
    if "\0" in text:
        return "a NUL character; prompts are text, without any padding"
    where = f" (column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
    return (error.msg if isinstance(error, json.JSONDecodeError) else str(error)) + where


def _kind(data: object) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(data), "null")
