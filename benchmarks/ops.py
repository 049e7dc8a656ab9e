"""Time the operations and the whole training step against plain PyTorch, side by side.

    make bench                            everything, ten minutes on two cores
    python benchmarks/ops.py --quick      tiny shapes in seconds: does the script still run?
    python benchmarks/ops.py --docs       only fill docs/performance.md from docs/results/ops.json

Measured are one thread, two threads, and one thread with the C library's default handling of freed
memory, each in a process of its own, since none of these can be undone within one. What they find goes to
``docs/results/ops.json``, the plot to ``docs/images/step_time.png``, the tables into ``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":  # so that the neighbours below are found from wherever this is started
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks import ops_files, ops_kernels, ops_report, ops_steps, ops_timing
from benchmarks.ops_steps import Shape
from benchmarks.ops_timing import Effort, Measured, percent
from benchmarks.report import commit, fill, short
from sparsecircuits.cli.progress import Progress
from sparsecircuits.ops import choice, native
from sparsecircuits.ops.memory import keep_freed_memory

DOCS = Path("docs")
COMMAND = "make bench"


class Task(NamedTuple):
    """One comparison, or a few that share what they need."""

    name: str
    seconds: float
    """About what it takes on one thread; the progress bar is made of these."""
    run: Callable[[], Measured]
    once: bool = False
    """Left out where freed memory is not kept: no time is judged, or it would take too long."""


@dataclass(frozen=True)
class Plan:
    """Which shapes are measured, and how often."""

    topk: tuple[tuple[int, int], ...]
    """Rows and their length."""
    projection: tuple[tuple[int, float, float], ...]
    """Side of the square matrix, density, goal."""
    linear: tuple[int, ...]
    """Widths."""
    linear_goals: dict[float, float]
    """By density."""
    linear_tokens: int
    attention: tuple[int, int, int, int]
    """Batch, heads, channels of a head, tokens."""
    small: tuple[int, int, int]
    """Tokens, width, vocabulary."""
    steps: tuple[tuple[Shape, tuple[float, float]], ...]
    """Shape, goals against the naive and the dense step."""
    decoding: tuple[Shape, ...]
    prompt: int
    following: int
    growth: tuple[Shape, ...]
    growth_densities: list[float]
    kernels: Effort
    whole: Effort
    compiles: bool = True


FULL = Plan(
    topk=((8192, 256), (8192, 1024), (8192, 4096)),
    projection=((1024, 0.01, 15), (1024, 0.1, 15), (2048, 0.01, 15), (2048, 0.1, 15), (1024, 0.004, 5)),
    linear=(1024, 2048),
    linear_goals={0.01: 14, 0.001: 25},
    linear_tokens=8192,
    attention=(32, 16, 16, 128),
    small=(4096, 256, 2048),
    steps=(
        (Shape(width=256, layers=4, batch=32, context=128, density=1 / 64), (3.2, 1.8)),
        (Shape(width=1024, layers=2, batch=8, context=128, density=0.005), (3, 2)),
    ),
    decoding=tuple(
        Shape(width=1024, layers=4, batch=1, context=128, density=density, floor=0)
        for density in (0.01, 0.0025)
    ),
    prompt=32,
    following=64,
    growth=tuple(
        Shape(width=width, layers=2, batch=8, context=128, density=1) for width in (256, 512, 1024, 2048)
    ),
    growth_densities=[0.03, 0.01, 0.003, 0.001],
    kernels=Effort(),
    whole=Effort(repeats=5, seconds=0, warmup=1),
)

QUICK = Plan(
    topk=((64, 32),),
    projection=((64, 0.1, 15), (64, 0.0625, 5)),
    linear=(64,),
    linear_goals={0.1: 14, 0.05: 25},
    linear_tokens=128,
    attention=(2, 2, 16, 16),
    small=(32, 64, 48),
    steps=((Shape(width=64, layers=1, batch=2, context=16, density=0.1, vocab=128), (3.2, 1.8)),),
    decoding=(Shape(width=64, layers=1, batch=1, context=32, density=0.05, vocab=128, floor=0),),
    prompt=4,
    following=4,
    growth=tuple(
        Shape(width=width, layers=1, batch=2, context=16, density=1, vocab=128) for width in (32, 64)
    ),
    growth_densities=[0.1, 0.03],
    kernels=Effort(repeats=2, seconds=0, warmup=1),
    whole=Effort(repeats=2, seconds=0, warmup=1),
    compiles=False,
)


def tasks(plan: Plan) -> list[Task]:
    """Everything that is measured, in the order of the tables."""
    k, s = ops_kernels, ops_steps
    found = [
        Task(f"AbsTopK {rows} x {dim}", 2 + dim / 400, partial(k.abs_topk, rows, dim, plan.kernels))
        for rows, dim in plan.topk
    ]
    for size, density, goal in plan.projection:
        run = partial(k.projection, size, density, goal, plan.kernels)
        found.append(Task(f"projection {size}, {percent(density)}", 3, run))
    cases = [(size, density) for size, density, _ in plan.projection]
    found.append(Task("projection, bit for bit", 3, partial(k.projection_is_exact, cases), once=True))
    for width in plan.linear:
        run = partial(k.sparse_linear, width, plan.linear_tokens, plan.linear_goals, plan.kernels)
        found.append(Task(f"sparse linear {width}", 5 * (width / 1024) ** 2, run))
    found.append(Task("attention", 2, partial(k.attention, *plan.attention, plan.kernels)))
    found.append(Task("RMSNorm, GELU, loss", 4, partial(k.small_operations, *plan.small, plan.kernels)))
    for shape, goals in plan.steps:
        found.append(Task(f"losses, width {shape.width}", 18, partial(s.losses, shape), once=True))
        run = partial(s.step, shape, goals, plan.compiles, plan.whole)
        found.append(Task(f"step, width {shape.width}", 50, run))
    for shape in plan.decoding:
        run = partial(s.decoding, shape, plan.prompt, plan.following, plan.whole)
        found.append(Task(f"decoding, {percent(shape.density)}", 10, run))
    shape = plan.decoding[0]
    found.append(Task("files", 15, partial(files, shape), once=True))
    for shape in plan.growth:
        last = shape is plan.growth[-1]
        effort = plan.whole._replace(repeats=3) if last else plan.whole
        run = partial(s.growth, shape, plan.growth_densities, last, effort)
        found.append(Task(f"growth, width {shape.width}", 2 + (shape.width / 256) ** 2, run, once=True))
    return found


def files(shape: Shape) -> Measured:
    """Both tasks of :mod:`benchmarks.ops_files`."""
    saved, page = ops_files.checkpoint(shape), ops_files.example_page(goal=10)
    return Measured([*saved.rows, *page.rows])


# --- One process ---


class Setting(NamedTuple):
    """What a process measures under."""

    threads: int
    default_malloc: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return ops_timing.suffix(*self).removeprefix(", ")

    def tasks(self, plan: Plan, only: str = "") -> list[Task]:
        """What is measured under it, of the tasks whose name begins with ``only``."""
        chosen = [task for task in tasks(plan) if task.name.startswith(only)]
        return [task for task in chosen if not (self.default_malloc and task.once)]


def measure(setting: Setting, plan: Plan, only: str = "") -> None:
    """Run every task, and print what each found as one line of JSON, or that its sides disagree."""
    torch.set_num_threads(setting.threads)
    if not setting.default_malloc and not keep_freed_memory():
        print("freed memory cannot be kept here (no glibc): figures will be lower", file=sys.stderr)
    for task in setting.tasks(plan, only):
        torch.manual_seed(0)
        try:
            found = task.run()
        except AssertionError as error:
            print(json.dumps({"task": task.name, "error": str(error)}), flush=True)
        else:
            print(json.dumps({"task": task.name, **ops_timing.to_json(found)}), flush=True)


# --- All of them ---


class Found(NamedTuple):
    """What all processes found, as the file has it."""

    figures: list[dict[str, Any]]
    measurements: list[dict[str, Any]]
    growth: list[dict[str, Any]]
    failed: list[str]
    """What went wrong, in words."""


def settings() -> list[Setting]:
    """One thread, two threads where there are two cores, and one thread with memory handled by default."""
    cores = len(os.sched_getaffinity(0))
    return [Setting(1), *([Setting(2)] if cores > 1 else []), Setting(1, default_malloc=True)]


def measure_all(plan: Plan, flags: list[str], progress: Progress, only: str = "") -> Found:
    """Run a process for each setting, one after the other."""
    found = Found([], [], [], [])
    weights = {
        setting: [task.seconds / setting.threads**0.6 for task in setting.tasks(plan, only)]
        for setting in settings()
    }
    bar = progress.add("measuring", total=round(10 * sum(map(sum, weights.values()))))
    bar.update(0)
    done = 0.0
    for setting, seconds in weights.items():
        ahead = iter(seconds)
        for line in _output(setting, flags, found.failed):
            if "error" in line:
                found.failed.append(f"{setting.name}: the sides of {line['task']} disagree")
                print(line["error"], file=sys.stderr)
            else:
                _collect(found, setting, ops_timing.from_json(line))
            done += next(ahead)
            bar.update(round(10 * done))
    return found


def _output(setting: Setting, flags: list[str], failed: list[str]) -> Iterable[dict[str, Any]]:
    """What the process of a setting prints, line by line; ``failed`` is told if it breaks off."""
    command = [sys.executable, __file__, "--measure", "--threads", str(setting.threads), *flags]
    command += ["--default-malloc"] if setting.default_malloc else []
    # One compiling process: a pool of them would stay beside what is timed.
    environment = os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"task"'):
                yield json.loads(line)
            else:
                print(line, end="", file=sys.stderr)
    if process.returncode:
        failed.append(f"{setting.name}: the process broke off")


def _collect(found: Found, setting: Setting, measured: Measured) -> None:
    for row in measured.rows:
        found.figures.append(ops_timing.figure(row, *setting))
        timed = ops_timing.measurement(row, *setting)
        found.measurements.extend([timed] if timed else [])
    found.growth.extend({"threads": setting.threads, **point._asdict()} for point in measured.points)


def machine() -> str:
    """The machine in a line: cores, processor, kernels, versions."""
    constants = "measured here" if (choice.cache_folder() / choice.FILE).is_file() else "as shipped"
    return (
        f"{len(os.sched_getaffinity(0))} cores of {_processor()}, no GPU used, {native.kernels()} kernels, "
        f"constants of the choice {constants}, Python {platform.python_version()}, torch {torch.__version__}"
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def merged(before: dict[str, Any], now: dict[str, Any], only: str) -> dict[str, Any]:
    """``before`` with the figures that ``now`` has too replaced, and a note of which were measured later."""
    result = dict(before)
    for part in ("figures", "measurements"):
        keys = ("name", "threads", "default_malloc")
        newer = {tuple(row.get(key) for key in keys): row for row in now[part]}
        result[part] = [newer.get(tuple(row.get(key) for key in keys), row) for row in before[part]]
    result["growth"] = now["growth"] or before["growth"]
    later = {"command": f"{now['command']} --only {only}", "commit": now["commit"]}
    result["measured_later"] = [*before.get("measured_later", []), later]
    return result


def main() -> int:
    """Measure and write, or one part of it; 1 where something went wrong, with what was found written."""
    options = _arguments()
    plan = QUICK if options.quick else FULL
    if options.measure:
        measure(Setting(options.threads, options.default_malloc), plan, options.only)
        return 0
    folder: Path = options.out
    result_file, page = folder / "results" / "ops.json", DOCS / "performance.md"
    failed: list[str] = []
    if not options.docs:
        with Progress() as progress:
            flags = [*(["--quick"] if options.quick else []), "--only", options.only]
            found = measure_all(plan, flags, progress, options.only)
        failed = found.failed
        result = {"command": COMMAND, "commit": commit(), "machine": machine(), **found._asdict()}
        if options.only:
            result = merged(json.loads(result_file.read_text()), result, options.only)
        for path in (result_file, folder / "images" / "step_time.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
        result_file.write_text(json.dumps(result, indent=2) + "\n")
        ops_report.draw_growth(result["growth"], folder / "images" / "step_time.png")
    result = json.loads(result_file.read_text())
    filled = fill(page.read_text(), ops_report.SCRIPT, ops_report.tables(result))
    (folder / page.name).write_text(filled)
    print(short(result), result_file, sep="\n")
    for name in failed:
        print(f"not complete: {name}", file=sys.stderr)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny shapes, written to runs/bench-quick")
    parser.add_argument("--docs", action="store_true", help="measure nothing, fill in performance.md anew")
    parser.add_argument("--out", type=Path, help="folder for results/, images/ and performance.md (docs)")
    parser.add_argument("--only", default="", help="measure tasks of this name anew, keep the other figures")
    inner = parser.add_argument_group("one process alone, which prints JSON")
    inner.add_argument("--measure", action="store_true")
    inner.add_argument("--threads", type=int, default=1)
    inner.add_argument("--default-malloc", action="store_true", help="do not keep freed memory")
    options = parser.parse_args()
    options.out = options.out or (Path("runs/bench-quick") if options.quick else DOCS)
    return options


if __name__ == "__main__":
    sys.exit(main())
