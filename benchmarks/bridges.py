"""Measure bridges: hybrids, steering, circuits carried over, cost; write ``docs/bridges.md``, its pictures.

    python benchmarks/bridges.py --dense runs/demo/dense --part train       a quarter of an hour a model
    python benchmarks/bridges.py --dense runs/demo/dense --part measure     ten minutes
    python benchmarks/bridges.py --part cost resume                         five minutes
    python benchmarks/bridges.py --part page                                only writes, from what there is

The dense model is that of the preset ``demo_dense``; it is trained in RUNS/dense if none is given. So are the
sparse models without a bridge (``--alone FOLDER``, with ``seed0`` and so on in it). What is done is kept, and
each part goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import bridges_cost
from benchmarks.bridges_page import SIDES, write
from sparsecircuits.bridges.asked import Whose
from sparsecircuits.bridges.config import BridgeConfig
from sparsecircuits.bridges.dense import load_dense
from sparsecircuits.bridges.files import Pair, load_pair
from sparsecircuits.bridges.measure import measure
from sparsecircuits.bridges.report import FOLDER, report_of, report_path, result_path, write_result
from sparsecircuits.bridges.steering import best_node, steer
from sparsecircuits.bridges.training import Bridged
from sparsecircuits.bridges.transfer import transfer
from sparsecircuits.circuit import Circuit
from sparsecircuits.data import Corpus, build_corpus
from sparsecircuits.errors import PruneError
from sparsecircuits.ops.memory import keep_freed_memory
from sparsecircuits.presets import demo, demo_dense, demo_plan
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.tasks import get_task
from sparsecircuits.train import Run, RunConfig, load_run, train

PARTS = ("train", "measure", "cost", "resume", "page")
#: Kept in the folder of all runs.
COST, RESUME = "cost.json", "resume.json"
TASKS = ("single_double_quote", "while_return_true")
#: Pairs of each split: prompts are twice as many.
PAIRS = 128
#: Of RIGOUR's R1, with all kinds in turn, so many are bridged ones.
STOPS = 60


class Arm(NamedTuple):
    """A way to train the sparse model."""

    words: str
    settings: BridgeConfig
    model: dict[str, Any] = {}
    train: dict[str, Any] = {}
    seeds: tuple[int, ...] = (0, 1)

    def run(self, seed: int) -> RunConfig:
        """Its model and recipe."""
        run = demo().run
        return run.replace(
            model=run.model.replace(**self.model), train=run.train.replace(seed=seed, **self.train)
        )


ARMS: dict[str, Arm] = {
    "bridged": Arm("single crossings (paper)", BridgeConfig()),
    "mixtures": Arm("and 4 random mixtures a batch", BridgeConfig(mixtures=4)),
    "wide": Arm(
        "twice as wide, half as dense", BridgeConfig(), {"d_model": 256},
        {"density": 1 / 64, "embed_density": 1 / 64}, (0,),
    ),
}  # fmt: skip


def main() -> None:
    """Do the parts asked for."""
    options = _arguments().parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    runs: Path = options.runs
    arms = {name: ARMS[name] for name in options.arms}
    for part in (one for one in PARTS if one in options.part):
        match part:
            case "train":
                train_all(arms, runs, options.data, options.dense, options.alone)
            case "measure":
                for name, arm in arms.items():
                    for seed in arm.seeds:
                        if (folder := runs / name / f"seed{seed}").joinpath("result.json").is_file():
                            measure_run(load_run(folder), alone_loss(runs, options.alone, name, seed))
            case "cost":
                found = {
                    str(depth): {way: bridges_cost.measure(depth, way) for way in bridges_cost.WAYS}
                    for depth in bridges_cost.DEPTHS
                }
                (runs / COST).write_text(json.dumps(found, indent=2) + "\n")
            case "resume":
                (runs / RESUME).write_text(json.dumps(resumed(), indent=2) + "\n")
            case _:
                write(ARMS, runs)


def train_all(
    arms: dict[str, Arm], runs: Path, data: Path | None, dense: Path | None, alone: Path | None
) -> None:
    """The dense model, the sparse ones without a bridge, and those with one: what is missing."""
    corpus = Corpus.open(data) if data else build_corpus(demo().data, runs / "data")
    if dense is None:
        dense = runs / "dense"
        train(demo_dense().run, corpus, dense)
    if alone is None:
        for seed in (0, 1):
            train(ARMS["bridged"].run(seed), corpus, runs / "alone" / f"seed{seed}")
    for name, arm in arms.items():
        for seed in arm.seeds:
            config, folder = arm.run(seed), runs / name / f"seed{seed}"
            print(f"{name}, seed {seed}", flush=True)
            train(config, corpus, folder, method=Bridged(load_dense(dense), arm.settings, config))


def alone_loss(runs: Path, alone: Path | None, name: str, seed: int) -> float | None:
    """Of the same sparse model without a bridge; None for an arm that has none."""
    if ARMS[name].model:
        return None
    run = load_run((alone or runs / "alone") / f"seed{seed}")
    result = run.result()
    assert run.config == ARMS[name].run(seed)
    assert result is not None
    return result["val_loss"]


def measure_run(run: Run, alone: float | None) -> None:
    """Hybrids; then each task's circuit, carried over, and its best node to steer by."""
    pair = load_pair(run)
    if not report_path(run).is_file():
        found = measure(
            pair.dense.side, pair.sparse, pair.bridge, run.corpus().val, context=run.config.context
        )
        write_result(report_of(found, pair.sparse.model.locations, alone), report_path(run))
    for circuit in circuits(run):
        _carry(run, pair, circuit)


