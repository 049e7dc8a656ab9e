"""From words to a command's ``Options``, by tyro; a mistake in them becomes an error of ours, one line.

tyro writes what is wrong into a box on stderr and stops the program. Here that box is held back. If an
error of ours lies behind it, such as what ``Options.validate`` says, that is raised; else the box's first
sentence becomes one.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import dropwhile, takewhile
from typing import TypeVar

from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError, SparseCircuitsError

Options = TypeVar("Options", bound=Config)

_NO_NUMBER = re.compile(r"invalid literal for int\(\) with base 10: (.+)")
_NO_TYPE = re.compile(r"no type matching (\S+) could be instantiated from \[(.+?)\]\. .*")
_KINDS = {"INT": "a whole number", "FLOAT": "a number", "STR": "a word", "PATH": "a path"}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile("[╭╮╰╯│]")
_RULE = re.compile(r"[─-]{2,}")
#: Explanations of a missing option are indented by so much.
_DEEP = 8


def read_options(kind: type[Options], command: str, words: Sequence[str]) -> Options:
    """Read ``words``; ``--help`` prints help and raises :class:`SystemExit` of code 0.

    Args:
        kind: the command's ``Options``.
        command: its name.
        words: what follows the name.

    Raises:
        SparseCircuitsError: the options do not fit, or not together.
    """
    import tyro

    held = io.StringIO()
    try:
        with contextlib.redirect_stderr(held):
            return tyro.cli(
                kind,
                prog=f"sparsecircuits {command}",
                args=list(words),
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stopped:
        if not stopped.code:
            raise
        said = held.getvalue()
        held.truncate(0)
        ours = next((e for e in _behind(stopped) if isinstance(e, SparseCircuitsError)), None)
        raise ours or ConfigError(
            f"{first_sentence(said)}; sparsecircuits {command} --help says what it takes"
        ) from None
    finally:
        sys.stderr.write(held.getvalue())  # warnings


def _behind(error: BaseException) -> Iterator[BaseException]:
    """What led to an error, the latest first."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__


def first_sentence(box: str) -> str:
    """What one of tyro's boxes says is wrong, as one line; with the options that may have been meant.

    A box has a title, then parts with rules between them, of which the first says it. Where the output is not
    in UTF-8 it has no frame.

    >>> first_sentence("\\n".join(["╭─ Value error ─╮", "│ Error parsing --n: no │", "│ ─── │", "│ ... │"]))
    '--n: no'
    """
    lines = _FRAME.sub(" ", _COLOUR.sub("", box)).splitlines()[1:]
    rows = list(dropwhile(_is_rule, [line[2:].rstrip() for line in lines]))
    first = list(takewhile(lambda row: not _is_rule(row), rows))
    message = " ".join(_shallow(first)).removeprefix("Error parsing ").strip(" .")
    message = _NO_NUMBER.sub(r"\1 is not a whole number", message)
    message = _NO_TYPE.sub(lambda found: f"{found[2]} is not {_kinds(found[1])}", message)
    message = message or "these options do not fit"
    message = message[0].lower() + message[1:]
    meant = [row.split()[0] for row in _shallow(rows[len(first) :]) if row[:2] == "--" and not _is_rule(row)]
    if message.startswith("unrecognized") and meant:
        message += f"; did you mean {' or '.join(map(repr, dict.fromkeys(meant)))}?"
    return message


def _kinds(metavar: str) -> str:
    """What tyro calls ``INT|{all}``, in words.

    >>> _kinds("INT|{all}"), _kinds("{None}|FLOAT")
    ('a whole number or all', 'None or a number')
    """
    words = metavar.replace("{", "").replace("}", "").replace(",", "|").split("|")
    return " or ".join(_KINDS.get(word, word) for word in words)


def _is_rule(row: str) -> bool:
    return bool(_RULE.fullmatch(row.strip()))


def _shallow(rows: Sequence[str]) -> list[str]:
    """Those that are not explanations of options, stripped."""
    return [row.strip() for row in rows if len(row) - len(row.lstrip()) < _DEEP]
