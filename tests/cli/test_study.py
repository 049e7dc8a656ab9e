"""The command study: from words to jobs, and from jobs to a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.errors import ConfigError
from sparsecircuits.study import worker
from sparsecircuits.study.lines import read_lines
from tests.prune import planted
from tests.study.test_worker import CLOSES

SET = ("steps=60", "penalties=[28.0]", "train_pairs=64", "selection_pairs=32", "validation_pairs=32")
QUICK = tuple(
    word for setting in (*SET, "heldout_pairs=32", "mean_tokens=512") for word in ("--set", setting)
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = planted.planted_run(tmp_path_factory.mktemp("planted")).folder
    (folder / "closes.yaml").write_text(CLOSES)
    return folder


@pytest.fixture
def words(run: Path, tmp_path: Path) -> list[str]:
    """One job."""
    task = str(run / "closes.yaml")
    return ["study", "prune", str(tmp_path / "out"), "--run", str(run), "--task", task, *QUICK]


def test_jobs_are_done_and_the_same_again_does_nothing(call, words: list[str], tmp_path: Path) -> None:
    more = ("--method", "task", "--objective", "random", "--target", "0.15", "--target", "0.3")
    done = call(*words, *more, "--json")
    assert done.code == 0
    assert done.json["counts"] == {"done": 4, "running": 0, "stopped": 0, "waiting": 0, "failed": 0}
    found = {(row["method"], row["target"]): row for row in done.json["jobs"]}
    assert found["task", 0.15]["nodes"] == 3
    assert set(found) == {(method, target) for method in ("task", "random") for target in (0.15, 0.3)}
    lines = read_lines(tmp_path / "out" / "results.jsonl")
    assert len(lines) == len({line["job"] for line in lines}) == 4
    again = call(*words, *more, "--json")
    assert again.json["jobs"] == done.json["jobs"]  # their seconds, too
    status = call("study", "status", tmp_path / "out")
    assert status.code == 0
    assert status.out.splitlines()[-2:] == ["4 done", f"results: {tmp_path / 'out' / 'results.jsonl'}"]


def test_a_failure_is_told_and_tried_again_if_asked(
    call, words: list[str], run: Path, tmp_path: Path
) -> None:
    """The run's corpus is away for a while."""
    corpus = run / "data"
    corpus.rename(run / "away")
    try:
        done = call(*words)
        assert done.code == 1
        assert "the run's corpus is not at" in done.out
        assert "1 failed" in done.out
    finally:
        (run / "away").rename(corpus)
    assert call(*words).code == 1
    assert call(*words, "--retry").code == 0
    assert len(read_lines(tmp_path / "out" / "results.jsonl")) == 1


def test_slurm(call, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """submitit's local executor in its place: the command sends workers, and does not wait."""
    submit = worker.submit
    sent = []

    def locally(folder: Path, workers: int, *, partition: str, minutes: int):
        assert (partition, minutes) == ("cpu", 9)
        sent.extend(submit(folder, workers, partition=partition, minutes=minutes, cluster="local"))
        return sent

    monkeypatch.setattr(worker, "submit", locally)
    done = call(*words, "--slurm", "cpu", "--workers", "2", "--minutes", "9")
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith(
        f"sent to Slurm: {sent[0].job_id}; sparsecircuits study status"
    )
    assert [job.result() for job in sent] == [1]
    assert call("study", "status", tmp_path / "out", "--json").json["counts"]["done"] == 1


def test_slurm_without_submitit(call, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str, extra: str) -> None:
        raise ConfigError(f"pip install 'sparsecircuits[{extra}]'")

    monkeypatch.setattr(worker, "need", missing)
    assert "error: pip install 'sparsecircuits[cluster]'" in call(*words, "--slurm", "cpu").err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--set", "stps=3"), "unknown setting 'stps'; did you mean 'steps'?"),
        (("--set", "seed=3"), "--set seed=3: give it as --seed"),
        (("--task", "for_whle"), "unknown task 'for_whle'; did you mean 'for_while'?"),
        (("--run", "nowhere"), "no run 'nowhere'"),
        (("--workers", "0"), "--workers is 0"),
    ],
)
def test_mistakes_leave_no_jobs(
    call, words: list[str], tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    done = call(*words, *more)
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_status_mistakes(call, tmp_path: Path) -> None:
    assert "no study here" in call("study", "status", tmp_path / "out").err
    assert "takes nothing but OUT" in call("study", "status", tmp_path / "out", "--run", "a").err
    assert "give --run and --task" in call("study", "prune", tmp_path / "out", "--run", "a").err