def circuits(run: Run) -> list[Circuit]:
    """For each task, by the demo's settings."""
    pruner, found = RunPruner(run, demo_plan().prune), []
    for name in TASKS:
        try:
            found.append(pruner.prune(get_task(name), lambda step, loss, nodes: None))
        except PruneError as error:
            print(f"  {name}: {error}", flush=True)
    return found


def _carry(run: Run, pair: Pair, circuit: Circuit) -> None:
    task, sides = get_task(circuit.task), (pair.dense.side, pair.sparse, pair.bridge)
    longest = demo_plan().prune.max_tokens
    heldout, reference = (
        task.pairs(run.tokenizer(), split, PAIRS, seed=0, max_tokens=longest)
        for split in ("heldout", "train")
    )
    done = {kind: result_path(run, kind, circuit.task) for kind in ("steering", "transfer")}
    if not done["transfer"].is_file():
        write_result(transfer(*sides, circuit, heldout, reference, draws=16).to_dict(), done["transfer"])
    if not done["steering"].is_file():
        ranking = best_node(*sides, reference, circuit=circuit)
        found = steer(*sides, ranking[0].node, heldout, reference, circuit=circuit, ranking=ranking)
        write_result(found.to_dict(), done["steering"])
    each: tuple[Whose, ...] = ("left", "right")
    for side in each:
        path = run.folder / FOLDER / SIDES / f"{circuit.task}-{side}.json"
        if not path.is_file():
            ranking = best_node(*sides, reference, circuit=circuit, side=side)
            found = steer(
                *sides, ranking[0].node, heldout, reference, side=side, circuit=circuit, ranking=ranking
            )
            write_result(found.to_dict(), path)


def resumed() -> dict[str, int]:
    """Of how many bridged trainings, stopped at random steps, how many ended with the same bytes."""
    words = [sys.executable, "-W", "ignore", "-m", "tests.faults", "R1", "--cases", str(STOPS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # 1: some case is bad
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(rows) != STOPS:
        raise SystemExit(f"{len(rows)} of {STOPS} cases ran: {done.stderr[-500:]}")
    bridged = [row for row in rows if row["name"].startswith("bridged")]
    return {"good": sum(row["good"] for row in bridged), "cases": len(bridged)}


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--part", nargs="+", choices=PARTS, default=PARTS, help="what to do; all if not given"
    )
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="of these alone")
    parser.add_argument("--runs", type=Path, default=Path("runs/bridges"), help="where models go")
    parser.add_argument("--data", type=Path, help="the demo's corpus; built in RUNS/data if not given")
    parser.add_argument("--dense", type=Path, help="a run of the preset demo_dense on that corpus")
    parser.add_argument("--alone", type=Path, help="runs of the preset demo: FOLDER/seed0 and on")
    return parser


if __name__ == "__main__":
    main()
