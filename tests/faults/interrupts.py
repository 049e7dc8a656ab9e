"""R7: SIGTERM and Ctrl-C, at any moment, save first; a second Ctrl-C ends at once and harms nothing."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from unittest import mock

from sparsecircuits.cli import main
from sparsecircuits.train import loop
from sparsecircuits.train.lock import LOCK_FILE
from sparsecircuits.train.run import load_run
from sparsecircuits.train.signals import Stop
from tests.faults import tiny
from tests.faults.forks import Ended, Outcome, alive, forked, wait_for
from tests.faults.tiny import Bench

STEPS, SECONDS = 80, 10.0


def interrupted(bench: Bench, count: int) -> Iterator[Outcome]:
    """R7: in turn SIGTERM, Ctrl-C, and Ctrl-C twice, to the command, at random moments of its training."""
    config = tiny.config(steps=STEPS, checkpoint_every=30, eval_every=50)
    expected = bench.straight(config)
    for case in range(count):
        draw = random.Random(case)
        folder = bench.new("interrupted")
        shutil.rmtree(folder, ignore_errors=True)
        how = ("SIGTERM", "SIGINT", "SIGINT twice")[case % 3]
        moment = draw.randrange(STEPS - 20)
        yield _interrupted(bench, folder, how, moment, expected, words(bench, folder, config.train.to_dict()))


def words(bench: Bench, folder: Path, recipe: dict[str, object]) -> list[str]:
    """The command line that trains the tiny run of a recipe."""
    model = {"n_ctx": 8, "n_layer": 1, "d_model": 16, "d_head": 8}
    sets = [f"model.{key}={value}" for key, value in model.items()]
    sets += [f"train.{key}={json.dumps(value)}" for key, value in recipe.items()]
    given = [word for setting in sets for word in ("--set", setting)]
    return ["train", str(folder), "--preset", "tiny", "--data", str(bench.corpus.folder), *given, "--json"]


def _interrupted(
    bench: Bench, folder: Path, how: str, moment: int, expected: tiny.Fingerprint, command: list[str]
) -> Outcome:
    def strike(pid: int) -> None:
        wait_for(lambda: _lines(folder) >= moment or not alive(pid))
        time.sleep(moment % 7 / 1000)
        number = signal.SIGTERM if how == "SIGTERM" else signal.SIGINT
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            if how.endswith("twice"):
                time.sleep(moment % 5 / 1000)
                os.kill(pid, number)

    def work() -> int:
        with _deaf(bench.sabotage):
            return main(command)

    ended = forked(work, strike)
    name = f"{how}, about step {moment}"
    if why := _judged(ended, folder, how):
        return Outcome(name, False, why)
    ended = forked(lambda: main(command))
    if ended.code:
        return Outcome(name, False, f"not resumed: {ended.code} {ended.said[-300:]}")
    different = expected.difference(tiny.fingerprint(folder))
    return Outcome(name, not different, different)


def _lines(folder: Path) -> int:
    """Lines of metrics so far; -1 before the run has its lock."""
    if not (folder / LOCK_FILE).exists():
        return -1
    metrics = folder / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def _judged(ended: Ended, folder: Path, how: str) -> str:
    """What is wrong with how the command ended; nothing if nothing is."""
    code = 143 if how == "SIGTERM" else 130
    if ended.code != code:
        return f"exit code {ended.code}: {ended.said[-300:]}"
    ways = ["go on where it stopped"] + ["begin again"] * (not any(tiny.whole_checkpoints(folder)))
    if not any(f"to {way}: sparsecircuits train" in ended.said for way in ways):
        return f"it does not say how to go on: {ended.said[-300:]}"
    if ended.seconds > SECONDS:
        return f"it took {ended.seconds:.1f} s"
    if (folder / LOCK_FILE).exists():
        return "the lock is still there"
    if left := tiny.leftovers(folder):
        return f"left behind: {left}"
    if how.endswith("twice") or not (folder / "run.json").exists():
        return ""
    done = max((row["step"] for row in load_run(folder).metrics()), default=0)
    saved = max(tiny.whole_checkpoints(folder), default=0)
    return "" if saved >= done else f"saved at step {saved}, {done} were done"


def _deaf(sabotage: bool) -> AbstractContextManager[object]:
    """Sabotage: nothing is saved at a signal."""

    @contextmanager
    def deaf() -> Iterator[Stop]:
        yield Stop()

    return mock.patch.object(loop, "stop_signals", deaf) if sabotage else nullcontext()
