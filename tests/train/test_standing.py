"""What is in a folder already: a run that begins is not mixed up with anything else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.train import RunConfig, load_run, train
from sparsecircuits.train.standing import differences, require_free


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_checkpoints_without_a_run_file_are_refused(config: RunConfig, corpus: Corpus, tmp_path: Path):
    train(config, corpus, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    shutil.rmtree(tmp_path / "run" / "model")
    (tmp_path / "run" / "result.json").unlink()
    before = files(tmp_path)
    short = config.replace(train=config.train.replace(steps=5))
    with pytest.raises(
        CheckpointError, match=r"holds checkpoints \(the latest: step_000008\) but no run\.json"
    ):
        train(short, corpus, tmp_path / "run")
    assert files(tmp_path) == before


def test_a_checkpoint_behind_the_runs_end_is_refused(config: RunConfig, corpus: Corpus, tmp_path: Path):
    train(config, corpus, tmp_path / "long")
    short = config.replace(train=config.train.replace(steps=5))
    with pytest.raises(RuntimeError, match="stop"):
        train(short, corpus, tmp_path / "short", stop)
    shutil.copytree(tmp_path / "long" / "checkpoints", tmp_path / "short" / "checkpoints", dirs_exist_ok=True)
    with pytest.raises(CheckpointError, match="a checkpoint of step 8, where the run has 5 steps"):
        train(short, corpus, tmp_path / "short")
    assert load_run(tmp_path / "short").result() is None


def stop(_progress: object) -> None:
    raise RuntimeError("stop")


def test_what_a_beginning_run_leaves_is_no_obstacle(tmp_path: Path):
    require_free(tmp_path / "none")
    require_free(tmp_path)
    for name in ("lock", "tokenizer.json", ".run.json.12.tmp"):
        (tmp_path / name).touch()
    require_free(tmp_path)
    (tmp_path / "data").mkdir()
    require_free(tmp_path)
    (tmp_path / "data" / "building").mkdir()
    (tmp_path / "data" / "train.bin").touch()
    require_free(tmp_path)


@pytest.mark.parametrize(
    ("there", "named"),
    [
        (["main.py"], "main.py"),
        (["a.js", "b.js", "c.js", "d.js", "e.js"], "a.js, b.js, c.js and 2 more"),
        (["data/table.csv"], "data/table.csv"),
        (["lock", "metrics.jsonl"], "metrics.jsonl"),
    ],
)
def test_other_things_are_refused_and_named(there: list[str], named: str, tmp_path: Path):
    folder = tmp_path / "proj"
    for name in there:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    message = (
        f"{folder} is no run, and not empty ({named}); choose another name, or a folder of its own, such as "
    )
    with pytest.raises(ConfigError, match=re.escape(message) + "runs.proj$"):
        require_free(folder)


def test_a_file_is_no_folder(tmp_path: Path):
    (tmp_path / "notes").touch()
    with pytest.raises(ConfigError, match="notes is a file"):
        require_free(tmp_path / "notes")


def test_differences_are_the_first_five(config: RunConfig):
    other = config.train.replace(steps=9, rows=3, lr=0.5, seed=1, eval_every=1, log_every=2)
    assert differences({"train": (config.train, config.train)}) == ""
    told = differences({"train": (config.train, other)})
    assert told.startswith("train.steps: 8 there, 9 here; train.rows: 2 there, 3 here")
    assert told.count("there") == 5
