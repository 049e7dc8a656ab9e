"""``python -m tests.faults.artefacts FOLDER CORPUS SEED``: train, prune, check and draw, by the commands."""

from __future__ import annotations

import sys
from pathlib import Path

from sparsecircuits.cli import main
from sparsecircuits.data.shards import Corpus
from sparsecircuits.tasks import TASKS
from sparsecircuits.train import train
from tests.faults import tiny
from tests.prune import planted

QUICK = (
    *("--steps", "60", "--penalties", "28", "--train-pairs", "64", "--selection-pairs", "32"),
    *("--validation-pairs", "32", "--heldout-pairs", "32", "--mean-tokens", "512"),
)


def make(folder: Path, corpus: Path, seed: int) -> None:
    """Fill ``folder`` with one of each artefact."""
    train(tiny.config(seed=seed), Corpus.open(corpus), folder / "trained")
    task = planted.STRING_CLOSING
    TASKS[task.name] = task
    (folder / "planted").mkdir()
    run = str(planted.planted_run(folder / "planted").folder)
    for words in (
        ["prune", run, task.name, *QUICK, "--seed", str(seed)],
        ["check", run, task.name, "--level", "quick"],
        ["view", run, "--export", str(folder / "page.html")],
    ):
        code = main(words)
        assert code == 0, f"{words}: exit code {code}"


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
