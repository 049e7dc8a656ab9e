"""The runs in a folder: states, figures, and what is wrong with those that are damaged."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from sparsecircuits.data import Corpus, DataConfig, build_corpus
from sparsecircuits.examples import example_folder
from sparsecircuits.model import GPTConfig
from sparsecircuits.study.overview import find_runs, row_of, survey
from sparsecircuits.train import Progress, RunConfig, TrainConfig, load_run, train
from sparsecircuits.train.lock import run_lock

CONFIG = RunConfig(
    model=GPTConfig(vocab_size=300, n_ctx=8, n_layer=1, d_model=16, d_head=8),
    train=TrainConfig(steps=6, rows=2, density=1 / 4, eval_every=2, eval_tokens=64, log_every=1),
)


class Killed(Exception):
    """Stands for a kill between two steps."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    data = DataConfig(mix={"idioms": 1.0}, vocab_size=300, train_tokens=2000, val_tokens=300)
    return build_corpus(data, tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def made(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run that is finished and one that was killed after step 3 of 6."""
    folder = tmp_path_factory.mktemp("runs")
    train(CONFIG, corpus, folder / "done")

    def kill(progress: Progress) -> None:
        if progress.step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(CONFIG, corpus, folder / "group" / "killed", kill)
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def test_finished_and_stopped(runs: Path) -> None:
    done, killed = survey(runs)
    metrics = load_run(runs / "done").metrics()
    result = load_run(runs / "done").result()
    assert result is not None
    assert (done.run, done.state, done.step, done.steps) == ("done", "finished", 6, 6)
    assert (done.val_loss, done.density, done.tokens) == (result["val_loss"], 1 / 4, 6 * 2 * 8)
    # 16 x (48 + 16 + 64 + 64) entries of matrices and 2 x 300 x 16 of embeddings, a quarter of each.
    assert (done.l0, done.circuits, done.note) == ((16 * 192 + 2 * 300 * 16) // 4, 0, None)
    assert done.dead_neurons == metrics[-1]["dead_neurons"]
    assert (killed.run, killed.state, killed.step, killed.steps) == ("group/killed", "stopped", 3, 6)
    assert (killed.val_loss, killed.tokens) == (metrics[1]["val_loss"], 3 * 2 * 8)


def test_running_is_who_holds_the_lock(runs: Path) -> None:
    with run_lock(runs / "group" / "killed"):
        row = row_of(runs / "group" / "killed", "killed")
    assert row.state == "running"
    assert row.note is not None
    assert f"process {os.getpid()}" in row.note
    assert row_of(runs / "group" / "killed", "killed").state == "stopped"


def test_circuits_are_counted() -> None:
    row = row_of(example_folder(), "example")
    assert (row.state, row.circuits) == ("finished", 5)


def test_damaged_ones_say_what_is_wrong_and_hide_no_other(runs: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        shutil.copytree(runs / "done", runs / name)
    (runs / "a" / "run.json").write_text("{")
    (runs / "b" / "result.json").write_text("[]")
    shutil.rmtree(runs / "c" / "model")
    (runs / "d" / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n')
    (runs / "e" / "run.json").unlink()
    rows = {row.run: row for row in survey(runs)}
    assert [rows[name].state for name in ("a", "b", "c", "d", "e")] == ["damaged"] * 5
    assert rows["done"].state == "finished"
    notes = {name: str(rows[name].note) for name in "abcde"}
    assert "run.json: not readable JSON" in notes["a"]
    assert "result.json: expected a JSON object" in notes["b"]
    assert "model: missing, although training has finished" in notes["c"]
    assert "metrics.jsonl:2: damaged" in notes["d"]
    assert "holds no run.json" in notes["e"]


def test_what_happened_last_is_noted(runs: Path) -> None:
    file = runs / "group" / "killed" / "metrics.jsonl"
    event = {"event": "diverged", "step": 4, "tensor": "lm_head.weight", "value": "nan"}
    file.write_text(file.read_text() + json.dumps(event) + "\n")
    assert survey(runs)[1].note == "diverged at step 4: tensor lm_head.weight, value nan"
    row = load_run(runs / "group" / "killed").metrics()[-1]
    file.write_text(file.read_text() + json.dumps(row | {"step": 4}) + "\n")
    assert survey(runs)[1].note is not None  # step 4 is as far as it has come
    file.write_text(file.read_text() + json.dumps(row | {"step": 5}) + "\n")
    assert survey(runs)[1].note is None  # it went on from there


def test_nothing_is_looked_for_inside_a_run(runs: Path) -> None:
    shutil.copytree(runs / "done", runs / "done" / "copy")
    shutil.copytree(runs / "done", runs / ".hidden")
    assert [path.relative_to(runs).as_posix() for path in find_runs(runs)] == ["done", "group/killed"]
    assert [row.run for row in survey(runs / "done")] == ["done"]


def test_where_a_stopped_run_goes_on_and_what_of_its_checkpoints_is_damaged(runs: Path) -> None:
    killed = runs / "group" / "killed"
    checkpoint = killed / "checkpoints" / "step_000002"
    assert row_of(killed, "killed").saved == 2  # the best so far; the third step was not saved
    assert row_of(runs / "done", "done").saved is None
    later = Path(shutil.copytree(checkpoint, checkpoint.with_name("step_000003")))
    row = row_of(killed, "killed")
    assert (row.state, row.saved) == ("stopped", 2)
    assert row.note == f"{later / 'state.json'}: of step 2, in the folder of another"
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    row = row_of(killed, "killed")
    assert (row.state, row.saved) == ("damaged", None)
    assert row.note is not None
    assert row.note.startswith(f"no checkpoint is whole: {later}")
    assert f"{weights}: not a readable safetensors file" in row.note
    shutil.rmtree(killed / "checkpoints")
    row = row_of(killed, "killed")
    assert (row.state, row.step, row.saved) == ("stopped", 3, 0)
    assert row.note == "nothing is saved: it begins again"


@pytest.mark.parametrize("left", [1000, 0])
def test_a_finished_model_that_is_cut_shows(runs: Path, left: int) -> None:
    weights = runs / "done" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:left])
    row = row_of(runs / "done", "done")
    assert row.state == "damaged"
    assert str(row.note).startswith(f"{weights}: not a readable safetensors file")


def test_on_how_many_tokens_a_loss_was_measured(runs: Path) -> None:
    done, killed = survey(runs)
    assert (done.val_tokens, killed.val_tokens) == (64, 8)  # eval_tokens, and an eighth of them
    (runs / "done" / "result.json").unlink()
    assert survey(runs)[0].val_tokens == 64  # killed after its last step
