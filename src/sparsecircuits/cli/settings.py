"""Overrides as words: ``train.steps=100`` changes one field of a config, whatever its depth.

>>> parse_value("1/32"), parse_value("none"), parse_value("linear")
(0.03125, None, 'linear')
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args, get_type_hints

from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError, near_misses

ConfigType = TypeVar("ConfigType", bound=Config)


def override(config: ConfigType, words: Iterable[str]) -> ConfigType:
    """A copy of ``config`` with the fields changed that ``words`` name.

    Args:
        config: nested as deep as it likes.
        words: ``KEY=VALUE``, the key with dots for what is inside.

    Raises:
        ConfigError: a word without ``=``, a key that does not exist (with near misses), a value that the
            field does not take.
    """
    data = config.to_dict()
    known = dict(flat(config))
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is not KEY=VALUE, such as {_example(key, known)}")
        if any(name.startswith(f"{key}.") for name in known):
            raise ConfigError(
                f"{key!r} is a group of settings; name one of it, such as {_example(key, known)}"
            )
        if key not in known:
            raise ConfigError(f"unknown setting {key!r}; {_near(key, list(known))}")
        *path, last = key.split(".")
        inner, owner = data, config
        for part in path:
            inner, owner = inner[part], getattr(owner, part)
        # Where none is the name of a choice, it does not mean that nothing is chosen.
        choices = get_args(get_type_hints(type(owner))[last])
        inner[last] = value if value in choices else parse_value(value)
    try:
        return type(config).from_dict(data)
    except ConfigError as error:
        raise ConfigError(_by_keys(str(error), config)) from error


def flat(config: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting as (dotted key, value), nested configs opened."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Config):
            yield from flat(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def parse_value(text: str) -> Any:
    """A number, a fraction such as ``1/32``, none, true, false, JSON, or else the text itself."""
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        pass
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else text
    except (ValueError, ZeroDivisionError):
        return text


def _example(word: str, known: Mapping[str, Any]) -> str:
    """``KEY=VALUE`` as it is now: of the key that is meant, of one in the group that is, or of any."""
    inside = [name for name in known if name == word or name.startswith(f"{word}.")]
    numbers = [name for name in inside if isinstance(known[name], int | float)]
    key = next(iter([*numbers, *inside, *known]))
    return f"{key}={'none' if known[key] is None else known[key]}"


def _by_keys(message: str, config: Config) -> str:
    """A config's error, in the words of the command line: ``train.lr is -1`` for ``TrainConfig.lr is -1``."""
    message, path = message.removeprefix(f"{type(config).__name__}: "), ""
    owner = config
    while isinstance(inner := getattr(owner, message.partition(": ")[0], None), Config):
        name, _, message = message.partition(": ")
        owner, path = inner, f"{path}{name}."
    named = message.replace(f"{type(owner).__name__}.", path)
    begins_with_field = re.split(r"\W", message, maxsplit=1)[0] in {
        each.name for each in dataclasses.fields(owner)
    }
    return path + message if named == message and begins_with_field else named


def _near(key: str, known: Sequence[str]) -> str:
    """Near misses of the whole key, or of its last part where the rest is missing or wrong."""
    ends = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    return f"did you mean {' or '.join(map(repr, ends))}?" if ends else near_misses(key, known)
