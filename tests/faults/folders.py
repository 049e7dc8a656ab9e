"""R11: one run a folder at a time; a stale lock is no obstacle; other formats and models are named."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from unittest import mock

from sparsecircuits.files import sha256_of
from sparsecircuits.train import Progress, loop
from sparsecircuits.train.lock import LOCK_FILE, lock_holder
from tests.faults import tiny
from tests.faults.forks import Ended, Outcome, alive, forked, wait_for
from tests.faults.tiny import Bench

REFUSED = 20


def shared(bench: Bench, count: int) -> Iterator[Outcome]:
    """R11: twenty times a second run in a folder; then stale locks and other formats."""
    others: list[Callable[[Bench, Path], Outcome]] = [_stale, _old, _newer, _newer_run, _other_model]
    for case in range(min(REFUSED, max(1, count - len(others)))):
        yield _second(bench, _fresh(bench, f"shared-{case}"), case)
    for number, other in enumerate(others[:count]):
        yield other(bench, _fresh(bench, f"other-{number}"))


def _second(bench: Bench, folder: Path, case: int) -> Outcome:
    """A second run while the first one is at a step."""
    at, seen = 1 + case, []

    def pause(progress: Progress) -> None:
        if progress.step == at:
            (folder / "reached").touch()
            wait_for(lambda: (folder / "go on").exists())

    def intrude(pid: int) -> None:
        wait_for(lambda: (folder / "reached").exists() or not alive(pid))
        seen.append((pid, forked(lambda: _train(bench, folder)), lock_holder(folder)))
        (folder / "go on").touch()

    first = forked(lambda: bench.train(folder, tiny.config(), pause), intrude)
    pid, second, holder = seen[0]
    name = f"a second run at step {at}"
    if second.code != 2 or f"is being trained: process {pid} on " not in second.said:
        return Outcome(name, False, f"exit code {second.code}: {second.said[-300:]}")
    if first.code or holder is None or holder.pid != pid or (folder / LOCK_FILE).exists():
        return Outcome(name, False, f"the first: {first.code} {first.said[-300:]}; held by {holder}")
    return _same(bench, name, folder)


def _train(bench: Bench, folder: Path) -> None:
    with _unlocked(bench.sabotage):
        bench.train(folder, tiny.config())


def _stale(bench: Bench, folder: Path) -> Outcome:
    """The lock of a process that was killed."""
    name = "a stale lock after SIGKILL"
    ended = forked(lambda: bench.train(folder, tiny.config(), _killed_at(9)))
    if ended.code != -signal.SIGKILL or not (folder / LOCK_FILE).exists():
        return Outcome(name, False, f"{ended.code}, no lock was left")
    return _same(bench, name, folder, forked(lambda: bench.train(folder, tiny.config())))


def _old(bench: Bench, folder: Path) -> Outcome:
    """Checkpoints as the first release wrote them are gone on from."""
    name = "checkpoints of format 1"
    forked(lambda: bench.train(folder, tiny.config(), _killed_at(10)))
    for path in (folder / "checkpoints").glob("step_*/state.json"):
        data = json.loads(path.read_text())
        hashes = {file: sha256_of(path.parent / file) for file in data["files"]}
        path.write_text(
            json.dumps({"step": data["step"], "seconds": data["seconds"], "sha256": hashes}, indent=2)
        )
    return _same(bench, name, folder, forked(lambda: bench.train(folder, tiny.config())))


def _newer(bench: Bench, folder: Path) -> Outcome:
    """A checkpoint of a later format, whole in itself, is refused and not passed over."""
    from sparsecircuits.train import checkpoint

    def killed() -> None:
        with mock.patch.object(checkpoint, "VERSION", 3):
            bench.train(folder, tiny.config(), _killed_at(10))

    forked(killed)
    ended = forked(lambda: bench.train(folder, tiny.config()))
    return _refused(
        "a checkpoint of a newer release", ended, r"step_000008/state\.json: .*version 3; .* reads 1 and 2"
    )


def _newer_run(bench: Bench, folder: Path) -> Outcome:
    """A run.json of a later format."""
    forked(lambda: bench.train(folder, tiny.config(), _killed_at(10)))
    data = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**data, "version": 2}))
    ended = forked(lambda: bench.train(folder, tiny.config()))
    return _refused(
        "a run.json of a newer release", ended, r"run\.json: not a run of this release \(version 2\)"
    )


def _other_model(bench: Bench, folder: Path) -> Outcome:
    """The settings of another model."""
    forked(lambda: bench.train(folder, tiny.config(), _killed_at(10)))
    config = tiny.config()
    wider = config.replace(model=config.model.replace(d_mlp=32))
    ended = forked(lambda: bench.train(folder, wider))
    return _refused("another architecture", ended, r"other settings \(model\.d_mlp: None there, 32 here\)")


def _refused(name: str, ended: Ended, message: str) -> Outcome:
    good = ended.code == 2 and re.search(message, ended.said) is not None
    return Outcome(name, good, f"exit code {ended.code}: {ended.said[-300:]}")


def _same(bench: Bench, name: str, folder: Path, ended: Ended | None = None) -> Outcome:
    if ended is not None and ended.code:
        return Outcome(name, False, f"exit code {ended.code}: {ended.said[-300:]}")
    different = bench.straight(tiny.config()).difference(tiny.fingerprint(folder))
    return Outcome(name, not different, different)


def _killed_at(step: int) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


def _fresh(bench: Bench, name: str) -> Path:
    folder = bench.new(name)
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _unlocked(sabotage: bool) -> AbstractContextManager[object]:
    """Sabotage: nobody asks for the lock."""

    @contextmanager
    def free(_folder: Path) -> Iterator[None]:
        yield

    return mock.patch.object(loop, "run_lock", free) if sabotage else nullcontext()
