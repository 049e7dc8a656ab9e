"""Mistakes in options end in one line each, with or without a frame around what tyro says."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Literal

import pytest
from tyro.conf import Positional, arg

from sparsecircuits.cli.options import first_sentence, read_options
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Stand-in for a command."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """What a missing option's explanation says does not belong into a line."""
    level: Literal["quick", "full"] = "quick"
    """How thoroughly."""
    most: int | Literal["all"] = "all"
    """How many."""
    seed: int = 0
    """Of all that is drawn."""

    def validate(self) -> None:
        if self.seed < 0:
            raise DataError(f"seed is {self.seed}")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "missing from sparsecircuits eval: RUN"),
        (["here", "--seed", "x"], "--seed: 'x' is not a whole number"),
        (["here", "--seed"], "missing value for argument '--seed'. Expected 1 values"),
        (
            ["here", "--level", "slow"],
            "invalid choice 'slow' for argument '--level'. Expected one of ('quick', 'full')",
        ),
        (["here", "--most", "1e6"], "--most: '1e6' is not a whole number or all"),
        (["here", "--sed", "1"], "unrecognized options: --sed, 1; did you mean '--seed'?"),
    ],
)
def test_a_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    encoding: str,
    words: list[str],
    said: str,
) -> None:
    class Stdout:
        """tyro draws its frame by the encoding of stdout."""

        def __getattr__(self, name: str) -> object:
            return getattr(sys.__stdout__, name)

    stdout = Stdout()
    stdout.encoding = encoding  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(ConfigError) as raised:
        read_options(Options, "eval", words)
    assert str(raised.value) == f"{said}; sparsecircuits eval --help says what it takes"
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_what_validate_says_is_raised_as_it_is() -> None:
    with pytest.raises(DataError, match="^seed is -1$"):
        read_options(Options, "eval", ["here", "--seed", "-1"])


def test_options_that_fit_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_options(Options, "eval", ["here", "--seed", "3"]) == Options(run="here", seed=3)
    with pytest.raises(SystemExit) as stopped:
        read_options(Options, "eval", ["--help"])
    assert stopped.value.code == 0
    assert "How thoroughly." in capsys.readouterr().out


def test_a_warning_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Loud(Config):
        """Prints while it is made."""

        def validate(self) -> None:
            sys.stderr.write("beware\n")

    read_options(Loud, "eval", [])
    assert capsys.readouterr().err == "beware\n"


def test_colours_and_an_empty_box() -> None:
    box = "\x1b[31m╭─ Value error ─╮\x1b[0m\n\x1b[31m│\x1b[0m Error parsing --n: no. \x1b[31m│\x1b[0m\n╰───╯"
    assert first_sentence(box) == "--n: no"
    assert first_sentence("") == "these options do not fit"
