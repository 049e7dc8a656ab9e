"""Who works on what, where several processes and machines share a folder.

A claim is a file ``NAME.N``, made with ``O_EXCL``, so that one process makes it. It holds the owner's
machine, process id and that process' start, and is touched every few seconds. Where the owner is dead, or has
not touched it for long, whoever makes ``NAME.N+1`` takes the work over: again one process only. N is also how
many times the work was begun, so that work which kills its workers is seen.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

#: Seconds between two touches of a claim.
BEAT = 10.0
#: A claim from another machine that was not touched for so many seconds is stale.
STALE = 180.0


@dataclass(frozen=True)
class Owner:
    """A process: its machine, its id, and when it began, since ids are used again."""

    host: str
    pid: int
    began: str | None = None

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(socket.gethostname(), os.getpid(), _began(os.getpid()))

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    def alive(self) -> bool | None:
        """Whether it still runs; None for one of another machine, which cannot be seen from here."""
        if not self.is_here:
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # it is there, and someone else's
        return _began(self.pid) == self.began


def _began(pid: int) -> str | None:
    """The process' start in ticks since boot, where the system tells; None for a zombie as for none."""
    try:
        # The name, in parentheses, may hold anything; after it come the state, 1st, and the start, 20th.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class Claim(NamedTuple):
    """The latest claim on a piece of work."""

    path: Path
    owner: Owner | None
    """None: the file was cut short when its maker was killed."""
    number: int

    @property
    def stale(self) -> bool:
        """Whether its owner is dead, or has been silent for :data:`STALE` seconds on another machine."""
        alive = None if self.owner is None else self.owner.alive()
        if alive is not None:
            return not alive
        try:
            return time.time() - self.path.stat().st_mtime > STALE
        except FileNotFoundError:
            return False  # given back just now; the next look will tell


class Claims:
    """The claims in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def latest(self, name: str) -> Claim | None:
        """The claim that counts, or None."""
        numbers = [int(path.suffix[1:]) for path in self.folder.glob(f"{name}.*")]
        if not numbers:
            return None
        path = self.folder / f"{name}.{max(numbers)}"
        try:
            owner = Owner(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            owner = None
        return Claim(path, owner, max(numbers))

    def take(self, name: str) -> Claim | None:
        """Claim the work, or None if a live process has it."""
        before = self.latest(name)
        if before is not None and not before.stale:
            return None
        number = 1 if before is None else before.number + 1
        path = self.folder / f"{name}.{number}"
        owner = Owner.me()
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return None
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps(asdict(owner)))
        return Claim(path, owner, number)

    def give_back(self, claim: Claim) -> None:
        """As if it had never been taken."""
        claim.path.unlink(missing_ok=True)

    def clear(self, name: str) -> None:
        """Forget every claim on the work, once its result is there."""
        for path in self.folder.glob(f"{name}.*"):
            path.unlink(missing_ok=True)

    @contextmanager
    def beating(self, claim: Claim, seconds: float = BEAT) -> Generator[None]:
        """Touch the claim now and then for as long as the block lasts."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(seconds):
                with suppress(FileNotFoundError):
                    os.utime(claim.path)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
