"""From the words on the command line to one function call.

Steps: take the command's name from the first word; import that command's module, and no other, so
that ``--help`` never waits for torch; turn the other words into the module's ``Options``
(:mod:`sparsecircuits.cli.options`); have freed memory kept for this process
(:mod:`sparsecircuits.ops.memory`); call ``run(options)``; turn what went wrong into a line and an exit code.

======  =============================================================
code    meaning
======  =============================================================
0       done
1       a result, but not the one asked for; the command's help says
2       the user can put it right: a line ``error: ...``, or one for each mistake in a task file
130     interrupted with Ctrl-C
143     ended by SIGTERM
======  =============================================================
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from sparsecircuits.errors import (
    NOTHING_SAVED,
    PeerFailed,
    SparseCircuitsError,
    TaskFileError,
    Terminated,
    near_misses,
)


@dataclass(frozen=True)
class Command:
    """What ``sparsecircuits --help`` needs to know without importing the command."""

    about: str
    """One line for the list of commands."""
    resumes: bool = False
    """Whether the same words again go on where an interrupted run stopped."""

    def load(self, name: str) -> Any:
        """Import the module ``sparsecircuits.cli.NAME``, with its ``Options`` and ``run``."""
        return importlib.import_module(f"sparsecircuits.cli.{name.replace('-', '_')}")


#: So many mistakes of a task file are named.
MOST_MISTAKES = 50

COMMANDS = {
    "demo": Command("train a sparse model and its dense twin, prune both, draw the circuits", resumes=True),
    "data": Command("turn text into a tokenizer and token shards", resumes=True),
    "train": Command("train a model on a corpus", resumes=True),
    "runs": Command("list the runs: how far each is, and how good"),
    "eval": Command("measure a model: validation loss and every task"),
    "generate": Command("let a model go on with a text"),
    "task": Command("list the tasks, show one's prompt pairs, make and check one of your own"),
    "prune": Command("cut out the circuit that does a task", resumes=True),
    "check": Command("is a circuit true? put it to the tests, print its report card"),
    "label": Command("name the nodes of a circuit, and groups of them"),
    "bridge": Command("read and steer a dense model through a sparse one that has a bridge to it"),
    "study": Command("prune many models for many tasks, in processes or on a cluster", resumes=True),
    "view": Command("look at circuits: live in a browser, as a self-contained page, as a picture"),
    "figure": Command("draw a figure for a paper: curves, cards, a circuit, one prompt's path"),
    "push": Command("put a model, its circuits and a card on the Hugging Face Hub"),
    "fetch": Command("bring a run from the Hugging Face Hub into a folder of your own"),
    "planted": Command("score pruners on models whose circuits are known"),
    "tune-ops": Command("measure when sparse products are faster on this machine"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        words: the command line after the program's name; ``sys.argv[1:]`` if None.

    Returns:
        The exit code, as in the table above. Errors of ours, as opposed to the user's, are raised.
    """
    words = sys.argv[1:] if words is None else list(words)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(f"sparsecircuits {_version()}")
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        what, known = ("option", ["--help", "--version"]) if name.startswith("-") else ("command", COMMANDS)
        return _fail(f"unknown {what} {name!r}; {near_misses(name, known)}")
    try:
        with _terminable(), _plain_warnings():
            return _run(name, rest)
    except TaskFileError as error:
        more = len(error.lines) - MOST_MISTAKES
        return _fail(
            *error.lines[:MOST_MISTAKES], *([f"{error.file}: and {more:,} more"] if more > 0 else [])
        )
    except PeerFailed:  # it says itself why
        return 2
    except SparseCircuitsError as error:
        return _fail(str(error))
    except KeyboardInterrupt as error:
        what, code = ("ended by SIGTERM", 143) if isinstance(error, Terminated) else ("interrupted", 130)
        saved = f"; {error}" if str(error) else ""
        how = "begin again" if str(error) == NOTHING_SAVED else "go on where it stopped"
        again = f"{saved}; to {how}: {shlex.join(['sparsecircuits', *words])}"
        if os.environ.get("RANK", "0") == "0":  # of several processes the first one says so
            print(f"\n{what}" + (again if COMMANDS[name].resumes else ""), file=sys.stderr)
        return code
    except BrokenPipeError:  # the reader of our output, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM inside the block ends the command as Ctrl-C does, so that it leaves nothing half-done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """A warning inside the block is a line like an error's, without the place in the code that gave it."""

    def plain(message: Warning | str, *_: object) -> str:
        return "warning: " + str(message).replace("\n", " ") + "\n"

    before = warnings.formatwarning
    warnings.formatwarning = plain  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.formatwarning = before


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _run(name: str, words: list[str]) -> int:
    from sparsecircuits.cli.options import read_options

    module = COMMANDS[name].load(name)
    options = read_options(module.Options, name, words)
    from sparsecircuits.ops.memory import keep_freed_memory  # after --help, which does not wait for torch

    keep_freed_memory()
    code = module.run(options) or 0
    sys.stdout.flush()
    return code


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = [f"  {name:<{width}}  {command.about}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: sparsecircuits COMMAND [OPTIONS]",
            "",
            "Train weight-sparse transformers, cut out the circuit that does a task, look at it, check it.",
            "",
            "commands:",
            *commands,
            "",
            "sparsecircuits COMMAND --help says what a command takes, sparsecircuits --version the version.",
            "sparsecircuits view example shows circuits at once: those of a run that comes with the package.",
        ]
    )


def _version() -> str:
    from importlib.metadata import version

    return version("sparsecircuits")


def _fail(*messages: str) -> int:
    for message in messages:
        print("error: " + message.replace("\n", " "), file=sys.stderr)
    return 2
