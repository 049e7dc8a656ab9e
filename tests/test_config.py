"""Configs refuse what they do not know, say where, and go to JSON and back unchanged."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate(Config):
    base: float = 1.28e-2
    schedule: Literal["sharkfin", "constant"] = "sharkfin"

    def validate(self) -> None:
        if self.base <= 0:
            raise ConfigError(f"Rate.base is {self.base}; it must be positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Config):
    steps: int = 1050
    name: str = "demo"
    sink: bool = True
    seed: int | None = None
    limit: None | int = None
    amount: float | int = 1.0
    sizes: tuple[int, ...] = (1, 2)
    betas: tuple[float, float] = (0.9, 0.95)
    mix: dict[str, float] = dataclasses.field(default_factory=lambda: {"idioms": 0.95, "stdlib": 0.05})
    folder: Path = Path("runs")
    level: Literal[1, 2] = 1
    rate: Rate = Rate()
    rates: tuple[Rate, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Needy(Config):
    width: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unsupported(Config):
    names: list[str]


def says(message: str) -> Any:
    """Expect a ConfigError with exactly this message."""
    return pytest.raises(ConfigError, match=f"^{re.escape(message)}$")


def test_unknown_key_names_the_near_miss() -> None:
    with says("Run: unknown key 'step'; did you mean 'steps'?"):
        Run.from_dict({"step": 3})


def test_unknown_key_without_a_near_miss_lists_all() -> None:
    with says("Rate: unknown key 'zzz'; known: base, schedule"):
        Rate.from_dict({"zzz": 3})


def test_missing_key_is_named() -> None:
    with says("Needy: missing key 'width'"):
        Needy.from_dict({})


def test_not_a_mapping() -> None:
    with says("Run: expected a mapping of settings, got list"):
        Run.from_dict([])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": "3"}, "Run.steps is '3' (str); expected int"),
        ({"steps": 3.0}, "Run.steps is 3.0 (float); expected int"),
        ({"steps": True}, "Run.steps is True (bool); expected int"),
        ({"steps": None}, "Run.steps is None (NoneType); expected int"),
        ({"sink": 1}, "Run.sink is 1 (int); expected bool"),
        ({"name": 7}, "Run.name is 7 (int); expected str"),
        ({"folder": 7}, "Run.folder is 7 (int); expected Path"),
        ({"seed": "x"}, "Run.seed is 'x' (str); expected int"),
        ({"limit": "x"}, "Run.limit is 'x' (str); expected int"),
        ({"level": 3}, "Run.level is 3; allowed: 1, 2"),
        ({"level": True}, "Run.level is True; allowed: 1, 2"),
        ({"sizes": 3}, "Run.sizes is 3 (int); expected tuple[int, ...]"),
        ({"sizes": (1, "2")}, "Run.sizes[1] is '2' (str); expected int"),
        ({"betas": (0.9,)}, "Run.betas needs 2 values, got 1"),
        ({"mix": {"idioms": "all"}}, "Run.mix['idioms'] is 'all' (str); expected float"),
        ({"mix": {1: 0.5}}, "Run.mix, a key, is 1 (int); expected str"),
        ({"mix": [1]}, "Run.mix is [1] (list); expected dict[str, float]"),
        ({"rate": {"bse": 1.0}}, "Run.rate: unknown key 'bse'; did you mean 'base'?"),
        ({"rates": [{"base": "x"}]}, "Run.rates[0]: base is 'x' (str); expected float"),
    ],
)
def test_a_wrong_value_is_named_with_its_type(values: dict[str, Any], message: str) -> None:
    with says(message):
        Run(**values)


def test_a_choice_names_the_choices() -> None:
    with says("Rate.schedule is 'linear'; allowed: 'sharkfin', 'constant'"):
        Rate(schedule="linear")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_must_be_finite(value: float) -> None:
    with says(f"Rate.base is {value!r}; it must be finite"):
        Rate(base=value)


def test_an_int_beyond_every_float_is_refused() -> None:
    with pytest.raises(ConfigError, match="it must be finite"):
        Rate(base=10**400)


def test_bool_is_no_float() -> None:
    with says("Rate.base is True (bool); expected float"):
        Rate(base=True)


def test_values_come_out_in_the_type_asked_for() -> None:
    run = Run.from_dict({"sizes": [3, 4], "betas": [0, 1], "folder": "out", "rate": {"base": 1}})
    assert run.sizes == (3, 4)
    assert run.betas == (0.0, 1.0)
    assert isinstance(run.betas[0], float)
    assert run.folder == Path("out")
    assert run.rate == Rate(base=1.0)
    assert isinstance(run.rate.base, float)


def test_a_union_keeps_what_already_fits() -> None:
    assert type(Run(amount=1).amount) is int
    assert type(Run(amount=1.0).amount) is float
    assert Run(seed=None).seed is None


def test_the_dict_given_is_not_shared() -> None:
    mix = {"idioms": 1.0}
    run = Run(mix=mix)
    mix["idioms"] = 0.0
    assert run.mix == {"idioms": 1.0}


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Run().steps = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_replace() -> None:
    run = Run().replace(steps=3)
    assert (run.steps, run.name) == (3, "demo")
    with says("Run: unknown key 'stepz'; did you mean 'steps'?"):
        run.replace(stepz=3)
    with says("Run.steps is 'x' (str); expected int"):
        run.replace(steps="x")


def test_validate_runs_on_every_way_in() -> None:
    message = "Rate.base is 0.0; it must be positive"
    with says(message):
        Rate(base=0)
    with says(message):
        Rate.from_dict({"base": 0})
    with says(message):
        Rate().replace(base=0)
    with says(f"Run.rate: {message}"):
        Run(rate={"base": 0})  # pyright: ignore[reportArgumentType]


def test_json_file_round_trip(tmp_path: Path) -> None:
    run = Run(folder=tmp_path / "ä", rates=(Rate(base=0.5), Rate(schedule="constant")), seed=0, amount=2)
    run.to_json(tmp_path / "config.json")
    assert Run.from_json(tmp_path / "config.json") == run


@given(
    steps=st.integers(),
    name=st.text(st.characters(exclude_categories=["Cs"])),
    base=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    mix=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 1)),
    amount=st.integers() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_round_trip_through_json(
    steps: int, name: str, base: float, mix: dict[str, float], amount: float
) -> None:
    run = Run(steps=steps, name=name, rates=(Rate(base=base),), mix=mix, amount=amount)
    assert Run.from_dict(json.loads(json.dumps(run.to_dict()))) == run


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ('{"base": NaN}', "base is nan; it must be finite"),
        ('{"base": 0}', "Rate.base is 0.0; it must be positive"),
        ('{"bas": 1}', "unknown key 'bas'; did you mean 'base'?"),
        ('{"schedule": "x"}', "schedule is 'x'; allowed: 'sharkfin', 'constant'"),
        ("[]", "expected a mapping of settings, got list"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, rest: str) -> None:
    path = tmp_path / "rate.json"
    path.write_text(text)
    with says(f"{path}: {rest}"):
        Rate.from_json(path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", None])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "rate.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: not a readable config: "):
        Rate.from_json(path)


def test_an_annotation_that_json_cannot_hold_is_our_own_fault() -> None:
    with pytest.raises(TypeError, match=r"Unsupported.names: .* annotation list\[str\]"):
        Unsupported(names=[])
