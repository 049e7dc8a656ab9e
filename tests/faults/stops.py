"""R1 and R3: a run that is stopped, anywhere and in any way, ends with the same bytes as one that is not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import torch

from sparsecircuits.cli import main
from sparsecircuits.ops import keep_largest_
from sparsecircuits.tasks import TASKS
from sparsecircuits.train import Progress, RunConfig
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.projection import sparse_matrices
from sparsecircuits.train.run import load_run
from sparsecircuits.train.schedules import densities_at
from tests.faults import tiny
from tests.faults.artefacts import QUICK
from tests.faults.forks import Outcome, forked
from tests.faults.shim import KILL, OPEN, RENAME, WRITE, Fault
from tests.faults.tiny import Bench
from tests.prune import planted

#: How a run is stopped after a step, and how it then ends: killed, asked to (which saves), an error.
WAYS = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143, "SIGINT": 130, "error": 70}


def resumed_anywhere(bench: Bench, count: int) -> Iterator[Outcome]:
    """R1: stops at random steps, one to three in a run, of each kind in turn."""
    for case in range(count):
        draw, kind = random.Random(case), tiny.KINDS[case % 3]
        config = tiny.config(kind, seed=case // 3 % 2)
        stops = sorted(draw.sample(range(1, config.train.steps + 1), draw.choice([1, 1, 2, 3])))
        ways = [draw.choice(list(WAYS)) for _ in stops]
        name = f"{kind}, " + ", ".join(f"{w} at {s}" for w, s in zip(ways, stops, strict=True))
        yield _compare(bench, name, config, stops, ways, bench.new(f"stop-{case}"), kind)


def resumed_where_it_matters(bench: Bench, count: int) -> Iterator[Outcome]:
    """R3: six points, each with three seeds; and as many weights as there should be."""
    points = {
        "inside annealing": 9,
        "at its last step": 12,
        "in the decay of the rate": 18,
        "at the last step": 24,
    }
    for seed in range(max(1, count // 6)):
        config = tiny.config(seed=seed)
        for point, step in points.items():
            folder = bench.new(f"{point.replace(' ', '-')}-{seed}")
            outcome = _compare(bench, f"{point}, seed {seed}", config, [step], ["SIGKILL"], folder)
            yield _counted(outcome, folder, config) if outcome.good else outcome
        yield _tied(bench, seed)
        yield _pruning(bench, seed)


def _compare(
    bench: Bench,
    name: str,
    config: RunConfig,
    stops: list[int],
    ways: list[str],
    folder: Path,
    kind: str = "sparse",
) -> Outcome:
    expected = bench.straight(config, kind)
    for step, way in zip(stops, ways, strict=True):

        def stop(progress: Progress, step: int = step, way: str = way) -> None:
            if progress.step == step:
                if way == "error":
                    raise RuntimeError("somebody's watch failed")
                os.kill(os.getpid(), getattr(signal, way))

        ended = forked(lambda stop=stop: _train(bench, folder, config, stop, kind))
        if ended.code != WAYS[way]:
            return Outcome(name, False, f"exit code {ended.code} after {way} at {step}: {ended.said[-300:]}")
    ended = forked(lambda: _train(bench, folder, config, None, kind))
    if ended.code:
        return Outcome(name, False, f"not resumed: {ended.said[-300:]}")
    different = expected.difference(tiny.fingerprint(folder))
    return Outcome(name, not different, different)


def _train(bench: Bench, folder: Path, config: RunConfig, stop: object, kind: str) -> None:
    if not bench.sabotage:
        return bench.train(folder, config, stop, kind=kind)  # type: ignore[arg-type]

    real = SparseOptimizer.load_state

    def forgetful(self: SparseOptimizer, tensors: dict[str, torch.Tensor]) -> None:
        real(self, {key: value * 0 if key.endswith("exp_avg") else value for key, value in tensors.items()})

    with mock.patch.object(SparseOptimizer, "load_state", forgetful):
        return bench.train(folder, config, stop, kind=kind)  # type: ignore[arg-type]


def _counted(outcome: Outcome, folder: Path, config: RunConfig) -> Outcome:
    densities = densities_at(config.train.steps - 1, config.train)
    for matrix in sparse_matrices(load_run(folder).model(), config.train.floor):
        found, budget = int(matrix.weight.count_nonzero()), matrix.budget(densities)
        if found != budget:
            return Outcome(outcome.name, False, f"{matrix.name}: {found} weights, {budget} are due")
    return outcome


#: Where a pruning is killed: after so many bytes of what it writes below RUN/circuits, or seconds.
_PRUNE_STOPS = (1, 700, None)


def _pruning(bench: Bench, seed: int) -> Outcome:
    """A pruning that is killed, and asked for again, ends with the bytes of one that was not."""
    kept = []
    for number, stop in enumerate((False, True)):
        folder = bench.new(f"pruned-{seed}-{number}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        run = planted.planted_run(folder).folder
        if stop:
            ended = forked(lambda run=run: _prune(bench, run, seed, _PRUNE_STOPS[seed % 3]), _later(seed))
            if ended.code != -signal.SIGKILL:
                return Outcome(f"mid pruning, seed {seed}", False, f"{ended.code} {ended.said[-300:]}")
        ended = forked(lambda run=run, s=stop: _prune(bench, run, seed + int(s and bench.sabotage)))
        if ended.code:
            return Outcome(f"mid pruning, seed {seed}", False, f"not resumed: {ended.said[-300:]}")
        files = sorted((run / "circuits").glob("*/circuit.*"))
        kept.append([path.read_bytes() for path in files])
    return Outcome(f"mid pruning, seed {seed}", bool(kept[0]) and kept[0] == kept[1], "other bytes")


def _prune(bench: Bench, run: Path, seed: int, at: int | None = None) -> int:
    if at is not None:
        Fault("/circuits/", WRITE | OPEN | RENAME, KILL, after=at).set()
    TASKS[planted.STRING_CLOSING.name] = planted.STRING_CLOSING
    return main(["prune", str(run), planted.STRING_CLOSING.name, *QUICK, "--seed", str(seed)])


def _later(seed: int) -> Callable[[int], None] | None:
    """Kills a process a moment after it began, where no write does."""
    if _PRUNE_STOPS[seed % 3] is not None:
        return None

    def kill(pid: int) -> None:
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)

    return kill


def _tied(bench: Bench, seed: int) -> Outcome:
    """Of weights that are all equally large, exactly as many stay as are due, always the same ones."""
    signs = torch.Generator().manual_seed(seed)
    tied = torch.randint(0, 2, (24, 16), generator=signs) * 2.0 - 1.0
    kept = []
    for _ in range(2):
        weight = torch.nn.Parameter(tied.clone())
        budget = 96 + seed
        keep_largest_(weight, budget + int(bench.sabotage), floor=4, axis=1)
        kept.append(weight.detach() != 0)
    floor = int(kept[0].sum(1).min())
    why = f"{int(kept[0].sum())} of {96 + seed} weights, at least {floor} a row"
    good = torch.equal(*kept) and int(kept[0].sum()) == 96 + seed and floor >= 4
    return Outcome(f"tied magnitudes, seed {seed}", good, why)
