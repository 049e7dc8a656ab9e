"""Check every GPU kernel against its definition, then time it and whole steps against plain PyTorch.

    python benchmarks/gpu.py               on one GPU, ten minutes; fills docs/gpu.md
    python benchmarks/gpu.py --toy         without a GPU, a minute: does the script still run?
    python benchmarks/gpu.py --only topk   one family of rows, printed alone

Each family of rows is a process of its own with so many seconds to live, so that one that fails, or hangs,
takes no other with it; what it had found by then counts. What failed is printed, and the exit code is 1. With
``--toy`` kernels run in Triton's interpreter, on tiny tensors of the CPU: results are checked, times mean
nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":  # so that the neighbours below are found from wherever this is started
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report
from benchmarks.gpu_rows import Clock, Row
from benchmarks.ops_steps import Shape

SCRIPT = "benchmarks/gpu.py"
DOCS = Path("docs")


class Family(NamedTuple):
    """Rows that are measured in one process."""

    module: str
    function: str
    seconds: int
    """It is stopped after so many."""


#: How many times as long a toy run's processes may take, on however busy a machine.
PATIENCE = 10
#: Together less than ten minutes.
FAMILIES = {
    "copy": Family("gpu_kernels", "copy", 20),
    "topk": Family("gpu_kernels", "abs_topk", 60),
    "projection": Family("gpu_kernels", "projection", 45),
    "linear": Family("gpu_kernels", "sparse_linear", 90),
    "attention": Family("gpu_kernels", "attention", 45),
    "adam": Family("gpu_kernels", "adam", 30),
    "steps": Family("gpu_steps", "steps", 300),
}


def plan(toy: bool) -> Any:
    """The sizes of real use, or tiny ones."""
    from benchmarks.gpu_kernels import Plan

    if toy:
        tiny = Shape(width=32, layers=1, batch=8, context=16, density=0.01, vocab=64, floor=0, d_head=8)
        return Plan(((4, 48),), ((32, 40, 130),), (0.02,), (2, 2, 16, 8), (tiny,), False, 1000)
    wide = Shape(width=2048, layers=8, batch=32, context=256, density=0.005)
    shapes = (wide, wide._replace(batch=16), wide._replace(batch=16, layers=4))
    sizes = ((8192, 2048, 8192), (2048, 8192, 8192))
    topk = ((8192, 2048), (8192, 8192))
    return Plan(topk, sizes, (0.01, 0.003, 0.001), (32, 128, 256, 16), shapes, True, 2**30)


# --- One process ---


def measure(name: str, toy: bool) -> None:
    """Print the rows of one family, each as a line of JSON as soon as it is known."""
    if toy:
        os.environ["TRITON_INTERPRET"] = "1"  # before Triton is first imported
    import importlib

    import torch

    from sparsecircuits.ops import gpu

    torch.manual_seed(0)
    family = FAMILIES[name]
    device = torch.device("cpu" if toy else "cuda")
    with gpu.interpreted() if toy else nullcontext():
        rows: Callable[[Any, Clock], Iterator[Row]] = getattr(
            importlib.import_module(f"benchmarks.{family.module}"), family.function
        )
        for row in rows(plan(toy), Clock(device)):
            print(json.dumps(row.to_json()), flush=True)


# --- All of them ---


class Found(NamedTuple):
    """What the processes found."""

    rows: list[Row]
    failed: list[str]
    """What went wrong, in words."""


def measure_all(names: Sequence[str], toy: bool) -> Found:
    """Run a process for each family, one after the other."""
    found = Found([], [])
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--family", name, *(["--toy"] if toy else [])]
        lines, problem = run(command, FAMILIES[name].seconds * (PATIENCE if toy else 1))
        rows = [Row.from_json(json.loads(line)) for line in lines if line.startswith("{")]
        found.rows.extend(rows)
        wrong = [row for row in rows if not row.right]
        found.failed.extend(
            f"{name}: {row.name} is {row.error:.2g} off, allowed {row.tolerance:g}" for row in wrong
        )
        if problem:
            found.failed.append(f"{name}: {problem}, after {len(rows)} rows")
    return found


def run(command: Sequence[str], seconds: float) -> tuple[list[str], str | None]:
    """What a command prints, and what went wrong: it was stopped, or the last line of its error."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            return out.splitlines(), f"stopped after {seconds:g} s"
    print(err, end="", file=sys.stderr)
    if process.returncode == 0:
        return out.splitlines(), None
    last = err.strip().splitlines()[-1] if err.strip() else f"exit code {process.returncode}"
    return out.splitlines(), last


# --- The table ---


def bandwidth(rows: Sequence[Row]) -> float | None:
    """Bytes a second of the copy, or None if that was not measured."""
    return next(
        (1e3 * row.moved / row.ms for row in rows if row.name == "copy in memory" and row.moved), None
    )


