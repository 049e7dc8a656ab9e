"""Which names mean the Hugging Face Hub, and which a folder here. Nothing in this file asks the network.

==============================  ========================================================================
name                            means
==============================  ========================================================================
a ``pathlib.Path``              a folder, always
``mine``, ``./org/name``, …     a folder: it is not of the shape ``org/name``, or has signs of a path
``org/name`` if that is here    the folder; so it is if a folder ``org`` is here, for then it is a slip
``org/name``                    the Hub, where nothing of that name is here
``org/name@revision``           the Hub's branch, tag or commit
``hf://org/name``               the Hub, whatever is here
==============================  ========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from sparsecircuits.errors import ConfigError

SCHEME = "hf://"
LONGEST = 96
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[^\s@]+))?")


class HubName(NamedTuple):
    """A model on the Hub.

    >>> str(HubName.parse("hf://org/name@v1")), HubName.parse("org/name")
    ('org/name@v1', HubName(repo='org/name', revision=None))
    """

    repo: str
    """``org/name``."""
    revision: str | None = None
    """A branch, a tag or a commit; None: the main branch."""

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> Self:
        """Read a name that is meant for the Hub.

        Raises:
            ConfigError: it is not of the shape, or names another revision than ``revision``.
        """
        name = cls.read(text.removeprefix(SCHEME))
        if name is None:
            raise ConfigError(
                f"{text!r} is no name on the Hub: it must be ORG/NAME or ORG/NAME@REVISION, of letters, "
                f"digits, '-', '_' and '.', at most {LONGEST} of them"
            )
        if revision is None:
            return name
        if name.revision not in (None, revision):
            raise ConfigError(f"{text!r} names the revision {name.revision!r}, and {revision!r} is asked for")
        return cls(name.repo, revision)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The name that a text is by its shape alone; None: it is none."""
        found = _NAME.fullmatch(text)
        if found is None or len(found["repo"]) > LONGEST or re.search(r"--|\.\.|\.git$", found["repo"]):
            return None
        return cls(found["repo"], found["revision"])


def hub_name(source: str | Path, places: Iterable[Path] = (Path(),)) -> HubName | None:
    """The name on the Hub that a source is, or None if it is a path, as the table above has it.

    Args:
        source: what the user wrote.
        places: where folders are looked for.
    """
    if isinstance(source, Path):
        return None
    if source.startswith(SCHEME):
        return HubName.parse(source)
    name = HubName.read(source)
    if name is None:
        return None
    org = name.repo.partition("/")[0]
    return None if any((place / source).exists() or (place / org).is_dir() for place in places) else name
