"""The list of jobs: what is on it, whose each is, what its files say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.prune import PruneConfig
from sparsecircuits.study.claims import Claims, Owner
from sparsecircuits.study.fanout import ATTEMPTS, PruneTask, Study, config_for, plan
from sparsecircuits.study.lines import read_lines

GONE = dataclasses.replace(Owner.me(), began="1")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two jobs, of the seeds 0 and 1."""
    study = Study(tmp_path / "out")
    study.add(plan(["runs/a"], ["for_while"], seeds=(0, 1)))
    return study


def die_on(study: Study, name: str, times: int = 1) -> None:
    """As so many killed workers leave it."""
    for number in range(1, times + 1):
        (study.claims.folder / f"{name}.{number}").write_text(json.dumps(dataclasses.asdict(GONE)))


def states(study: Study) -> list[str]:
    return [row["state"] for row in study.rows()]


def test_every_combination_is_a_job() -> None:
    jobs = plan(
        ["runs/a", "runs/b"],
        ["for_while", "if_equals"],
        methods=("task", "random", "paper"),
        targets=(0.15, 0.3),
        seeds=(0, 1, 2),
    )
    assert len(jobs) == len({job.name for job in jobs}) == 2 * 2 * 3 * 2 * 3
    first, last = jobs[0], jobs[-1]
    assert (first.run, first.task, first.method, first.config) == (
        "runs/a",
        "for_while",
        "task",
        PruneConfig(objective="task"),
    )
    assert last.config == PruneConfig.paper().replace(target=0.3, seed=2)
    assert first.name.startswith("a-for_while-task-t0_15-s0-")


def test_a_name_tells_settings_and_folders_apart() -> None:
    """Two runs called a, two numbers of steps: four jobs."""
    jobs = [
        job
        for steps in (10, 20)
        for job in plan(["x/a", "y/a"], ["for_while:long"], config=PruneConfig(steps=steps))
    ]
    assert len({job.name for job in jobs}) == 4
    assert all(job.name.startswith("a-for_while_long-") for job in jobs)


def test_settings_of_a_method() -> None:
    config = PruneConfig(steps=7, objective="faithful")
    assert config_for("task", config) == config_for("random", config) == config.replace(objective="task")
    assert config_for("faithful", config.replace(objective="task")) == config
    # What was changed goes over the paper's; its own 500 steps and single penalty stay otherwise.
    assert config_for("paper", config.replace(objective="task")) == PruneConfig.paper().replace(steps=7)
    assert config_for("paper", PruneConfig()) == PruneConfig.paper()


def test_jobs_are_added_once(study: Study) -> None:
    study.add(plan(["runs/a"], ["for_while"], seeds=(1, 2)))
    assert [task.config.seed for task in study.tasks()] == [0, 1, 2]
    assert states(study) == ["waiting"] * 3


def test_a_job_is_taken_once(study: Study) -> None:
    first, second = study.take(), study.take()
    assert first is not None
    assert second is not None
    assert (first[0].config.seed, second[0].config.seed) == (0, 1)
    assert study.take() is None
    assert states(study) == ["running", "running"]
    study.claims.give_back(first[1])
    assert states(study) == ["waiting", "running"]


def test_results_are_merged_in_the_order_of_jobs(study: Study) -> None:
    zero, one = study.tasks()
    study.finish({**one.facts, "nodes": 4, "error": None})
    assert [row["seed"] for row in read_lines(study.folder / "results.jsonl")] == [1]
    study.finish({**zero.facts, "error": "no"})
    assert [row["seed"] for row in read_lines(study.folder / "results.jsonl")] == [0, 1]
    assert states(study) == ["failed", "done"]
    assert study.take() is None


def test_a_dead_worker_s_job_is_taken_again(study: Study) -> None:
    name = study.tasks()[0].name
    die_on(study, name)
    assert states(study) == ["stopped", "waiting"]
    assert study.rows()[0]["by"] == f"{GONE.host}:{GONE.pid}"
    taken = study.take()
    assert taken is not None
    assert (taken[0].name, taken[1].number) == (name, 2)
    study.finish({**taken[0].facts, "error": None})
    assert list(study.claims.folder.glob(f"{name}.*")) == []


def test_a_job_that_kills_its_workers_is_given_up_and_can_be_tried_again(study: Study) -> None:
    name = study.tasks()[0].name
    die_on(study, name, ATTEMPTS)
    taken = study.take()
    assert taken is not None
    assert taken[0].config.seed == 1
    row = study.result(name)
    assert row is not None
    assert row["error"] == "its worker died 3 times; --retry begins anew"
    assert study.retry() == 1
    assert states(study) == ["waiting", "running"]


def test_finished_between_two_looks(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker ends the job after we saw no result, and before our claim."""
    zero = study.tasks()[0]
    take = Claims.take

    def slow(self: Claims, name: str):
        if name == zero.name and study.result(name) is None:
            study.finish({**zero.facts, "error": None})
        return take(self, name)

    monkeypatch.setattr(Claims, "take", slow)
    taken = study.take()
    assert taken is not None
    assert taken[0].config.seed == 1
    assert study.claims.latest(zero.name) is None


def test_no_study(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no study here; sparsecircuits study prune makes one"):
        Study(tmp_path).tasks()


def test_a_damaged_job(study: Study) -> None:
    path = next(study.jobs.glob("*.json"))
    path.write_text("{")
    with pytest.raises(ConfigError, match=path.name):
        study.tasks()


def test_an_unknown_method() -> None:
    with pytest.raises(ConfigError, match="PruneTask.method is 'luck'; allowed: 'task'"):
        PruneTask(run="a", task="b", method="luck")  # type: ignore[arg-type]
