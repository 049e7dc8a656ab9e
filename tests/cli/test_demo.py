"""The command demo: the plan it takes, the summary as table and as JSON. The line itself: tests/study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.presets import demo_plan, quick_demo_plan
from sparsecircuits.study.demo import DemoPlan
from tests.study import made_up

Calls = list[tuple[DemoPlan, Path, int]]


@pytest.fixture
def summary(tmp_path: Path) -> dict[str, Any]:
    seconds = {"total": 95.0, "corpus": 5.0, "train": 90.0}
    return {**made_up.summary(tmp_path), "seconds": seconds}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, summary: dict[str, Any]) -> Calls:
    """In the place of ten minutes: notes what is asked for, gives the made-up summary."""
    calls: Calls = []

    def run_demo(plan: DemoPlan, folder: Path, bars: object, workers: int) -> dict[str, Any]:
        calls.append((plan, folder, workers))
        return summary

    monkeypatch.setattr("sparsecircuits.study.demo.run_demo", run_demo)
    return calls


def rows_of(table: str) -> dict[str, str]:
    """The rest of each line by its first word, one space between cells."""
    lines = [line.split() for line in table.splitlines() if line.strip()]
    return {first: " ".join(rest) for first, *rest in lines}


def test_json_is_the_summary(call, calls: Calls, summary: dict[str, Any]) -> None:
    done = call("demo", "--json")
    assert (done.code, done.json) == (0, summary)


@pytest.mark.parametrize(
    ("words", "plan", "folder"),
    [
        ((), demo_plan(0), Path("runs/demo")),
        (("--seed", "3", "--out", "here"), demo_plan(3), Path("here")),
        (("--quick", "--seed", "1"), quick_demo_plan(1), Path("runs/demo")),
    ],
)
def test_options_become_the_plan(call, calls: Calls, words: tuple, plan: DemoPlan, folder: Path) -> None:
    assert call("demo", *words, "--workers", "5").code == 0
    assert calls == [(plan, folder, 5)]


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (64, 2)])
def test_by_default_a_worker_for_each_core_at_most_two(
    call, calls: Calls, monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)), raising=False)
    call("demo")
    monkeypatch.delattr("os.sched_getaffinity")  # as on other systems than Linux
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    call("demo")
    assert [used for _, _, used in calls] == [workers, workers]


def test_the_table_says_what_each_task_came_to(call, calls: Calls) -> None:
    rows = rows_of(call("demo").out)
    # loss, accuracy; nodes and edges: sparse, dense, ratio; losses of the circuits; without it; the verdict
    assert rows["needed"] == "0.050 99.0% 3 6 2.0 0 8 8.0 0.140 0.140 50% 50% necessary"
    assert rows["spare"] == "0.050 99.0% 12 54 4.5 4 32 8.0 0.140 0.140 90% 50% redundant"
    assert rows["missed"].endswith(" necessary (dense missed the target)")
    # No dense circuit, so no ratio.
    assert rows["failed"].startswith("0.050 99.0% 7 – – 7 – – 0.140 – ")
    assert rows["failed"].endswith(" necessary (sparse missed the target)")
    assert rows["unable"] == "0.600 70.0% – – – – – – – – – – not done"


def test_a_task_that_could_not_be_pruned(call, calls: Calls, summary: dict[str, Any]) -> None:
    summary["tasks"][0].update(circuit={"sparse": None, "dense": None}, necessity=None)
    assert rows_of(call("demo").out)["needed"] == "0.050 99.0% – – – – – – – – – – not pruned"


def test_the_figures_in_words(call, calls: Calls) -> None:
    assert call("demo").out.splitlines()[-7:-1] == [
        "validation loss: sparse 1.250, dense 1.200 nats/token (+0.050) at density 0.0312, 1,000 tokens each",
        "tasks done: 4 of 5",
        "edges, geometric mean: sparse 2.0, dense 16.0, ratio 8.0",
        "nodes, geometric mean: sparse 6.0, dense 18.0, ratio 3.0",
        "in neither mean, since a pruning missed the target: missed, failed",
        "time: 1:35 (corpus 0:05, train 1:30)",
    ]


def test_the_last_line_is_where_the_page_is(call, calls: Calls) -> None:
    assert call("demo", "--out", "there").out.splitlines()[-1] == f"page: {Path('there/index.html')}"


def test_no_circuit_at_all_is_exit_code_1(call, calls: Calls, summary: dict[str, Any]) -> None:
    for row in summary["tasks"]:
        row.update(circuit={"sparse": None, "dense": None}, necessity=None)
    summary.update(geomean_edges=None, geomean_nodes=None)
    for words in ((), ("--json",)):
        assert call("demo", *words).code == 1


def test_no_workers_are_refused(call, calls: Calls) -> None:
    done = call("demo", "--workers", "0")
    assert (done.code, done.err) == (2, "error: --workers is 0; it must be at least 1\n")
    assert calls == []
