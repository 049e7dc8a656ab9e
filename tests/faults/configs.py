"""R18: settings that cannot be are refused in one line, before anything is allocated or written."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from sparsecircuits.cli import main, settings
from sparsecircuits.config import Config
from tests.faults.forks import Outcome, forked
from tests.faults.tiny import Bench

#: What a refusal may take: far less than what is asked for.
ROOM = 256 << 20
BOMB = "a: &a [x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nabout: text\ntemplates: [*c, *c]\n"
TAG = "about: !!python/object/apply:os.system [echo hello]\ntemplates: [a]\n"
ESCAPE = "name: ../../escape\nabout: text\nanswer: a\ntemplates: [b]\n"


class Bad(NamedTuple):
    """What is wrong, the words of the command, what its error must say."""

    about: str
    words: Callable[[Path], list[str]]
    says: str


def _set(about: str, setting: str, says: str) -> Bad:
    return Bad(about, lambda folder: ["train", str(folder / "run"), "--set", setting], says)


def _task(about: str, text: str, says: str) -> Bad:
    def words(folder: Path) -> list[str]:
        (folder / "task.yaml").write_text(text)
        return ["task", "check", str(folder / "task.yaml")]

    return Bad(about, words, says)


def _model(about: str, says: str, **changes: int) -> Bad:
    """A saved run whose files ask for a giant."""

    def words(folder: Path) -> list[str]:
        given = folder / "given" / "model"
        given.mkdir(parents=True)
        shutil.copy(folder.parent / "corpus" / "tokenizer.json", given.parent)
        from sparsecircuits.model import GPTConfig
        from sparsecircuits.model.checkpoint import FORMAT, FORMAT_VERSION

        header = {"format": FORMAT, "format_version": FORMAT_VERSION}
        shape = {**header, **GPTConfig().to_dict(), **changes}
        (given / "config.json").write_text(json.dumps(shape))
        (given / "model.safetensors").write_bytes(b"")
        run = {"format": "sparsecircuits.run", "version": 1, "corpus": "data", "config": {}}
        (given.parent / "run.json").write_text(json.dumps(run))
        return ["generate", str(given.parent), "text"]

    return Bad(about, words, says)


CASES = (
    _set("an unknown key", "train.stepz=3", "unknown setting 'train.stepz'; did you mean"),
    _set("a wrong type", "train.steps=many", "steps is 'many' (str); expected int"),
    _set("NaN", "train.lr=NaN", "lr is nan; it must be finite"),
    _set("infinity", "train.eps=Infinity", "eps is inf; it must be finite"),
    _set("a negative size", "train.rows=-4", "rows is -4; it must be at least 1"),
    _set("a share above 1", "train.density=1.5", "density is 1.5; it must be in (0, 1]"),
    _set("a model too wide", "model.d_model=1000000000", "bytes of memory"),
    _set("a model too deep", "model.n_layer=1000000000", "bytes of memory"),
    _set("a context too long", "model.n_ctx=1000000000000", "bytes of memory"),
    _set("a batch too large", "train.rows=1000000000000", "bytes of memory"),
    Bad("no name", lambda _: ["train", ""], "a run needs a name"),
    _task("a YAML tag", TAG, "is not taken"),
    _task("a YAML anchor bomb", BOMB, "aliases such as *name are not taken"),
    _task("../ in a name", ESCAPE, "the task's name is '../../escape'"),
    _model("a saved model that asks for a giant", "bytes of memory", n_layer=1_000_000_000),
)


def bad_settings(bench: Bench, count: int) -> Iterator[Outcome]:
    """R18: fifteen of them, with 256 MB to spare."""
    for bad in CASES[:count]:
        folder = bench.new("bad")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        words = bad.words(folder)
        before = sorted(folder.rglob("*"))

        def work(words: list[str] = words) -> int:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + ROOM
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            lax = mock.patch.object(Config, "validate", return_value=None)
            known = mock.patch.object(settings, "flat", return_value=())
            with lax if bench.sabotage else nullcontext(), known if bench.sabotage else nullcontext():
                return main(words)

        ended = forked(work)
        lines = [line for line in ended.said.splitlines() if line.startswith("error: ")]
        if ended.code != 2 or not lines or bad.says not in lines[0]:
            yield Outcome(bad.about, False, f"exit code {ended.code}: {ended.said[-300:]}")
            continue
        written = [str(path) for path in sorted(folder.rglob("*")) if path not in before]
        yield Outcome(bad.about, not written, f"written: {written}" if written else "")
