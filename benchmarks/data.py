"""Measure how fast text becomes tokens and tokens become batches; write ``docs/results/data.json``.

A gigabyte of text is made in a temporary folder: the standard library again and again, each document marked
with its number so that none is a duplicate. From it a corpus is built and opened; another from a fifth of the
text, once from beginning to end and once stopped half-way; batches are read at the pace of a step that
computes. All in processes of their own, so that memory is that of the job alone. Some minutes on two idle
cores, and 3 GB of disk::

    python benchmarks/data.py
    python benchmarks/data.py --size-mb 50      # on a busy machine
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.report import figure, fill, goals, markdown, save, short, source
from sparsecircuits.data import BatchReader, Corpus, DataConfig, build_corpus, read_source

SCRIPT = "benchmarks/data.py"
RESULT = Path("docs/results/data.json")
PAGE = Path("docs/data.md")
SIZE_MB = 1000
ROWS, N_CTX = 64, 256
PACES = (10, 50)
"""Steps a second."""
_DOCUMENT_CHARS = 8_000
_FILE_BYTES = 50_000_000

Result = TypeVar("Result")


class Built(NamedTuple):
    """What a build took."""

    seconds: float
    cpu_seconds: float
    memory: float
    """MB by which the process' peak grew while it built."""
    text: int
    """Bytes."""
    tokens: int
    documents: int
    dropped: int
    found_seconds: float
    """Of the seconds, those for parts that had been finished before."""


class Stop(NamedTuple):
    """A build from beginning to end, and one that was stopped half-way."""

    straight: Built
    first_half: float
    """Seconds."""
    second_half: Built
    same: bool
    """Both left the same bytes."""


class Read(NamedTuple):
    """What reading took."""

    steps: int
    seconds: float
    waited: float


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size-mb", type=int, default=SIZE_MB, help="of text (default: %(default)s)")
    size = parser.parse_args().size_mb
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="data-") as name:
        folder = Path(name)
        _make_text(folder / "text", size * 1_000_000)
        straight = _apart(_build, folder / "text", folder / "corpus")
        _make_text(folder / "fifth", size * 200_000)
        fifth = _apart(_build, folder / "fifth", folder / "whole")
        stopped = _apart(_stop, folder / "fifth", folder / "stopped", fifth.tokens // 2)
        resumed = _apart(_build, folder / "fifth", folder / "stopped")
        same = all(
            (folder / "whole" / file).read_bytes() == (folder / "stopped" / file).read_bytes()
            for file in ("train.bin", "val.bin", "tokenizer.json", "manifest.json")
        )
        time.sleep(2.1)  # a file that has just changed is not noted as checked
        opened = [_apart(_open, folder / "corpus") for _ in range(2)]
        reads = {pace: _apart(_read, folder / "corpus", pace) for pace in PACES}
    rows = _figures(straight, Stop(fifth, stopped, resumed, same), opened, reads)
    table = _table(straight, fifth, resumed)
    command = f"python {SCRIPT}" + (f" --size-mb {size}" if size != SIZE_MB else "")
    result = save(RESULT, command, rows, load_at_start=load, build=straight._asdict())
    block = "\n\n".join([_source(result), markdown(table), goals(rows), short(result)])
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), SCRIPT, block), encoding="utf-8")
    print(short(result), RESULT, PAGE, sep="\n")


def _figures(
    straight: Built, stop: Stop, opened: list[float], reads: dict[int, Read]
) -> list[dict[str, Any]]:
    rows = [
        figure("text to shards, MB/s", _mb(straight) / straight.seconds, None, "max"),
        figure("text to shards, MB per CPU second", _mb(straight) / straight.cpu_seconds, None, "max"),
        figure("memory that building takes, MB", straight.memory, 256, "min"),
        figure("stopped half-way: same bytes as straight on", float(stop.same), 1, "max"),
        figure(
            "stopped half-way: time of both parts over straight on",
            (stop.first_half + stop.second_half.seconds) / stop.straight.seconds,
            1.25,
            "min",
        ),
        figure(
            "stopped half-way: finding the first half again, part of the time straight on",
            stop.second_half.found_seconds / stop.straight.seconds,
            0.1,
            "min",
        ),
        figure("opening the corpus for the first time, s", opened[0], None, "min"),
        figure("opening it again, s", opened[1], 1, "min"),
    ]
    for pace, read in reads.items():
        name = f"waiting for batches at {pace} steps/s of {ROWS} rows of {N_CTX}, % of the time"
        rows.append(figure(name, 100 * read.waited / read.seconds, 2, "min"))
    return rows


