"""What a value in a task file must be: checked one by one, each mistake noted where it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from sparsecircuits.data.idioms.names import SPLITS
from sparsecircuits.errors import Place, near_misses
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.own.source import Located
from sparsecircuits.tasks.own.yaml_file import Unquoted
from sparsecircuits.tasks.pairs import Form

FORMS: tuple[Form, ...] = get_args(Form)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
"""A task's name is also that of a folder."""
PADDING = re.compile(
    r"\0|<\|endoftext\|>|<\|?pad(?:ding)?\|?>|\[PAD\]|^(?:0 ){2,}|(?: 0){2,}$|(?<=\S) {2,}$", re.IGNORECASE
)
"""What fills up prompts elsewhere; here prompts are as long as what they say."""


@dataclass(frozen=True)
class Header:
    """What a file says about its task."""

    name: str
    about: str
    form: Form
    same_last: bool


def header_of(found: Mapping[str, Located], stem: str, problems: Problems) -> Header:
    """The settings, or what they are where a file does not say.

    Args:
        found: from the file.
        stem: the file's name without its ending, the task's name where none is given.
        problems: where mistakes are noted.
    """
    name = text_of(found.get("name", Located(stem, Place())), "name", problems)
    if name is not None:
        check_name(name, found["name"].place if "name" in found else Place(), problems)
    about = text_of(found["about"], "about", problems) if "about" in found else ""
    form: Form = "contrast"
    if "form" in found:
        value, place = found["form"]
        if value in FORMS:
            form = value
        else:
            problems.add(place, f"form is {value!r}; {near_misses(str(value), FORMS)}")
    same_last = True
    if "same_last" in found:
        value, place = found["same_last"]
        if isinstance(value, bool):
            same_last = value
        else:
            problems.add(place, f"same_last is {value!r}; it is true or false")
    return Header(name or stem, " ".join((about or "").split()), form, same_last)


def check_name(name: str, place: Place, problems: Problems) -> None:
    """Note a name that cannot be a folder's, or that a built-in task has."""
    from sparsecircuits.tasks import built_in_tasks

    if not NAME.fullmatch(name):
        allowed = "letters of the alphabet, digits, _ and -, 64 at most, no - in front"
        problems.add(place, f"the task's name is {name!r}; allowed: {allowed}")
    elif name.lower() in built_in_tasks():
        problems.add(place, f"the name {name!r} is that of a built-in task; choose another with 'name'")


def text_of(located: Located, key: str, problems: Problems) -> str | None:
    """The value as a text that is not empty and holds what a text can hold, or None."""
    value, place = located
    if value is None:
        problems.add(place, f"{key} is missing: nothing is given for it")
    elif isinstance(value, Unquoted):
        problems.add(
            place, f"{key} is {str(value)} ({value.kind}), not a text; write it in quotes: '{value}'"
        )
    elif isinstance(value, bool):
        word = "put quotes around words such as yes, no, on and off"
        problems.add(place, f"{key} is {str(value).lower()}, not a text; {word}")
    elif not isinstance(value, str):
        problems.add(place, f"{key} is {_shown(value)} ({type(value).__name__}); a text is needed")
    elif value == "":
        problems.add(place, f"{key} is empty")
    elif any("\ud800" <= character <= "\udfff" for character in value):
        problems.add(place, f"{key} holds half of a character (a lone surrogate), which is no text")
    else:
        return value
    return None


def prompt_of(located: Located, key: str, problems: Problems) -> str | None:
    """As :func:`text_of`, and without padding."""
    text = text_of(located, key, problems)
    if text is None:
        return None
    if padding := PADDING.search(text):
        problems.add(
            located.place,
            f"{key} holds {padding[0]!r}, which is padding; prompts are written without, "
            "and each begins with <|endoftext|> by itself",
        )
        return None
    if text.isspace():
        problems.add(located.place, f"{key} is nothing but white space")
        return None
    return text


def split_of(value: Any, place: Place, problems: Problems) -> bool:
    """Whether a value is the name of a split."""
    if isinstance(value, str) and value in SPLITS:
        return True
    problems.add(place, f"unknown split {_shown(value)}; {near_misses(str(value), SPLITS)}")
    return False


def texts_of(value: Any, place: Place, key: str, problems: Problems) -> list[str]:
    """A list of texts."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        problems.add(place, f"{key} is {_shown(value)}; a list of texts is needed")
        return []
    texts = [text_of(Located(entry, place), f"{key}: an entry", problems) for entry in value]
    for text in {text for text in texts if text is not None and texts.count(text) > 1}:
        problems.add(place, f"{key}: {text!r} occurs twice")
    return [text for text in texts if text is not None]


def _shown(value: Any, limit: int = 40) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
