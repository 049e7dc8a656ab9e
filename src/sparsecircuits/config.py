"""The frozen, strict base of every config.

A config is a frozen dataclass that derives from :class:`Config`. It refuses unknown keys (naming
the near misses), wrong types and choices outside a ``Literal``, and it goes to JSON and back
unchanged. The string under each field is its documentation: the command line shows it as help.

Steps of :meth:`Config.from_dict`: every key must be a field; no field without a default may be
missing; every value must fit the field's annotation; nested configs are read in the same way, with
the path to them in the message.

Annotations understood: ``int float str bool None Any Path``, ``Literal``, unions, ``tuple``,
``dict[str, ...]`` and configs. JSON has no other keys than strings, hence the restriction on dicts.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal, Self, Union, get_args, get_origin

from sparsecircuits.errors import ConfigError, near_misses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base class: strict construction, JSON round trip, ``replace``."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            where = f"{type(self).__name__}.{field.name}"
            value = _fit(getattr(self, field.name), hints[field.name], where)
            object.__setattr__(self, field.name, value)
        self.validate()

    def validate(self) -> None:
        """Check what the fields' types cannot say; raise :class:`ConfigError`."""

    @classmethod
    def from_dict(cls, data: dict[str, Any], where: str | None = None) -> Self:
        """Build from plain data.

        Args:
            data: field name to value; nested configs as dicts.
            where: what to call the origin in error messages, such as a file's path.

        Raises:
            ConfigError: unknown key, wrong type, or a choice that is not allowed.
        """
        where = where or cls.__name__
        if not isinstance(data, dict):
            raise ConfigError(f"{where}: expected a mapping of settings, got {type(data).__name__}")
        hints = typing.get_type_hints(cls)
        known = {field.name for field in dataclasses.fields(cls)}
        for key in data:
            if key not in known:
                raise ConfigError(f"{where}: unknown key {key!r}; {near_misses(str(key), known)}")
        values = {key: _fit(value, hints[key], f"{where}: {key}") for key, value in data.items()}
        for field in dataclasses.fields(cls):
            if field.name not in values and _has_no_default(field):
                raise ConfigError(f"{where}: missing key {field.name!r}")
        try:
            return cls(**values)
        except ConfigError as error:  # from validate(), which does not know where the values came from
            if where == cls.__name__:
                raise
            raise ConfigError(f"{where}: {error}") from error

    @classmethod
    def from_json(cls, path: str | Path) -> Self:
        """Read a JSON file written by :meth:`to_json`."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: not a readable config: {error}") from error
        return cls.from_dict(data, where=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain data that :meth:`from_dict` reads back to an equal config."""
        return _plain(dataclasses.asdict(self))

    def to_json(self, path: str | Path) -> None:
        """Write as indented JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; unknown names raise :class:`ConfigError`."""
        known = {field.name for field in dataclasses.fields(self)}
        for key in changes:
            if key not in known:
                raise ConfigError(f"{type(self).__name__}: unknown key {key!r}; {near_misses(key, known)}")
        return dataclasses.replace(self, **changes)


def _fit(value: Any, hint: Any, where: str) -> Any:
    """Return ``value`` as ``hint`` wants it (int to float, list to tuple, dict to config) or raise."""
    if hint is Any:
        return value
    if hint is None or hint is type(None):
        if value is not None:
            raise _wrong(value, hint, where)
        return None
    if hint is float:
        return _fit_float(value, where)
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if hint in (int, str, bool, Path):
        if type(value) is not hint:
            raise _wrong(value, hint, where)
        return value
    if isinstance(hint, type) and issubclass(hint, Config):
        return value if isinstance(value, hint) else hint.from_dict(value, where=where)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _fit_choice(value, args, where)
    if origin in (Union, types.UnionType):
        return _fit_union(value, args, where)
    if origin is tuple:
        return _fit_tuple(value, hint, where)
    if origin is dict and args[0] is str:
        if not isinstance(value, dict):
            raise _wrong(value, hint, where)
        keys = [_fit(key, str, f"{where}, a key,") for key in value]
        return {key: _fit(value[key], args[1], f"{where}[{key!r}]") for key in keys}
    raise TypeError(f"{where}: a config cannot hold the annotation {hint}")


def _fit_float(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(value, float, where)
    try:
        number = float(value)
    except OverflowError:  # an int beyond the largest float
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{where} is {value!r}; it must be finite")
    return number


def _fit_choice(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    # By type too: True == 1 == 1.0, but they are not the same choice.
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ConfigError(f"{where} is {value!r}; allowed: {', '.join(map(repr, choices))}")
    return value


def _fit_tuple(value: Any, hint: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(value, hint, where)
    args = get_args(hint)
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(value) != len(args):
        raise ConfigError(f"{where} needs {len(args)} values, got {len(value)}")
    items = enumerate(zip(value, args, strict=True))
    return tuple(_fit(item, arg, f"{where}[{i}]") for i, (item, arg) in items)


def _fit_union(value: Any, options: tuple[Any, ...], where: str) -> Any:
    # A value that already is what an option asks for stays as it is: 1 in "float | int" is an int.
    for option in options:
        if type(value) is option:
            return _fit(value, option, where)
    problems = []
    for option in options:
        try:
            return _fit(value, option, where)
        except ConfigError as error:
            if option is not type(None):
                problems.append(error)
    # The message of the option that was meant: for "X | None" and "None | X", that of X.
    raise problems[0]


def _plain(value: Any) -> Any:
    """Paths as strings, inside dicts and tuples too; everything else as it is."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return value


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _wrong(value: Any, hint: Any, where: str) -> ConfigError:
    name = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    return ConfigError(f"{where} is {value!r} ({type(value).__name__}); expected {name}")