def _table(straight: Built, fifth: Built, resumed: Built) -> list[list[str]]:
    return [
        ["", "text, MB", "documents", "duplicates dropped", "tokens", "seconds", "CPU seconds"],
        ["the whole text", *_cells(straight)],
        ["a fifth, straight on", *_cells(fifth)],
        ["a fifth, from half-way to its end", *_cells(resumed)],
    ]


def _cells(built: Built) -> list[str]:
    counts = (built.documents, built.dropped, built.tokens, built.seconds, built.cpu_seconds)
    return [f"{_mb(built):,.0f}", *(f"{count:,.0f}" for count in counts)]


def _mb(built: Built) -> float:
    return built.text / 1e6


def _source(result: dict[str, Any]) -> str:
    return f"{source(result)} Its load was {result['load_at_start']:.1f} when the measurement began."


def _apart(job: Callable[..., Result], *arguments: Any) -> Result:
    """Run a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(job, *arguments).result()


def _make_text(folder: Path, size: int) -> None:
    """Rows of code, in files of 50 MB."""
    folder.mkdir()
    texts = [document.text[:_DOCUMENT_CHARS] for document in read_source("stdlib", 0)]
    written = 0
    rows = enumerate(itertools.cycle(texts))
    for number in itertools.count():
        with (folder / f"{number:03}.jsonl").open("w") as file:
            while file.tell() < _FILE_BYTES:
                count, text = next(rows)
                text = f"# {count}\n{text}"
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                written += len(text.encode())
                if written >= size:
                    return


def _config(text: Path) -> DataConfig:
    return DataConfig(mix={str(text): 1.0}, train_tokens=None)


def _build(text: Path, corpus: Path) -> Built:
    began, cpu, memory = time.perf_counter(), time.process_time(), _peak()
    found = 0.0

    def report(stage: str, done: int, total: int | None) -> None:
        nonlocal found
        if stage == "parts found":
            found = time.perf_counter() - began

    manifest = build_corpus(_config(text), corpus, report).manifest
    (record,) = manifest.sources.values()
    return Built(
        seconds=time.perf_counter() - began,
        cpu_seconds=time.process_time() - cpu,
        memory=_peak() - memory,
        text=record.train.chars + record.val.chars,
        tokens=sum(manifest.tokens.values()),
        documents=record.train.documents + record.val.documents,
        dropped=sum(record.skipped.values()),
        found_seconds=found,
    )


def _stop(text: Path, corpus: Path, tokens: int) -> float:
    """Build until there are so many tokens; the seconds."""
    began = time.perf_counter()

    def report(stage: str, done: int, total: int | None) -> None:
        if stage == "tokens" and done >= tokens:
            raise InterruptedError

    try:
        build_corpus(_config(text), corpus, report)
    except InterruptedError:
        return time.perf_counter() - began
    raise AssertionError("it was not stopped")


def _open(corpus: Path) -> float:
    began = time.perf_counter()
    Corpus.open(corpus)
    return time.perf_counter() - began


def _read(folder: Path, pace: int, seconds: float = 10) -> Read:
    """Batches for steps that compute for ``1 / pace`` seconds."""
    torch.set_num_threads(1)
    corpus = Corpus.open(folder)
    matrix = torch.randn(256, 256)
    began = time.perf_counter()
    with BatchReader(corpus.train, seed=0, rows=ROWS, n_ctx=N_CTX) as reader:
        for tokens in reader:
            until = time.perf_counter() + 1 / pace
            while time.perf_counter() < until:
                matrix = torch.tanh(matrix @ matrix)
            assert tokens.shape == (ROWS, N_CTX + 1)
            if time.perf_counter() - began > seconds:
                break
        return Read(reader.taken, time.perf_counter() - began, reader.waited)


def _peak() -> float:
    """The process' peak memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
