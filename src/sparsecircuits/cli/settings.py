"""Overrides as words: ``train.steps=100`` changes one field of a config, whatever its depth.

>>> parse_value("1/32"), parse_value("none"), parse_value("linear")
(0.03125, None, 'linear')
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
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
            raise ConfigError(f"{word!r} is not KEY=VALUE, such as {next(iter(known), 'key')}=1")
        if key not in known:
            raise ConfigError(f"unknown setting {key!r}; {_near(key, list(known))}")
        *path, last = key.split(".")
        inner, owner = data, config
        for part in path:
            inner, owner = inner[part], getattr(owner, part)
        # Where none is the name of a choice, it does not mean that nothing is chosen.
        choices = get_args(get_type_hints(type(owner))[last])
        inner[last] = value if value in choices else parse_value(value)
    return type(config).from_dict(data)


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


def _near(key: str, known: Sequence[str]) -> str:
    """Near misses of the whole key, or of its last part where the rest is missing or wrong."""
    ends = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    return f"did you mean {' or '.join(map(repr, ends))}?" if ends else near_misses(key, known)
