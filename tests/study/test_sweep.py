"""Points of a curve: one for each target, kept, not pruned twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsecircuits.circuit import load_circuit
from sparsecircuits.errors import ConfigError
from sparsecircuits.study.lines import read_lines
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.study.sweep import lines_of, sweep
from sparsecircuits.train import Run
from tests.prune import planted
from tests.prune.planted import SETTINGS, STRING_CLOSING
from tests.study.test_tune import Counting


@pytest.fixture(scope="module")
def unpruned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return planted.planted_run(tmp_path_factory.mktemp("planted"))


@pytest.fixture
def run(unpruned: Run, tmp_path: Path) -> Run:
    return Run.open(shutil.copytree(unpruned.folder, tmp_path / "run"))


def test_a_point_for_each_target(run: Run) -> None:
    heard: set[float] = set()
    rows = sweep(
        RunPruner(run, SETTINGS),
        STRING_CLOSING,
        (0.6, 0.15, 0.6),
        watch=lambda target, done, loss: heard.add(target),
    )
    assert [row["target"] for row in rows] == [0.15, 0.6]
    assert heard == {0.15, 0.6}
    assert (rows[0]["nodes"], rows[0]["edges"], rows[0]["met"]) == (3, 2, True)
    assert rows[0]["loss"] <= 0.15
    assert load_circuit(run.folder / "sweeps" / "string_closing" / "0.15").nodes == planted.ATTENTION_CIRCUIT
    assert read_lines(lines_of(run.folder, STRING_CLOSING)) == rows


def test_it_goes_on_point_by_point(run: Run) -> None:
    """Killed in the second round: the first round's points are there, and only the others are pruned."""
    killed = Counting(run)
    killed.dies_after = 1
    with pytest.raises(KeyboardInterrupt):
        sweep(killed, STRING_CLOSING, (0.15, 0.3, 0.6), batch=1)
    resumed = Counting(run)
    rows = sweep(resumed, STRING_CLOSING, (0.15, 0.3, 0.6), batch=2)
    assert [[c.target for c in configs] for configs in resumed.rounds] == [[0.3, 0.6]]
    assert [row["target"] for row in rows] == [0.15, 0.3, 0.6]
    again = Counting(run)
    assert sweep(again, STRING_CLOSING, (0.15, 0.3, 0.6)) == rows
    assert again.rounds == []


def test_other_settings_are_other_points(run: Run) -> None:
    sweep(Counting(run), STRING_CLOSING, (0.15,))
    other = Counting(run, SETTINGS.replace(seed=1))
    sweep(other, STRING_CLOSING, (0.15,))
    assert len(other.rounds) == 1


def test_a_target_that_cannot_be_reached_is_a_point_too(run: Run) -> None:
    run.finish(planted.refusing_model(run.tokenizer()), run.result() or {})
    (row,) = sweep(RunPruner(run, SETTINGS), STRING_CLOSING, (0.15,))
    assert row["nodes"] is None
    assert "the full model's own loss is 0.693" in row["error"]


def test_mistakes(run: Run) -> None:
    with pytest.raises(ConfigError, match="target is -1"):
        sweep(RunPruner(run, SETTINGS), STRING_CLOSING, (-1.0,))
    with pytest.raises(ConfigError, match="a batch of 0"):
        sweep(RunPruner(run, SETTINGS), STRING_CLOSING, (0.1,), batch=0)
