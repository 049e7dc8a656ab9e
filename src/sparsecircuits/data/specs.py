"""How a source is spelled: a name, path, pattern or ``hf:NAME``, then ``?option=value&option=value``.

>>> parse_spec("hf:org/name:config?split=train&column=content").options
{'split': 'train', 'column': 'content'}
>>> parse_spec("src/**/*.md").kind
'pattern'
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from sparsecircuits.errors import DataError, near_misses

ENDLESS_SOURCES = ("idioms", "stories")
"""Made up by the program, from the seed alone."""
MADE_SOURCES = (*ENDLESS_SOURCES, "stdlib", "site-packages")
"""All that are known by name."""
HUB = "hf:"

Kind = Literal["made", "path", "pattern", "hub"]
OPTIONS: dict[Kind, tuple[str, ...]] = {
    "made": (),
    "path": ("column",),
    "pattern": ("column",),
    "hub": ("column", "split", "revision"),
}
"""Which options which kind of source has."""
_OPTIONS_BEGIN = re.compile(r"\?(?=\w+=)")


class Spec(NamedTuple):
    """A source, taken apart."""

    text: str
    """As it was spelled."""
    kind: Kind
    name: str
    """Without the options, and without ``hf:``."""
    options: dict[str, str]

    @property
    def column(self) -> str:
        """The field or column that holds the text."""
        return self.options.get("column", "text")


def parse_spec(text: str) -> Spec:
    """Take a source's spelling apart; whether there is such a source is not asked.

    Raises:
        DataError: nothing is named, or an option does not exist, has no value or is given twice.
    """
    name, options = text, {}
    found = _OPTIONS_BEGIN.search(text)
    if found and not Path(text).exists():
        name = text[: found.start()]
        for word in text[found.end() :].split("&"):
            key, _, value = word.partition("=")
            if not value or key in options:
                raise DataError(f"source {text!r}: option {word!r}; expected NAME=VALUE, each name once")
            options[key] = value
    if not name.strip():  # such as of a variable that is not set; a path of "" is "."
        raise DataError(f"source {text!r}: it names nothing; the folder in which one is, is '.'")
    kind = _kind(name)
    for key in options:
        if key not in OPTIONS[kind]:
            raise DataError(f"source {text!r}: unknown option {key!r}; {near_misses(key, OPTIONS[kind])}")
    return Spec(text, kind, name.removeprefix(HUB) if kind == "hub" else name, options)


def _kind(name: str) -> Kind:
    if name in MADE_SOURCES:
        return "made"
    if name.startswith(HUB):
        return "hub"
    return "pattern" if any(mark in name for mark in "*?[") and not Path(name).exists() else "path"
