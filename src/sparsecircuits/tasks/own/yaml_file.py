"""YAML: settings, and below ``pairs:`` or ``templates:`` the rows.

The document is composed, not constructed: of each value the line is known, and a file can make nothing but
texts, numbers, lists and mappings. Refused are aliases (``*name``), which could blow up a small file, tags
(``!!python/object``), and keys that occur twice. Rows are counted from 1; the line is named beside the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from yaml.composer import ComposerError

from sparsecircuits.data.idioms.names import SPLITS
from sparsecircuits.errors import Place, near_misses
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

TEMPLATE_KEYS = ("prompt", "answer", "split")
KEYS = (*HEADER_KEYS, "pairs", "templates", "answer", "slots", "surroundings")
"""What stands at the left margin."""
_PLAIN = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Composes nodes, and refuses aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "aliases such as *name are not taken", mark)
        return super().compose_node(parent, index)


def read_yaml(text: str, problems: Problems) -> Source:
    """The settings and rows of a file; what does not fit the form is noted as a problem."""
    try:
        root = yaml.compose(text, Loader=_Loader)
    except RecursionError:
        problems.add(Place(), "not YAML that can be read: nested too deeply")
        return Source()
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        problems.add(Place(None, line), f"the character {chr(error.character)!r} cannot stand in YAML")
        return Source()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        problems.add(Place(None, line), f"not YAML: {error.problem or error.context}")
        return Source()
    if root is None:
        return Source()
    if not isinstance(root, yaml.MappingNode):
        needed = "'pairs:' or 'templates:' at the left margin, and the rows below it"
        problems.add(Place(None, 1), f"a task file is a mapping, with {needed}")
        return Source()
    return _source(root, problems)


def _source(root: yaml.MappingNode, problems: Problems) -> Source:
    header: dict[str, Located] = {}
    lists: dict[str, list[Row]] = {}
    for key, node in _entries(root, Place(), problems):
        place = Place(None, node.start_mark.line + 1)
        if key not in KEYS:
            problems.add(Place(None, _line(root, key)), unknown_key(key, KEYS))
        elif key == "pairs":
            lists[key] = list(_rows(node, key, (*PAIR_KEYS, *OPTIONAL_KEYS), problems))
        elif key == "templates":
            lists[key] = list(_rows(node, key, TEMPLATE_KEYS, problems))
        else:
            header[key] = Located(_value(node, place, problems), place)
    if len(lists) == 2:
        problems.add(Place(None, _line(root, "templates")), "both 'pairs' and 'templates'; give one of them")
    if "pairs" in lists:
        for key in ("answer", "slots", "surroundings"):
            if key in header:
                problems.add(header[key].place, f"{key!r} goes with 'templates', not with 'pairs'")
    return Source(header, lists.get("pairs"), lists.get("templates"))


def _rows(node: yaml.Node, name: str, keys: tuple[str, ...], problems: Problems) -> Iterator[Row]:
    """The entries of a list, or of a list for each split."""
    place = Place(None, node.start_mark.line + 1)
    lists: list[tuple[str | None, yaml.Node]] = [(None, node)]
    if isinstance(node, yaml.MappingNode):
        lists = []
        for key, inner in _entries(node, place, problems):
            if key in SPLITS:
                lists.append((key, inner))
            else:
                line = Place(None, _line(node, key))
                problems.add(line, f"{name}: unknown split {key!r}; {near_misses(key, SPLITS)}")
    number = 0
    for split, inner in lists:
        if not isinstance(inner, yaml.SequenceNode):
            problems.add(
                Place(None, inner.start_mark.line + 1), f"{name}: a list is needed, a '-' for each row"
            )
            continue
        for entry in inner.value:
            number += 1
            row = Place(number, entry.start_mark.line + 1)
            data = _row(entry, row, keys, problems)
            if data is None:
                continue
            if split is not None and data.setdefault("split", split) != split:
                problems.add(row, f"its split is {data['split']!r}, but it stands below {split!r}")
            yield Row(row, data)


def _row(node: yaml.Node, place: Place, keys: tuple[str, ...], problems: Problems) -> dict[str, Any] | None:
    """One row; a template may be its prompt alone."""
    if isinstance(node, yaml.ScalarNode) and "prompt" in keys:
        return {"prompt": _value(node, place, problems)}
    if not isinstance(node, yaml.MappingNode):
        problems.add(place, f"a row is a mapping with {', '.join(keys)}")
        return None
    data: dict[str, Any] = {}
    for key, value in _entries(node, place, problems):
        if key in keys:
            data[key] = _value(value, place, problems)
        else:
            problems.add(place, unknown_key(key, keys))
    return data


def _entries(node: yaml.MappingNode, place: Place, problems: Problems) -> Iterator[tuple[str, yaml.Node]]:
    """The keys and values of a mapping, each key once."""
    seen: set[str] = set()
    for key, value in node.value:
        at = Place(place.row, key.start_mark.line + 1)
        if not isinstance(key, yaml.ScalarNode):
            problems.add(at, "a key is a word")
        elif key.value in seen:
            problems.add(at, f"the key {key.value!r} occurs twice")
        else:
            seen.add(key.value)
            yield key.value, value


def _line(node: yaml.MappingNode, key: str) -> int:
    """The line of a key that is there."""
    return next(k.start_mark.line + 1 for k, _ in node.value if getattr(k, "value", None) == key)


def _value(node: yaml.Node, place: Place, problems: Problems) -> Any:
    """A node as plain data."""
    if not node.tag.startswith(_PLAIN) or "/" in node.tag:
        problems.add(Place(place.row, node.start_mark.line + 1), f"the tag {node.tag!r} is not taken")
        return None
    if isinstance(node, yaml.SequenceNode):
        return [_value(entry, place, problems) for entry in node.value]
    if isinstance(node, yaml.MappingNode):
        return {key: _value(value, place, problems) for key, value in _entries(node, place, problems)}
    kind = node.tag.removeprefix(_PLAIN)
    if kind == "str":
        return node.value
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() in ("true", "yes", "on")
    return Unquoted(node.value, kind)


class Unquoted(str):
    """A number or date that stands in a file without quotation marks: YAML reads no text there."""

    def __new__(cls, text: str, kind: str) -> Unquoted:
        """The characters, and what YAML takes them for."""
        made = super().__new__(cls, text)
        made.kind = kind
        return made

    kind: str
