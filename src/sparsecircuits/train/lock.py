"""One run a folder at a time: a lock that ends with the process that holds it.

The lock is the system's (``flock``) on the file ``lock`` of the run's folder, which says who holds it. A
process that is killed loses it with its life, so that nothing is ever to be cleared away by hand; the file
that it leaves is taken over. Where the system or a file system has no such locks, training goes on
with a warning that nothing keeps a second run out.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sparsecircuits.errors import RunLocked
from sparsecircuits.files import make_folder, saving

LOCK_FILE = "lock"
#: Whoever only looks whether there is a lock holds it for a moment; then it is asked for again.
_TRIES, _PAUSE = 5, 0.02
_held: contextvars.ContextVar[frozenset[Path]] = contextvars.ContextVar("held", default=frozenset())


class Holder(NamedTuple):
    """Who trains in a folder."""

    pid: int
    host: str
    since: str
    """Local time, ``2026-01-31 12:00:00``."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the folder is made if missing, and goes again if it stays empty.

    Inside the block the same thread may ask for it again; another thread may not.

    Raises:
        RunLocked: another process or thread holds it.
        SaveError: the folder cannot be written.
    """
    key = folder.resolve()
    if key in _held.get():
        yield
        return
    existed = folder.is_dir()
    make_folder(folder)
    try:
        handle = _take(folder)
        token = _held.set(_held.get() | {key})
        try:
            yield
        finally:
            _held.reset(token)
            try:
                with contextlib.suppress(OSError):  # what went wrong inside is what counts
                    (folder / LOCK_FILE).unlink(missing_ok=True)
            finally:
                os.close(handle)
    finally:
        if not existed:
            with contextlib.suppress(OSError):  # a run is in it
                folder.rmdir()


def lock_holder(folder: Path) -> Holder | None:
    """Who trains in the folder now; None: nobody."""
    try:
        handle = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _flock(handle, shared=True) else _read(folder)
    finally:
        os.close(handle)


def _take(folder: Path) -> int:
    path = folder / LOCK_FILE
    for attempt in range(_TRIES):
        with saving(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if _flock(handle) and _is(path, handle):
            break
        os.close(handle)
        if attempt == _TRIES - 1:
            raise RunLocked(
                f"{folder} is being trained: {_read(folder) or 'by another process'}; wait until that has "
                f"ended, or choose another name"
            )
        time.sleep(_PAUSE)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}) + "\n"
    try:
        with saving(path):
            os.ftruncate(handle, 0)
            os.write(handle, text.encode())
    except BaseException:
        os.close(handle)
        raise
    return handle


def _is(path: Path, handle: int) -> bool:
    """Whether the file of that name is still the one that was opened: its holder removes it at the end."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _flock(handle: int, *, shared: bool = False) -> bool:
    """Whether the lock was to be had."""
    try:
        import fcntl
    except ModuleNotFoundError:
        return _unlocked("this system has no file locks")
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        return _unlocked(f"this file system has no locks ({error.strerror})")
    return True


def _unlocked(why: str) -> bool:
    warnings.warn(f"{why}: nothing keeps a second run out of a folder", stacklevel=4)
    return True


def _read(folder: Path) -> Holder | None:
    try:
        data = json.loads((folder / LOCK_FILE).read_text())
        return Holder(int(data["pid"]), str(data["host"]), str(data["since"]))
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written, or gone
        return None
