"""A corpus that is not the demo's: all Python source of the installed packages, trained with one command."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from sparsecircuits.train import load_run

#: What is typed, RUN put in.
COMMAND = ("train", "{run}", "--source", "site-packages", "--set", "data.train_tokens=none")


class Corpus(NamedTuple):
    """What came of it."""

    words: str
    """The command."""
    build_seconds: float
    """From the start of the command to the first step."""
    chars: int
    documents: int
    tokens: int
    """Tokens in the corpus' training split."""
    seen: int
    """Tokens trained on."""
    tokens_per_second: float
    """The median of all intervals between lines of metrics."""
    wait_share: float
    """Seconds that steps waited for data, of the seconds of the steps."""
    val_loss: float


def train_installed(folder: Path, *settings: str) -> Corpus:
    """Train in ``folder``, which must not exist yet; ``settings`` are more words."""
    words = [word.format(run=folder) for word in COMMAND] + list(settings)
    started = time.time()
    subprocess.run([sys.executable, "-m", "sparsecircuits", *words], check=True)
    run = load_run(folder)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    result = run.result()
    assert result is not None
    manifest = run.corpus().manifest
    split = manifest.sources["site-packages"].train
    ended = (folder / "result.json").stat().st_mtime
    return Corpus(
        words="sparsecircuits "
        + " ".join([word.format(run="installed") for word in COMMAND] + list(settings)),
        build_seconds=ended - started - result["seconds"],
        chars=split.chars,
        documents=split.documents,
        tokens=manifest.tokens["train"],
        seen=result["tokens"],
        tokens_per_second=median(row["tokens_per_second"] for row in steps[1:]),
        wait_share=_wait(steps),
        val_loss=result["val_loss"],
    )


def _wait(rows: list[dict[str, Any]]) -> float:
    """Waits of all intervals over their seconds, which are its tokens over its speed."""
    seconds, before = 0.0, 0
    for row in rows:
        seconds += (row["tokens"] - before) / row["tokens_per_second"]
        before = row["tokens"]
    return sum(row["data_wait"] for row in rows) / seconds
