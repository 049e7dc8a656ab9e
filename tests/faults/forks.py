"""Processes that may die: a copy of this one does some work and ends, by itself or not."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sparsecircuits.errors import SparseCircuitsError, Terminated


class Outcome(NamedTuple):
    """One case of a fault."""

    name: str
    good: bool
    why: str = ""
    """What was seen, where it is not good."""


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    """Exit code; minus the signal that killed it."""
    said: str
    """What it wrote to stdout and stderr."""
    seconds: float
    """From ``meanwhile``'s return, or else its start, to its end."""


def forked(work: Callable[[], int | None], meanwhile: Callable[[int], None] | None = None) -> Ended:
    """Do ``work`` in a copy of this process, which has one thread; ``meanwhile`` gets its process id here.

    The exit code is what ``work`` returns; 2 after an error of ours, whose message is written as the command
    line writes it, 130 and 143 after the signals, 70 after a fault of ours.
    """
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os._exit(_code(work))
        if meanwhile is not None:
            meanwhile(pid)
            began = time.monotonic()
        _, status = os.waitpid(pid, 0)
        seconds = time.monotonic() - began
        output.seek(0)
        said = output.read().decode(errors="replace")
    return Ended(os.waitstatus_to_exitcode(status), said, seconds)


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it came true in that time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True


def alive(pid: int) -> bool:
    """Whether a child has not ended yet."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _code(work: Callable[[], int | None]) -> int:
    code = 70
    try:
        code = work() or 0
    except SparseCircuitsError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 2
    except KeyboardInterrupt as error:
        code = 143 if isinstance(error, Terminated) else 130
    except BaseException:  # noqa: BLE001  # it must not get back into the caller's code, whatever it is
        traceback.print_exc()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code
