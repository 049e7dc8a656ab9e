"""Words to overrides."""

from __future__ import annotations

import dataclasses

import pytest

from sparsecircuits.cli.settings import flat, override, parse_value
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError
from sparsecircuits.presets import demo


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner(Config):
    steps: int = 3
    rate: float | None = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer(Config):
    train: Inner = Inner()
    name: str = "x"
    sites: tuple[str, ...] = ("a",)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-2", 0.01),
        ("1/32", 0.03125),
        ("None", None),
        ("true", True),
        ("counts", "counts"),
        ('["a", "b"]', ["a", "b"]),
        ("1/0", "1/0"),
        ("data/mine", "data/mine"),
    ],
)
def test_values(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_override_changes_what_is_named_and_nothing_else() -> None:
    changed = override(Outer(), ["train.steps=5", 'sites=["b","c"]', "name=k=v"])
    assert changed == Outer(train=Inner(steps=5), name="k=v", sites=("b", "c"))
    assert override(Outer(), ["train.rate=none"]).train.rate is None


def test_flat() -> None:
    assert dict(flat(Outer())) == {"train.steps": 3, "train.rate": 0.5, "name": "x", "sites": ("a",)}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.steps", "'train.steps' is not KEY=VALUE, such as train.steps=3"),
        ("train.rat", "'train.rat' is not KEY=VALUE, such as train.steps=3"),
        ("steps=3", "unknown setting 'steps'; did you mean 'train.steps'?"),
        ("train.step=3", "unknown setting 'train.step'; did you mean 'train.steps'"),
        ("train.steps=soon", "train.steps is 'soon' (str); expected int"),
        ("name=3", "name is 3 (int); expected str"),
        ("train=3", "'train' is a group of settings; name one of it, such as train.steps=3"),
    ],
)
def test_mistakes(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(Outer(), [word])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.lr=-1", "train.lr is -1.0; it must be"),
        ("data.vocab_size=3", "data.vocab_size is 3; the minimum is 257"),
        ("model.d_head=3", "model.d_model = 128 is no multiple of d_head = 3"),
        ("data.mix=3", "data.mix is 3 (int); expected dict[str, float]"),
    ],
)
def test_a_value_that_cannot_be_is_called_as_it_was_set(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(demo(), [word])
    assert str(caught.value).startswith(message)


def test_none_is_a_choice_where_a_setting_has_one_of_that_name() -> None:
    recipe = override(demo(), ["train.grad_rms=none", "model.positions=none", "train.embed_density=none"])
    assert (recipe.train.grad_rms, recipe.model.positions) == ("none", "none")
    assert recipe.train.embed_density is None
