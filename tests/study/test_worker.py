"""Workers do every job once, whatever happens to them."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparsecircuits.circuit import load_circuit
from sparsecircuits.errors import SparseCircuitsError
from sparsecircuits.study import worker
from sparsecircuits.study.fanout import Method, PruneTask, Study, plan
from sparsecircuits.study.lines import read_lines
from sparsecircuits.study.worker import run_workers, submit, work
from sparsecircuits.train import Run
from tests.prune import planted
from tests.prune.planted import CLOSES, SETTINGS

#: Works, and stops for ever in the middle of the second job, saying so.
HANGS = """
import sys, time
from pathlib import Path
from sparsecircuits.study.worker import work

seen = []

def watch(name, done, loss):
    if name not in seen:
        seen.append(name)
    if len(seen) == 2 and done == 5:
        Path(sys.argv[2]).write_text(name)
        time.sleep(600)

work(sys.argv[1], watch)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = planted.planted_run(tmp_path_factory.mktemp("planted"))
    (run.folder / "closes.yaml").write_text(CLOSES)
    return run


def jobs(run: Run, seeds: int = 1, methods: tuple[Method, ...] = ("task",)) -> list[PruneTask]:
    task = str(run.folder / "closes.yaml")
    return plan([str(run.folder)], [task], seeds=range(seeds), methods=methods, config=SETTINGS)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "out")


def seeds_done(study: Study) -> list[int]:
    return [row["seed"] for row in read_lines(study.folder / "results.jsonl")]


def test_a_row_has_the_figures_of_its_circuit(run: Run, study: Study) -> None:
    study.add(jobs(run, methods=("task", "attribution")))
    heard: list[int] = []
    assert work(study.folder, lambda name, done, loss: heard.append(done)) == 2
    learned, ranked = read_lines(study.folder / "results.jsonl")
    assert heard[0] == 1
    assert max(heard) == SETTINGS.steps
    assert (learned["method"], learned["nodes"], learned["edges"], learned["met"]) == ("task", 3, 2, True)
    assert learned["loss"] <= 0.15
    assert learned["error"] is None
    assert learned["necessity"] == {"accuracy": 0.5, "refitted_accuracy": 0.5, "necessary": True}
    assert learned["stochastic"]["mean"] <= learned["stochastic"]["worst"]
    assert learned["sufficiency"] == {"loss": pytest.approx(learned["loss"]), "passed": True}
    assert learned["seconds"] > 0
    circuit = load_circuit(study.circuits / learned["job"])
    assert circuit.nodes == planted.ATTENTION_CIRCUIT
    assert circuit.info["tests"]["sufficiency"]["passed"] is True
    assert ranked["method"] == "attribution"
    assert ranked["nodes"] == len(load_circuit(study.circuits / ranked["job"]).nodes)
    assert work(study.folder) == 0


@pytest.mark.parametrize("method", ["faithful", "paper", "integrated", "magnitude", "random"])
def test_every_method_is_a_job(run: Run, study: Study, method: Method) -> None:
    study.add(jobs(run, methods=(method,)))
    work(study.folder)
    (row,) = read_lines(study.folder / "results.jsonl")
    assert (row["method"], row["error"]) == (method, None)
    assert row["nodes"] >= 3


def test_one_failure_stops_no_other(run: Run, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is not there; a fault of ours; and a job that is fine."""
    study.add([*jobs(run), *plan([str(run.folder / "nowhere")], ["for_while"], methods=["task"])])
    study.add(jobs(run, methods=("random",)))

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(worker, "prune_by_importance", broken)
    assert work(study.folder) == 3
    found = {(Path(row["run"]).name, row["method"]): row for row in study.rows()}
    assert found["run", "task"]["state"] == "done"
    assert found["nowhere", "task"]["state"] == "failed"
    assert "no run here" in found["nowhere", "task"]["error"]
    assert found["run", "random"]["error"] == "ZeroDivisionError: ours"
    assert "in broken" in found["run", "random"]["traceback"]


def test_ctrl_c_gives_the_job_back(run: Run, study: Study) -> None:
    study.add(jobs(run))

    def interrupt(name: str, done: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(study.folder, interrupt)
    assert [row["state"] for row in study.rows()] == ["waiting"]


def test_a_killed_worker_loses_one_job_s_progress(run: Run, study: Study, tmp_path: Path) -> None:
    study.add(jobs(run, seeds=3))
    here = tmp_path / "here"
    process = subprocess.Popen([sys.executable, "-c", HANGS, str(study.folder), str(here)])
    deadline = time.monotonic() + 120
    while not here.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [row["state"] for row in study.rows()] == ["done", "running", "waiting"]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    rows = study.rows()
    assert [row["state"] for row in rows] == ["done", "stopped", "waiting"]
    assert rows[1]["job"] == here.read_text()
    first = (study.results / f"{rows[0]['job']}.json").read_bytes()
    assert work(study.folder) == 2
    assert seeds_done(study) == [0, 1, 2]
    assert (study.results / f"{rows[0]['job']}.json").read_bytes() == first
    assert [row["state"] for row in study.rows()] == ["done"] * 3
    assert list(study.claims.folder.iterdir()) == []


def test_processes_share_the_list(run: Run, study: Study) -> None:
    study.add(jobs(run, seeds=3))
    told: list[tuple[int, int]] = []
    run_workers(study.folder, 2, lambda done, of: told.append((done, of)))
    assert told[0] == (0, 3)
    assert told[-1] == (3, 3)
    assert seeds_done(study) == [0, 1, 2]


def test_ctrl_c_has_the_processes_give_their_jobs_back(run: Run, study: Study) -> None:
    study.add(jobs(run, seeds=4))

    def interrupt(done: int, of: int) -> None:
        if any(row["state"] == "running" for row in study.rows()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_workers(study.folder, 2, interrupt)
    assert {row["state"] for row in study.rows()} <= {"waiting", "done"}
    assert list(study.claims.folder.iterdir()) == []


def test_when_all_processes_die_it_ends(run: Run, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.add(jobs(run, seeds=2))
    monkeypatch.setattr(worker, "_serve", os._exit)  # with the folder as its code: an error of its own
    passes: list[int] = []
    one_pass = worker._one_pass

    def counted(*arguments) -> None:  # type: ignore[no-untyped-def]
        passes.append(1)
        one_pass(*arguments)

    monkeypatch.setattr(worker, "_one_pass", counted)
    run_workers(study.folder, 2)
    assert passes == [1]
    assert [row["state"] for row in study.rows()] == ["waiting", "waiting"]


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs submitit")
def test_a_cluster_runs_the_same_workers(run: Run, study: Study) -> None:
    """submitit's own local executor in the place of Slurm; no more workers than jobs."""
    study.add(jobs(run, seeds=2))
    sent = submit(study.folder, 5, partition="", cluster="local")
    assert len(sent) == 2
    assert sum(job.result() for job in sent) == 2
    assert seeds_done(study) == [0, 1]


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs submitit")
def test_a_cluster_that_is_not_there(run: Run, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    study.add(jobs(run))
    with pytest.raises(SparseCircuitsError, match="slurm: "):
        submit(study.folder, 1, partition="cpu")


def test_what_a_cluster_sends_again_is_the_same_worker(study: Study) -> None:
    again = worker.SlurmWorker(str(study.folder)).checkpoint()
    assert again.function.folder == str(study.folder)
    assert (again.args, again.kwargs) == ((), {})