def floor_ms(row: Row, speed: float | None) -> float | None:
    """Milliseconds that a row's bytes take at the copy's speed."""
    return None if row.moved is None or speed is None else 1e3 * row.moved / speed


def figures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Ratios to the others and to the memory floor, and differences from the definitions."""
    speed = bandwidth(rows)
    found = []
    for row in rows:
        for name, other in row.others.items():
            found.append(report.figure(f"{row.name}: {name} / ours", other.ms / row.ms, other.goal, "max"))
        floor = floor_ms(row, speed)
        if floor is not None and row.others:
            found.append(report.figure(f"{row.name}: ours / memory floor", row.ms / floor, None, "min"))
        if row.error is not None:
            name = f"{row.name}: difference from the definition"
            found.append(report.figure(name, row.error, row.tolerance, "min"))
    return found


def table(rows: Sequence[Row]) -> str:
    """A line for each row and each of its rivals; what is short of its goal in bold."""
    speed = bandwidth(rows)
    lines = [["what", "against", "ours, ms", "theirs, ms", "theirs / ours", "goal", "ours / floor", "off by"]]
    for row in rows:
        floor = floor_ms(row, speed)
        over = "" if floor is None else report.number(row.ms / floor)
        error = "" if row.error is None else report.number(row.error)
        error = error if row.right else f"**{error}**"
        first, *more = row.others.items() or [("", None)]
        for place, (name, other) in enumerate([first, *more]):
            ours = [row.name, name, report.number(row.ms)] if place == 0 else ["", name, ""]
            ends = [over, error] if place == 0 else ["", ""]
            lines.append([*ours, *_against(row, other), *ends])
    return report.markdown(lines, words=2)


def _against(row: Row, other: Any) -> list[str]:
    if other is None:
        return ["", "", ""]
    ratio = other.ms / row.ms
    text = report.number(ratio)
    reached = report.met(ratio, other.goal, "max")
    return [
        report.number(other.ms),
        text if reached else f"**{text}**",
        "" if other.goal is None else f"≥ {other.goal:g}",
    ]


def block(result: dict[str, Any], rows: Sequence[Row], failed: Sequence[str]) -> str:
    """What stands between the page's markers."""
    speed = bandwidth(rows)
    copied = "not measured" if speed is None else f"{speed / 1e9:,.0f} GB/s"
    parts = [
        f"Measured on {result['date']} by {report.source(result)} A copy in memory: {copied}.",
        table(rows),
        report.short(result),
    ]
    if failed:
        parts.append("Failed:\n\n" + "\n".join(f"- {one}" for one in failed))
    return "\n\n".join(parts)


def machine(toy: bool) -> str:
    """Where it was measured, in a line."""
    import torch
    import triton

    name = "no GPU, Triton's interpreter" if toy else torch.cuda.get_device_name()
    versions = f"torch {torch.__version__}, triton {triton.__version__}, Python {platform.python_version()}"
    return f"{name}, {versions}"


def main() -> int:
    """Measure, print, write; 1 where something failed."""
    options = _arguments()
    if options.family:
        measure(options.family, options.toy)
        return 0
    import torch

    if not (options.toy or torch.cuda.is_available()):
        print(
            "torch sees no CUDA device here; --toy runs everything in a tiny size without one",
            file=sys.stderr,
        )
        return 2
    names = options.only or list(FAMILIES)
    rows, failed = measure_all(names, options.toy)
    print(table(rows))
    if options.toy:
        print("\nA toy run: its times mean nothing.")
    if not options.only and (options.write or not options.toy):
        write(options.out, rows, failed, options.toy)
    for one in failed:
        print(f"failed: {one}", file=sys.stderr)
    return 1 if failed else 0


def write(folder: Path, rows: Sequence[Row], failed: Sequence[str], toy: bool) -> None:
    """``results/gpu.json`` and the table of ``gpu.md`` in ``folder``."""
    result = report.save(
        folder / "results" / "gpu.json",
        f"python {SCRIPT}{' --toy' if toy else ''}",
        figures(rows),
        machine=machine(toy),
        date=datetime.now(UTC).date().isoformat(),
        rows=[row.to_json() for row in rows],
        failed=list(failed),
    )
    page = folder / "gpu.md"
    source = page if page.is_file() else DOCS / "gpu.md"
    page.write_text(report.fill(source.read_text(), SCRIPT, block(result, rows, failed)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--toy", action="store_true", help="tiny sizes in Triton's interpreter, no GPU needed"
    )
    parser.add_argument("--only", nargs="+", choices=FAMILIES, help="these rows alone; writes nothing")
    parser.add_argument("--write", action="store_true", help="with --toy: write files too")
    parser.add_argument(
        "--out", type=Path, default=DOCS, help="folder for results/gpu.json and gpu.md (docs)"
    )
    parser.add_argument("--family", choices=FAMILIES, help=argparse.SUPPRESS)  # one process, prints JSON
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
