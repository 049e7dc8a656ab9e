"""Trackers: what arrives there, what does not arrive twice, and what a failing one does to a run: nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.train import Machine, Progress, Run, RunConfig, load_run, trackers, train
from sparsecircuits.train.trackers import flat


class Killed(Exception):
    """Stands for a kill between two steps."""


def stop_at(step: int):
    def watch(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return watch


def interrupted(config: RunConfig, corpus: Corpus, folder: Path, machine: Machine, step: int = 5) -> Run:
    """Stopped after ``step`` steps, of which 4 are in a checkpoint, then finished."""
    with pytest.raises(Killed):
        train(config, corpus, folder, stop_at(step), machine)
    train(config, corpus, folder, machine=machine)
    return load_run(folder)


class Recorder:
    """A tracker that remembers, and fails when told to."""

    errors = (OSError,)
    opened: list[tuple[str, int]] = []
    rows: list[tuple[int, dict[str, float]]] = []
    closed: list[bool] = []
    fails_at: int | None = None

    def __init__(self, run: Run, key: str, first: int) -> None:
        type(self).opened.append((key, first))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step == self.fails_at:
            raise OSError("no route to host")
        self.rows.append((step, dict(values)))

    def close(self, finished: bool) -> None:
        self.closed.append(finished)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    kept = type("Kept", (Recorder,), {"opened": [], "rows": [], "closed": []})
    monkeypatch.setitem(trackers._PLACES, "trackio", kept)
    monkeypatch.setitem(trackers._MODULES, "trackio", "tests.train.newer_trackio")
    module = types.ModuleType("tests.train.newer_trackio")
    module.__dict__["log"] = lambda metrics, step=None: None
    monkeypatch.setitem(sys.modules, "tests.train.newer_trackio", module)
    return kept


def test_tensorboard_has_every_line_once(config: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = interrupted(config, corpus, tmp_path / "run", Machine(track=("tensorboard",)))
    assert len(list((run.folder / "tensorboard").iterdir())) == 2  # one file a start
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    metrics = run.metrics()
    losses = [(event.step, event.value) for event in events.Scalars("loss")]
    assert losses == [(row["step"], pytest.approx(row["loss"])) for row in metrics]
    assert [step for step, _ in losses] == list(range(1, 9))
    dead = [(event.step, event.value) for event in events.Scalars("dead/0.mlp.post_act")]
    assert dead == [(row["step"], row["dead"]["0.mlp.post_act"]) for row in metrics if "dead" in row]
    assert [step for step, _ in dead] == [3, 6, 8]


@pytest.mark.slow
def test_wandb_offline_goes_on_under_the_same_id(config: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    """Two processes, as in life: wandb keeps its service process and its settings as long as one lives."""
    pytest.importorskip("wandb")
    (tmp_path / "run.json").write_text(json.dumps(config.to_dict()))
    code = """
import json, sys
from sparsecircuits.data import Corpus
from sparsecircuits.train import Machine, RunConfig, train
corpus, folder, stop = sys.argv[1:]
def watch(progress):
    if progress.step == int(stop):
        raise KeyboardInterrupt
config = RunConfig.from_dict(json.load(open(folder + ".json")))
train(config, Corpus.open(corpus), folder, watch, Machine(track=("wandb",)))
"""
    for stop in ("5", "0"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(corpus.folder), str(tmp_path / "run"), stop],
            env={**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == (stop == "0"), done.stderr
    run = load_run(tmp_path / "run")
    key = json.loads((run.folder / "trackers.json").read_text())["wandb"]["key"]
    files = sorted(run.folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert [file.name for file in files] == [f"run-{key}.wandb"] * 2
    parts = [wandb_rows(file) for file in files]
    assert [step for step, _ in parts[0]] == [1, 2, 3, 4, 5]
    assert [step for step, _ in parts[1]] == [6, 7, 8]  # 5 was sent before the interruption
    assert [values["loss"] for part in parts for _, values in part] == [row["loss"] for row in run.metrics()]


def wandb_rows(file: Path) -> list[tuple[int, dict[str, Any]]]:
    """(step, values) of every line of history in one of wandb's own files."""
    from wandb.proto import wandb_internal_pb2

    rows, new_record = [], vars(wandb_internal_pb2)["Record"]
    for data in wandb_records(file.read_bytes()):
        record = new_record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            values = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
            rows.append((values["_step"], values))
    return rows


