"""A corpus that is not the demo's: all Python source of the installed packages, trained with one command."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import figure
from sparsecircuits.train import load_run

#: Every name of these rows begins so.
TOPIC = "installed packages: "
#: What is typed behind RUN.
WORDS = ("--source", "site-packages", "--set", "data.train_tokens=none")


def measure(folder: Path) -> list[dict[str, Any]]:
    """Train in ``folder``, unless that is done, and say what came of it."""
    at = folder / "installed"
    started = time.time()
    subprocess.run([sys.executable, "-m", "sparsecircuits", "train", str(at), *WORDS], check=True)
    run = load_run(at)
    result, manifest = run.result(), run.corpus().manifest
    assert result is not None
    source = manifest.sources["site-packages"].train
    rows = [row for row in run.metrics() if "loss" in row]
    speeds = [row["tokens_per_second"] for row in rows]
    built = (at / "data" / "manifest.json").stat().st_mtime - started
    figures = {
        "million characters of source": (source.chars / 1e6, None, "max"),
        "documents": (source.documents, None, "max"),
        "million tokens in the corpus": (manifest.tokens["train"] / 1e6, None, "max"),
        "million tokens trained on": (result["tokens"] / 1e6, None, "max"),
        "tokens per second of training, median": (median(speeds), None, "max"),
        "share of the steps' time that was spent waiting for data": (_wait(rows), 0.02, "min"),
        "validation loss, nats per token": (result["val_loss"], None, "min"),
    }
    if built > 0:  # otherwise it was there before
        figures["seconds from the command to the corpus"] = (built, None, "min")
    return [figure(TOPIC + name, *values) for name, values in figures.items()]


def _wait(rows: list[dict[str, Any]]) -> float:
    """Waits of all intervals over their seconds, which are its tokens over its speed."""
    seconds, before = 0.0, 0
    for row in rows:
        seconds += (row["tokens"] - before) / row["tokens_per_second"]
        before = row["tokens"]
    return sum(row["data_wait"] for row in rows) / seconds
