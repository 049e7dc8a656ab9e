"""R10: memory that runs out is told with the bytes and a setting that takes less; no checkpoint suffers."""

from __future__ import annotations

import ctypes
import gc
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import SparseGPT
from sparsecircuits.prune import PruneJob, prune_many
from sparsecircuits.train import Progress, evaluate, load_run
from sparsecircuits.train import memory as train_memory
from sparsecircuits.viz.collect import circuit_page
from tests.faults import tiny
from tests.faults.forks import Outcome, forked
from tests.faults.tiny import Bench
from tests.prune import planted

#: What torch says where a GPU has no more; raised here as it would be there.
GPU = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB"
GPU_BYTES = "2,147,483,648 bytes"
#: More rows than fit into what is left when the limit is set.
ROWS = 60_000


def out_of_memory(bench: Bench, count: int) -> Iterator[Outcome]:
    """R10: training, validation, pruning and drawing, each on a CPU with a limit and on a full GPU."""
    shutil.rmtree(bench.new("planted"), ignore_errors=True)
    bench.new("planted").mkdir()
    folder = planted.planted_run(bench.new("planted")).folder
    places: dict[str, tuple[Callable[[bool], None], str]] = {
        "training": (lambda gpu: _training(bench, gpu), "Machine.micro_rows"),
        "validation": (lambda gpu: _validation(bench, gpu), r"rows=\.\.\."),
        "pruning": (lambda gpu: _pruning(folder, gpu), "PruneConfig.train_pairs"),
        "drawing circuits": (lambda gpu: _drawing(folder, gpu), "effect_pairs"),
    }
    cases = [(place, gpu) for place in places for gpu in (False, True)]
    for place, gpu in cases[:count]:
        work, knob = places[place]
        yield _told(bench, place, gpu, work, knob)


def _told(bench: Bench, place: str, gpu: bool, work: Callable[[bool], None], knob: str) -> Outcome:
    name = f"{place}, {'a full GPU' if gpu else 'a limit on the CPU'}"
    shutil.rmtree(bench.new("full"), ignore_errors=True)
    ended = forked(lambda: work(gpu))
    asked = GPU_BYTES if gpu else r"[\d,]{6,} bytes"
    wanted = rf"error: out of memory in {place}.*{asked} asked for; less is taken by .*{knob}"
    if ended.code != 2 or not re.search(wanted, ended.said):
        return Outcome(name, False, f"exit code {ended.code}: {ended.said[-400:]}")
    if place != "training":
        return Outcome(name, True)
    if not tiny.whole_checkpoints(bench.new("full")):
        return Outcome(name, False, "no whole checkpoint")
    config = _config(gpu)
    ended = forked(lambda: bench.train(bench.new("full"), config))
    if ended.code:
        return Outcome(name, False, f"not resumed: {ended.said[-300:]}")
    different = bench.straight(config).difference(tiny.fingerprint(bench.new("full")))
    return Outcome(name, not different, different)


def _config(gpu: bool) -> Any:
    return tiny.config(steps=4, checkpoint_every=2, rows=2 if gpu else 20_000)


def _training(bench: Bench, gpu: bool) -> None:
    def watch(progress: Progress) -> None:
        if progress.step == 3:
            _fill(gpu)

    advice = mock.patch.object(train_memory, "memory_advice", return_value=nullcontext())
    with advice if bench.sabotage else nullcontext():
        bench.train(bench.new("full"), _config(gpu), watch)


def _validation(bench: Bench, gpu: bool) -> None:
    model = SparseGPT(tiny.MODEL)
    tokens = bench.corpus.train.repeat(200)
    _fill(gpu)
    evaluate(model, tokens, rows=ROWS)


def _pruning(folder: Path, gpu: bool) -> None:
    run = load_run(folder)
    model, tokenizer, tokens = run.model(), run.tokenizer(), run.corpus().train
    config = planted.SETTINGS.replace(objective="faithful", pool_tokens=300_000)
    _fill(gpu)
    prune_many(model, [PruneJob(planted.STRING_CLOSING, config)], tokenizer, tokens)


def _drawing(folder: Path, gpu: bool) -> None:
    run = load_run(folder)
    means = {str(at): torch.zeros(run.config.model.width(at.site)) for at in run.config.model.site_names()}
    circuit = Circuit(planted.STRING_CLOSING.name, planted.ATTENTION_CIRCUIT, means)
    tasks = {circuit.task: planted.STRING_CLOSING}
    _fill(gpu, room=1 << 20)
    circuit_page(run, [circuit], folder / "page.html", effect_pairs=6000, tasks=tasks)


def _fill(gpu: bool, room: int = 8 << 20) -> None:
    """From now on there is no more memory: ``room`` bytes beyond what the process has, or a full GPU."""
    if gpu:

        def full(*_: object, **__: object) -> None:
            raise torch.OutOfMemoryError(GPU)

        SparseGPT.forward = full  # type: ignore[method-assign]
        SparseGPT.loss = full  # type: ignore[method-assign]
        return
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is given back, so that it is not there to be used again
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
