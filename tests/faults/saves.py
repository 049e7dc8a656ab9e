"""R5 and R6: a process that dies at any byte of a save, a disk that refuses: no run lost, nothing hidden."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from sparsecircuits.train import Progress, checkpoint, keeper
from sparsecircuits.train.run import load_run
from tests.faults import shim, tiny
from tests.faults.forks import Ended, Outcome, forked
from tests.faults.shim import FAIL, FLUSH, KILL, OPEN, RENAME, SHORT, WRITE, Fault
from tests.faults.tiny import Bench

_SAVES = "/checkpoints/"


def killed_in_a_save(bench: Bench, count: int) -> Iterator[Outcome]:
    """R5: SIGKILL at a random byte of all that the checkpoints of a run write."""
    config = tiny.config()
    expected, every = bench.straight(config), config.train.checkpoint_every
    total = _bytes_of_saves(bench)
    for case in range(count):
        at = random.Random(case).randrange(total)
        folder = bench.new("killed")
        shutil.rmtree(folder, ignore_errors=True)

        def work(at: int = at, folder: Path = folder) -> None:
            Fault(_SAVES, WRITE | FLUSH | RENAME | OPEN, KILL, after=at).set()
            with _in_place(bench.sabotage):
                bench.train(folder, config)

        ended, name = forked(work), f"byte {at:,} of {total:,}"
        if ended.code != -signal.SIGKILL:
            yield Outcome(name, False, f"it was not killed: {ended.code} {ended.said[-300:]}")
            continue
        done = max((row["step"] for row in load_run(folder).metrics()), default=0)
        whole = tiny.whole_checkpoints(folder)
        found = tiny.resumable_step(folder, config) if whole else 0
        if found != max(whole, default=0) or done - found > every:
            yield Outcome(name, False, f"at step {done}, resumable at {found}, whole: {whole}")
            continue
        yield _resumed(bench, name, folder, expected)


def _bytes_of_saves(bench: Bench) -> int:
    target = bench.new("counted")
    shutil.rmtree(target, ignore_errors=True)

    def work() -> None:
        Fault(_SAVES, 0, 0).set()
        bench.train(target, tiny.config())
        (target / "bytes").write_text(str(shim.counted()))

    ended = forked(work)
    assert ended.code == 0, ended.said
    return int((target / "bytes").read_text())


class Stage(NamedTuple):
    """A place of the saving."""

    about: str
    path: str
    calls: int
    after: int
    """So many bytes or calls below the path are let through."""


STAGES = (
    Stage("a line of metrics", "metrics.jsonl", WRITE, 500),
    Stage("tensors of a checkpoint", ".partial/", WRITE, 90_000),
    Stage("a checkpoint's state.json", ".state.json.", WRITE, 400),
    Stage("flushing it and taking its place", ".partial", FLUSH | RENAME, 90_000),
    Stage("the finished model", "/model/", OPEN | WRITE | FLUSH | RENAME, 6),
)
#: The step whose save is struck: the second or third one, if the validation at step 6 was the best.
STRUCK = 8
#: Fault -> its number; whether it lasts.
ERRORS = {"ENOSPC": True, "EIO": False, "EACCES": True, "EROFS": True, "EXDEV": False, "EINTR": False}


def refused(bench: Bench, count: int) -> Iterator[Outcome]:
    """R6: seven faults of a disk at five stages of saving."""
    cases = [(name, stage) for name in (*ERRORS, "short write") for stage in STAGES]
    for name, stage in cases[:count]:
        folder = bench.new("refused")
        shutil.rmtree(folder, ignore_errors=True)
        if name == "ENOSPC" and (disk := small_disk(folder)):
            yield _full(bench, disk, STAGES.index(stage))
            continue
        if name == "short write":
            fault = Fault(stage.path, WRITE, SHORT, after=0)
        else:
            fault = Fault(
                stage.path, stage.calls, FAIL, getattr(errno, name), stage.after, once=not ERRORS[name]
            )
        yield _refused(bench, f"{name}, {stage.about}", folder, fault)


def _refused(bench: Bench, name: str, folder: Path, fault: Fault) -> Outcome:
    config = tiny.config()
    expected = bench.straight(config)

    def work() -> None:
        earlier = _Earlier(folder, fault.set)
        try:
            with _silent(bench.sabotage):
                bench.train(folder, config, earlier.watch)
        finally:
            fired = shim.fired()
            fault._replace(path="nowhere").set()
            (folder / "fired").write_text(str(fired))

    ended = forked(work)
    why = _judged(ended, folder, fault, expected)
    if why:
        return Outcome(name, False, why)
    if ended.code == 0:
        different = expected.difference(tiny.fingerprint(folder))
        return Outcome(name, not different, different)
    return _resumed(bench, name, folder, expected)


class _Earlier:
    """Begins a fault just before a save, when others have been; and sees that the last of them stays."""

    def __init__(self, folder: Path, begin: Callable[[], object]) -> None:
        self.folder, self.begin, self.steps = folder, begin, [0]

    def watch(self, progress: Progress) -> None:
        """Called after each step, before its save."""
        if progress.step == STRUCK:
            self.steps = tiny.whole_checkpoints(self.folder)
            self.begin()
        if progress.step == STRUCK + 1:
            left = tiny.whole_checkpoints(self.folder)
            assert self.steps[-1] in left, f"whole before the fault: {self.steps}; after it: {left}"


#: What a disk has room for, in shares of a checkpoint, when the save of step ``STRUCK`` begins.
SHARES = (0.0, 0.1, 0.2, 0.4, 0.6)


class Disk(NamedTuple):
    """A file system in memory, as large as it is told to be."""

    folder: Path

    def resize(self, size: int) -> None:
        """Make it so many bytes large."""
        _call("mount", "-o", f"remount,size={size}", self.folder)

    def remove(self) -> None:
        """Take it away."""
        _call("umount", self.folder)


def small_disk(folder: Path) -> Disk | None:
    """A disk at ``folder``; None where this user may mount none."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = _call("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder)
    return Disk(folder) if mounted else None


