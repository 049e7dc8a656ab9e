"""From words to a call: help without torch, near misses, errors as one line, exit codes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from collections.abc import Callable
from types import ModuleType

import pytest

from sparsecircuits.cli import main
from sparsecircuits.cli.main import COMMANDS
from sparsecircuits.config import Config
from sparsecircuits.errors import NOTHING_SAVED, ConfigError, DataError, Terminated


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Stand-in for a command."""

    steps: int = 3
    """How many."""

    def validate(self) -> None:
        if self.steps < 0:
            raise ConfigError(f"Options.steps is {self.steps}; it must not be negative")


Install = Callable[[str, Callable[[Options], int | None]], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a function in the place of a command."""

    def put(name: str, run: Callable[[Options], int | None]) -> None:
        module = ModuleType(f"sparsecircuits.cli.{name}")
        vars(module).update(Options=Options, run=run)
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return put


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name}" in out
        assert command.about in out


def test_help_does_not_import_torch() -> None:
    code = "import sys; from sparsecircuits.cli import main; main(['--help']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_options_and_run(name: str) -> None:
    module = COMMANDS[name].load(name)
    assert issubclass(module.Options, Config)
    assert module.Options.__doc__
    assert callable(module.run)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sparsecircuits 0.")


def test_unknown_command_names_the_near_miss(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generat"]) == 2
    assert capsys.readouterr().err == "error: unknown command 'generat'; did you mean 'generate'?\n"


def test_unknown_option_names_the_near_miss(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--verson"]) == 2
    assert capsys.readouterr().err == "error: unknown option '--verson'; did you mean '--version'?\n"


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_options_reach_the_command_and_its_code_comes_back(
    install: Install, returned: int | None, code: int
) -> None:
    seen = []

    def run(options: Options) -> int | None:
        seen.append(options)
        return returned

    install("eval", run)
    assert main(["eval", "--steps", "5"]) == code
    assert seen == [Options(steps=5)]


def test_a_mistake_of_the_user_is_one_line(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    def run(options: Options) -> None:
        raise DataError("runs/x: no tokens\nat all")

    install("data", run)
    assert main(["data"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: runs/x: no tokens at all\n"
    assert captured.out == ""


def test_a_fault_of_ours_is_raised(install: Install) -> None:
    def run(options: Options) -> None:
        raise ZeroDivisionError

    install("data", run)
    with pytest.raises(ZeroDivisionError):
        main(["data"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train", "interrupted; to go on where it stopped: sparsecircuits train --steps 5"),
        ("generate", "interrupted"),
    ],
)
def test_interrupted(install: Install, capsys: pytest.CaptureFixture[str], name: str, message: str) -> None:
    def run(options: Options) -> None:
        raise KeyboardInterrupt

    install(name, run)
    assert main([name, "--steps", "5"]) == 130
    assert capsys.readouterr().err == f"\n{message}\n"


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ("saved at step 150", "saved at step 150; to go on where it stopped: "),
        (NOTHING_SAVED, "nothing is saved yet; to begin again: "),
    ],
)
def test_interrupted_says_what_is_saved(
    install: Install, capsys: pytest.CaptureFixture[str], says: str, message: str
) -> None:
    def run(options: Options) -> None:
        raise Terminated(says)

    install("train", run)
    assert main(["train", "--steps", "5"]) == 143
    assert capsys.readouterr().err == f"\nended by SIGTERM; {message}sparsecircuits train --steps 5\n"


def test_a_warning_is_one_plain_line(install: Install) -> None:
    said = []

    def run(options: Options) -> None:
        said.append(warnings.formatwarning("the disk\nis full", UserWarning, "here.py", 3))

    before = warnings.formatwarning
    install("train", run)
    assert main(["train"]) == 0
    assert said == ["warning: the disk is full\n"]
    assert warnings.formatwarning is before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--step", "5"], "unrecognized options: --step, 5; did you mean '--steps'?"),
        (["--steps", "x"], "--steps: 'x' is not a whole number"),
        (["--steps", "-1"], "Options.steps is -1; it must not be negative\n"),
    ],
)
def test_options_that_do_not_fit(
    install: Install, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    install("eval", lambda options: 0)
    assert main(["eval", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


def test_field_docstrings_are_the_help(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("eval", lambda options: 0)
    with pytest.raises(SystemExit) as stopped:
        main(["eval", "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "Stand-in for a command." in out
    assert "How many." in out
