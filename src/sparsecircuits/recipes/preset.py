"""What a preset is: everything that decides a run, and a line about where it comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sparsecircuits.config import Config
from sparsecircuits.data import DataConfig
from sparsecircuits.errors import ConfigError, near_misses
from sparsecircuits.model import GPTConfig
from sparsecircuits.train import RunConfig, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Preset(Config):
    """A corpus, and a model with its recipe."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """What its corpus is made of."""
    model: GPTConfig = GPTConfig()
    """The model's shape."""
    train: TrainConfig = TrainConfig()
    """The recipe."""

    def validate(self) -> None:
        if self.model.vocab_size != self.data.vocab_size:
            raise ConfigError(
                f"Preset: model.vocab_size is {self.model.vocab_size}, data.vocab_size is "
                f"{self.data.vocab_size}; they must be equal"
            )
        RunConfig(model=self.model, train=self.train)  # which says whether these two fit

    @property
    def run(self) -> RunConfig:
        """What :func:`~sparsecircuits.train.train` takes."""
        return RunConfig(model=self.model, train=self.train)

    def changed(self, changes: Mapping[str, Any]) -> Preset:
        """A copy with some fields of ``model`` and ``train`` changed, as ``{"train.lr": 0.01}``.

        Raises:
            ConfigError: a key is of no such field, or a value out of range.
        """
        fields: dict[str, dict[str, Any]] = {"model": {}, "train": {}}
        known = [
            f"{part}.{field.name}" for part in fields for field in dataclasses.fields(getattr(self, part))
        ]
        for key, value in changes.items():
            if key not in known:
                raise ConfigError(f"Preset: no field {key!r} to change; {near_misses(key, known)}")
            part, _, name = key.partition(".")
            fields[part][name] = value
        return self.replace(**{part: getattr(self, part).replace(**some) for part, some in fields.items()})


class Entry(NamedTuple):
    """A preset in the list of all."""

    build: Callable[[], Preset]
    about: str
    """What it is, in a line."""
    source: str = ""
    """Where it comes from: a section or figure of Gao et al. 2025; nothing if it is ours."""
