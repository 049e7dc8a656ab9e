"""Files and folders that are there whole or not at all, whatever stops the program.

Steps of a write: under another name beside the final one; flushed to disk; renamed; the folder flushed
too, so that the new name outlives a loss of power. What goes wrong on the way is a
:class:`~sparsecircuits.errors.SaveError` that names the file and the cause, and leaves what was there
before as it was and nothing half-written beside it. A process that is killed can leave its temporary,
which :func:`sweep` removes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from sparsecircuits.errors import SaveError

PARTIAL = ".partial"
"""What the name of a folder ends with that is being written."""

#: What safetensors calls a file that it is writing.
_SAFETENSORS = ".tmp??????"
#: In the text of an error from a library that is not written in Python.
_OS_ERROR = re.compile(r"os error (\d+)")
#: A file system that cannot flush a folder says one of these; then there is nothing to flush.
_CANNOT_FLUSH = (errno.EINVAL, errno.ENOTSUP)


class Writer:
    """What :func:`written` gives: a file that is being written."""

    def __init__(self, path: Path, temporary: Path) -> None:
        self._path = path
        with saving(path):
            self._file = temporary.open("wb")

    def write(self, data: bytes) -> int:
        """Append bytes; returns how many.

        Raises:
            SaveError: they could not be written.
        """
        with saving(self._path):
            return self._file.write(data)

    def close(self) -> None:
        """Flush what is in memory, and close."""
        with saving(self._path):
            self._file.close()


@contextlib.contextmanager
def written(path: Path) -> Iterator[Writer]:
    """Open a file to write; it takes its name, flushed to disk, only when the block ends well.

    Two processes that write the same file at once do not disturb each other: the last one stays.

    Raises:
        SaveError: it could not be written.
    """
    with placed(path) as temporary:
        file = Writer(path, temporary)
        try:
            yield file
        finally:
            file.close()


@contextlib.contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A name to write a file under; the file takes its own, flushed to disk, when the block ends well.

    Raises:
        SaveError: it could not be flushed or put in its place. What the block raises goes through.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with saving(path):
            flush(temporary)
            os.replace(temporary, path)
            flush(path.parent)
    finally:
        with contextlib.suppress(OSError):  # what went wrong first is what counts
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def placed_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, beside its place; it takes its place, flushed to disk, when the block ends well.

    What stood there is removed just before. The temporary is called as the target and ``.partial``.

    Raises:
        SaveError: it could not be made, filled or put in its place.
    """
    partial = target.with_name(target.name + PARTIAL)
    try:
        with saving(target):
            _remove(partial)
            make_folder(partial)
            yield partial
            flush(partial)
            _remove(target)
            os.replace(partial, target)
            flush(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_atomic(path: Path, data: bytes) -> None:
    """Write a small file, whole or not at all, and read it back.

    Raises:
        SaveError: it could not be written, or what was read back is something else.
    """
    with placed(path) as temporary, saving(path):
        temporary.write_bytes(data)
        drop_cached(temporary)
        if temporary.read_bytes() != data:
            raise SaveError(f"{path}: not saved: what was read back is not what was written")


def append_line(path: Path, line: str) -> None:
    """Append a line to a file: all of it, or nothing.

    Raises:
        SaveError: it could not be written; the file is as it was.
    """
    data = (line + "\n").encode()
    with saving(path), path.open("ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            file.truncate(before)
            raise


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, and flush every folder that got an entry.

    Raises:
        SaveError: it could not be made.
    """
    with saving(folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in missing:
            flush(path.parent)


def sweep(folder: Path, *names: str) -> None:
    """Remove what killed processes left of the files ``names`` in a folder, and of folders in it.

    For a folder in which no other process writes these.
    """
    patterns = [f"*{PARTIAL}", _SAFETENSORS, *(f".{name}.*.tmp" for name in names)]
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        with saving(path):
            _remove(path)


def flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to disk."""
    if os.name == "nt" and path.is_dir():  # it cannot open folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise
    finally:
        os.close(handle)


def drop_cached(path: Path) -> None:
    """Flush a file and have the system forget it, so that whoever reads it next reads the disk."""
    flush(path)
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn what the system refuses inside the block into a :class:`SaveError` that names ``path``."""
    try:
        yield
    except SaveError:
        raise
    except OSError as error:
        raise SaveError(f"{path}: not saved: {error.strerror or error}", error.errno) from error


def cause_of(error: Exception) -> OSError:
    """The system's error that a library's own speaks of: ``... (os error 28)`` is "no space left"."""
    found = _OS_ERROR.search(str(error))
    if found is None:
        return OSError(str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