def _full(bench: Bench, disk: Disk, which: int) -> Outcome:
    """A disk that is really full: the save of step ``STRUCK`` and all that follow have so little room."""
    config, folder = tiny.config(), disk.folder / "run"
    expected = bench.straight(config)
    name = f"ENOSPC, a disk with room for {SHARES[which]:.0%} of a save"
    try:

        def fill() -> None:
            latest = max((folder / "checkpoints").iterdir())
            taken, one = (_taken(path) for path in (folder, latest))
            disk.resize(taken + int(SHARES[which] * one))

        def work() -> None:
            with _silent(bench.sabotage):
                bench.train(folder, config, _Earlier(folder, fill).watch)

        ended = forked(work)
        if ended.code not in (0, 2):
            return Outcome(name, False, f"exit code {ended.code}: {ended.said[-300:]}")
        if "not saved" not in ended.said or os.strerror(errno.ENOSPC) not in ended.said:
            return Outcome(name, False, f"silent, exit code {ended.code}: {ended.said[-300:]}")
        if left := tiny.leftovers(folder):
            return Outcome(name, False, f"left behind: {left}")
        disk.resize(64 << 20)
        return _resumed(bench, name, folder, expected)
    finally:
        disk.remove()


def _taken(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))


def _call(*words: object) -> bool:
    return subprocess.run(list(map(str, words)), capture_output=True, check=False).returncode == 0


def _judged(ended: Ended, folder: Path, fault: Fault, expected: tiny.Fingerprint) -> str:
    """What is wrong with how a run ended whose disk refused; nothing if nothing is."""
    if not int((folder / "fired").read_text()):
        return "the fault did not come up"
    if left := tiny.leftovers(folder):
        return f"left behind: {left}"
    if ended.code not in (0, 2):
        return f"exit code {ended.code}: {ended.said[-300:]}"
    cause = os.strerror(fault.error)
    told = "not saved" in ended.said and cause in ended.said
    absorbed = fault.action == SHORT or fault.error == errno.EINTR
    if not told and not (absorbed and ended.code == 0):
        return f"silent, exit code {ended.code}: {ended.said[-300:]}"
    return "" if tiny.whole_checkpoints(folder) else "no whole checkpoint"


def _resumed(bench: Bench, name: str, folder: Path, expected: tiny.Fingerprint) -> Outcome:
    """Whether the run goes on, now that nothing is wrong, and ends as if nothing had been."""
    ended = forked(lambda: bench.train(folder, tiny.config()))
    if ended.code:
        return Outcome(name, False, f"not resumed: {ended.code} {ended.said[-300:]}")
    different = expected.difference(tiny.fingerprint(folder))
    left = tiny.leftovers(folder)
    return Outcome(
        name, not different and not left, different or f"left behind: {left}" if left else different
    )


def _in_place(sabotage: bool) -> AbstractContextManager[object]:
    """Sabotage: checkpoints are written where they belong, state first, hashes guessed."""

    @contextmanager
    def placed(target: Path) -> Iterator[Path]:
        target.mkdir(parents=True, exist_ok=True)
        yield target

    if not sabotage:
        return nullcontext()
    return mock.patch.multiple(
        checkpoint, placed_folder=placed, sha256_of=lambda _path: "0", found_checkpoints=_any_file
    )


def _any_file(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob("step_*/model.safetensors"))]


def _silent(sabotage: bool) -> AbstractContextManager[object]:
    """Sabotage: a save that fails is passed over without a word."""

    def swallow(*_: object, **__: object) -> None:
        return None

    return mock.patch.object(keeper.warnings, "warn", swallow) if sabotage else nullcontext()
