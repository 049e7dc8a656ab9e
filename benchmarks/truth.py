"""Judge circuits by report cards; write ``docs/results/truth.json`` and the tables of ``docs/truth.md``.

Through the commands that users type. Takes ``runs/small`` and the circuits in ``runs/pruning`` as
``benchmarks/pruning.py`` leaves them, and prunes the bundled demo model. Everything is kept in
``runs/truth`` (and, as prunings of a run, in the run itself), so an interrupted call goes on::

    python benchmarks/truth.py
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bench import Bench
from benchmarks.report import fill, save, short
from benchmarks.truth_matching import matching
from benchmarks.truth_report import METHODS, RUNS, figures, pictures, summary, tables
from sparsecircuits.examples import example_folder

SCRIPT = "benchmarks/truth.py"
RESULT = Path("docs/results/truth.json")
PAGE = Path("docs/truth.md")
IMAGES = Path("docs/images")

#: Seeds of the planted models that thresholds are calibrated on: 5 programs x 3 levels x this.
SEEDS = 3
#: Prunings of T20 on the demo's model, and on small: seeds, bootstraps.
STABILITY = {"demo": (0, 0), "small": (0, 0)}
#: Models of T9 with random weights, and as many with shuffled ones.
WEIGHTS = {"demo": 3, "small": 1}
#: The circuit whose cost is measured.
TIMED = "bracket_counting"


def main() -> None:
    """Measure what is missing, and write the figures."""
    options = _arguments().parse_args()
    bench = TruthBench(options.runs, "truth", as_is=options.as_is)
    found = {name: step(bench) for name, step in STEPS.items() if not options.only or name in options.only}
    if options.only:
        return
    words = " --as-is" if options.as_is else ""
    result = save(RESULT, f"python {SCRIPT}{words}", figures(found), **summary(found))
    pictures(found, IMAGES)
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), SCRIPT, tables(result, found)), encoding="utf-8")
    print(short(result), RESULT, PAGE, sep="\n")


class TruthBench(Bench):
    """With the circuits that are judged."""

    def run(self, name: str) -> Path:
        """The run's folder; of the demo a copy of the bundled one, with its corpus."""
        if name != "demo":
            return self.runs / name
        folder = self.out / "demo"
        if not (folder / "data").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(example_folder("example"), folder, ignore=shutil.ignore_patterns("circuits"))
            words = ("--tokenizer", folder / "tokenizer.json", "--train-tokens", 2_400_000)
            self.command("data", "--out", folder / "data", *words)  # as the bundle's README.md has it
        return folder

    def circuits(self, name: str, method: str) -> list[Path]:
        """Folders of the run's circuits found by a method."""
        study = self.runs / "pruning" / method
        if name == "demo":
            study = self.out / "demo-study"
            tasks = [word for task in demo_tasks() for word in ("--task", task)]
            words = ("--run", self.run("demo"), *tasks, "--method", "faithful", "--method", "paper")
            if not self.as_is:
                edges = ("--set", "edges=true", "--workers", 2)
                self.command("study", "prune", study, *words, *edges, check=False)
        long = [path for path in (study.with_name(f"{study.name}-64"),) if path.is_dir()]
        pattern = f"circuits/{name}-*-{method}-*"
        return sorted(path for folder in (study, *long) for path in folder.glob(pattern))


def demo_tasks() -> list[str]:
    """The tasks of the bundled model's circuits."""
    return sorted(path.name for path in (example_folder("example") / "circuits").iterdir() if path.is_dir())


def calibration(bench: TruthBench) -> dict[str, Any]:
    """The tests on planted models: false fails and false passes."""
    words = ("planted", "calibrate", "--seeds", SEEDS, "--controls", "--json")
    return bench.once("calibration", lambda: json.loads(bench.command(*words)))


def cards(bench: TruthBench) -> dict[str, list[dict[str, Any]]]:
    """``RUN METHOD`` -> the cards of its circuits."""
    found = {}
    for name in RUNS:
        for method in METHODS:
            folder = bench.out / "cards" / f"{name}-{method}"
            if not bench.as_is:
                _check(bench, name, method, folder)
            paths = sorted(folder.glob("*.json"))
            found[f"{name} {method}"] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return found


def _check(bench: TruthBench, name: str, method: str, folder: Path) -> None:
    circuits = bench.circuits(name, method)
    if circuits:
        seeds, bootstraps = STABILITY[name] if method == "faithful" else (0, 0)
        prunings = ("--seeds", seeds, "--bootstraps", bootstraps)
        words = ("--level", "full", "--out", folder, "--weights", WEIGHTS[name], *prunings, "--json")
        bench.command("check", bench.run(name), *circuits, *words, check=False)  # 1: not all Sufficient


def cost(bench: TruthBench) -> dict[str, float]:
    """Seconds of ``sparsecircuits check`` for one circuit of the demo's model, with everything around it."""

    def measure() -> dict[str, float]:
        (circuit,) = [path for path in bench.circuits("demo", "faithful") if TIMED in path.name]
        seconds = {}
        for level in ("quick", "standard"):
            start = time.perf_counter()
            words = ("--level", level, "--out", bench.out / "timed", "--again", "--json")
            bench.command("check", bench.run("demo"), circuit, *words, check=False)
            seconds[level] = time.perf_counter() - start
        return seconds

    return bench.once("cost", measure)


def inside(bench: TruthBench) -> list[dict[str, Any]]:
    """What it takes for each circuit's inside to be the model's."""
    runs = {name: bench.run(name) for name in RUNS}
    return matching(bench, runs, {name: bench.circuits(name, METHODS[0]) for name in RUNS})


STEPS: Mapping[str, Callable[[TruthBench], Any]] = {
    "calibration": calibration,
    "cards": cards,
    "matching": inside,
    "cost": cost,
}


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument("--as-is", action="store_true", help="take cards as far as they are")
    parser.add_argument("--only", nargs="+", choices=STEPS, help="measure these alone, and write no figures")
    return parser


if __name__ == "__main__":
    main()