def wandb_records(data: bytes) -> Iterator[bytes]:
    """Records of a LevelDB log: 7 bytes, then blocks of 32 KiB, of parts with 7 bytes before each."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""


def test_lines_are_sent_once_and_closed_as_they_end(
    config: RunConfig, corpus: Corpus, tmp_path: Path, recorder: type[Recorder]
) -> None:
    run = interrupted(config, corpus, tmp_path / "run", Machine(track=("trackio",)))
    assert [step for step, _ in recorder.rows] == list(range(1, 9))
    assert [values["loss"] for _, values in recorder.rows] == [row["loss"] for row in run.metrics()]
    (key, first), (again, later) = recorder.opened
    assert (key, first, later) == (again, 1, 5)
    assert key.startswith("run-")
    assert json.loads((run.folder / "trackers.json").read_text()) == {"trackio": {"key": key, "sent": None}}
    assert recorder.closed == [False, True]


def test_one_that_joins_late_is_sent_what_it_missed(
    config: RunConfig, corpus: Corpus, tmp_path: Path, recorder: type[Recorder]
) -> None:
    with pytest.raises(Killed):
        train(config, corpus, tmp_path / "run", stop_at(5))
    assert recorder.rows == []
    train(config, corpus, tmp_path / "run", machine=Machine(track=("trackio",)))
    assert [step for step, _ in recorder.rows] == list(range(1, 9))


def test_one_that_fails_warns_once_and_training_goes_on(
    config: RunConfig, corpus: Corpus, tmp_path: Path, recorder: type[Recorder]
) -> None:
    recorder.fails_at = 3
    with pytest.warns(UserWarning, match=r"trackio gets no more of this run: OSError: no route") as caught:
        train(config, corpus, tmp_path / "run", machine=Machine(track=("trackio",)))
    assert len(caught) == 1
    assert [step for step, _ in recorder.rows] == [1, 2]
    assert len(load_run(tmp_path / "run").metrics()) == 8


def test_one_that_was_let_go_gets_later_what_it_missed(
    config: RunConfig, corpus: Corpus, tmp_path: Path, recorder: type[Recorder]
) -> None:
    """Let go at step 3 of 5; the run goes on from the checkpoint of step 4."""
    recorder.fails_at = 3
    with pytest.warns(UserWarning, match="gets no more"), pytest.raises(Killed):
        train(config, corpus, tmp_path / "run", stop_at(5), Machine(track=("trackio",)))
    file = tmp_path / "run" / "trackers.json"
    assert json.loads(file.read_text())["trackio"]["sent"] == 2
    recorder.fails_at = None
    train(config, corpus, tmp_path / "run", machine=Machine(track=("trackio",)))
    assert [step for step, _ in recorder.rows] == list(range(1, 9))
    assert [first for _, first in recorder.opened] == [1, 3]
    assert json.loads(file.read_text())["trackio"]["sent"] is None


def test_names_of_an_earlier_release_are_kept(
    config: RunConfig, corpus: Corpus, tmp_path: Path, recorder: type[Recorder]
) -> None:
    with pytest.raises(Killed):
        train(config, corpus, tmp_path / "run", stop_at(5), Machine(track=("trackio",)))
    (tmp_path / "run" / "trackers.json").write_text('{"trackio": "run-1"}')
    train(config, corpus, tmp_path / "run", machine=Machine(track=("trackio",)))
    assert recorder.opened[-1] == ("run-1", 5)
    assert [step for step, _ in recorder.rows] == list(range(1, 9))


def test_the_first_is_closed_where_the_second_cannot_open(
    config: RunConfig,
    corpus: Corpus,
    tmp_path: Path,
    recorder: type[Recorder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(run: Run, key: str, first: int) -> Recorder:
        raise OSError("no space left")

    monkeypatch.setitem(trackers._PLACES, "tensorboard", full)
    monkeypatch.setitem(trackers._MODULES, "tensorboard", "json")
    with pytest.raises(ConfigError, match="--track tensorboard: OSError: no space left"):
        train(config, corpus, tmp_path / "run", machine=Machine(track=("trackio", "tensorboard")))
    assert recorder.closed == [False]
    assert recorder.rows == []


def test_what_trackio_may_raise(recorder: type[Recorder]) -> None:
    """Its database is locked, or its network away."""
    errors = trackers._errors("trackio")
    assert issubclass(sqlite3.OperationalError, errors)
    assert issubclass(pytest.importorskip("httpx").ConnectError, errors)


def test_a_missing_package_is_told_before_anything_is_made(
    config: RunConfig, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, module in trackers._MODULES.items():
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=rf"--track {name} .*pip install 'sparsecircuits\[track\]'"):
            train(config, corpus, tmp_path / "run", machine=Machine(track=(name,)))
    assert not (tmp_path / "run").exists()


def test_a_trackio_without_steps_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("trackio")
    module.__dict__["log"] = lambda metrics: None
    monkeypatch.setitem(sys.modules, "trackio", module)
    with pytest.raises(ConfigError, match="needs a newer trackio"):
        trackers.require_trackers(["trackio"])


def test_trackio_is_called_as_its_own_text_says(
    config: RunConfig, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in of the functions that trackio documents: init, log with a step, finish."""
    calls: list[tuple[Any, ...]] = []

    def init(project: str, name: str | None = None, *, config: Any = None, resume: str = "never") -> None:
        calls.append(("init", project, name, config["train"]["steps"], resume))

    def log(metrics: dict[str, float], step: int | None = None) -> None:
        calls.append(("log", step, metrics["loss"]))

    module = types.ModuleType("trackio")
    vars(module).update(init=init, log=log, finish=lambda: calls.append(("finish",)))
    monkeypatch.setitem(sys.modules, "trackio", module)
    train(config, corpus, tmp_path / "run", machine=Machine(track=("trackio",)))
    metrics = load_run(tmp_path / "run").metrics()
    key = json.loads((tmp_path / "run" / "trackers.json").read_text())["trackio"]["key"]
    assert calls == [
        ("init", "sparsecircuits", key, 8, "allow"),
        *[("log", row["step"], row["loss"]) for row in metrics],
        ("finish",),
    ]


def test_curves_do_not_change_a_run(
    config: RunConfig, corpus: Corpus, tmp_path: Path, recorder: type[Recorder]
) -> None:
    train(config, corpus, tmp_path / "a")
    train(config, corpus, tmp_path / "b", machine=Machine(track=("trackio",)))
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_a_row_is_flattened() -> None:
    row = {"step": 3, "loss": 1.5, "dead": {"0.attn.q": 2}, "kurtosis": None, "event": "x"}
    assert flat(row) == {"loss": 1.5, "dead/0.attn.q": 2}
    assert flat({"encode": [0.5, 0.25]}) == {"encode/0": 0.5, "encode/1": 0.25}


def test_damaged_names_are_told(config: RunConfig, corpus: Corpus, tmp_path: Path, recorder: type[Recorder]):
    with pytest.raises(Killed):
        train(config, corpus, tmp_path / "run", stop_at(5), Machine(track=("trackio",)))
    (tmp_path / "run" / "trackers.json").write_text("{")
    with pytest.raises(ConfigError, match=r"trackers\.json: damaged"):
        train(config, corpus, tmp_path / "run", machine=Machine(track=("trackio",)))
