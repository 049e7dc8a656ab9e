"""The GPU's timing script: what it makes of rows, that failures are shown, and that it runs in a toy size."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, report
from benchmarks.gpu_rows import Clock, Other, Row, apart, differing, worst

ROOT = Path(__file__).parents[2]
#: 2 GB in 1 ms: 2 TB/s.
COPY = Row("copy in memory", 1.0, moved=2 * 10**9)
#: 4 GB take 2 ms at that speed; it takes 3.
TOPK = Row("AbsTopK", 3.0, {"torch.topk": Other(12.0, 8), "other": Other(1.5)}, 4 * 10**9, 0.5, 0.0)


def test_ratios_and_the_memory_floor_by_hand():
    assert gpu.bandwidth([COPY, TOPK]) == 2e12
    assert gpu.floor_ms(TOPK, 2e12) == 2
    assert gpu.figures([COPY, TOPK]) == [
        {"name": "AbsTopK: torch.topk / ours", "value": 4.0, "goal": 8, "sense": "max"},
        {"name": "AbsTopK: other / ours", "value": 0.5, "goal": None, "sense": "max"},
        {"name": "AbsTopK: ours / memory floor", "value": 1.5, "goal": None, "sense": "min"},
        {"name": "AbsTopK: difference from the definition", "value": 0.5, "goal": 0.0, "sense": "min"},
    ]


def test_the_table_shows_what_is_short_of_its_goal_and_what_is_wrong():
    lines = gpu.table([COPY, TOPK]).splitlines()[2:]
    assert lines == [
        "| copy in memory |  | 1 |  |  |  | 1 |  |",
        "| AbsTopK | torch.topk | 3 | 12 | **4** | ≥ 8 | 1.5 | **0.5** |",
        "|  | other |  | 1.5 | 0.5 |  |  |  |",
    ]


def test_without_a_copy_there_is_no_floor():
    assert gpu.bandwidth([TOPK]) is None
    assert [row["name"] for row in gpu.figures([TOPK])] == [
        "AbsTopK: torch.topk / ours", "AbsTopK: other / ours", "AbsTopK: difference from the definition"
    ]  # fmt: skip


def test_a_row_goes_through_json():
    assert Row.from_json(json.loads(json.dumps(TOPK.to_json()))) == TOPK


@pytest.mark.parametrize(("error", "right"), [(None, True), (0.1, True), (0.11, False), (math.nan, False)])
def test_what_counts_as_right(error: float | None, right: bool):
    assert Row("x", 1.0, error=error, tolerance=0.1).right is right


def test_differences_by_hand():
    # 0.5 off where the largest number is 4.
    assert apart(torch.tensor([1.5, -4.0]), torch.tensor([1.0, -4.0])) == 0.125
    assert differing(torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, 2, 3, 5])) == 0.25
    assert math.isnan(apart(torch.tensor([math.nan, 1.0]), torch.ones(2)))
    assert worst(1.0, 3.0, 2.0) == 3
    assert math.isnan(worst(1.0, math.nan, 2.0))


def test_a_clock_prepares_untimed():
    done: list[str] = []
    ms = Clock(torch.device("cpu")).ms(lambda: done.append("work"), lambda: done.append("prepare"))
    assert done == ["prepare", "work"]
    assert 0 < ms < 1000


FAILURES = {
    "an error": ("print('{}'); raise ValueError('too bad')", 60, "ValueError: too bad"),
    "silence": ("print('{}'); raise SystemExit(3)", 60, "exit code 3"),
    "no end": ("print('{}', flush=True); import time; time.sleep(60)", 2, "stopped after 2 s"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_process_that_fails_is_told_and_its_rows_stay(case: str):
    code, seconds, problem = FAILURES[case]
    assert gpu.run([sys.executable, "-c", code], seconds) == (["{}"], problem)


def test_wrong_rows_and_failed_families_are_listed(monkeypatch: pytest.MonkeyPatch):
    said = {"copy": ([json.dumps(TOPK.to_json())], None), "topk": (["noise"], "Error: no")}
    monkeypatch.setattr(gpu, "run", lambda command, _seconds: said[command[3]])
    found = gpu.measure_all(["copy", "topk"], toy=False)
    assert found.rows == [TOPK]
    assert found.failed == ["copy: AbsTopK is 0.5 off, allowed 0", "topk: Error: no, after 0 rows"]


def test_all_families_together_take_less_than_ten_minutes():
    assert sum(family.seconds for family in gpu.FAMILIES.values()) <= 600


def test_the_page_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    pytest.importorskip("triton")
    gpu.write(tmp_path, [COPY, TOPK], ["topk: broke"], toy=True)
    page = (tmp_path / "gpu.md").read_text()
    assert "A copy in memory: 2,000 GB/s." in page
    assert gpu.table([COPY, TOPK]) in page
    assert "- AbsTopK: torch.topk / ours (4, goal ≥ 8)" in page
    assert "- topk: broke" in page
    assert "None yet" not in page
    gpu.write(tmp_path, [COPY], [], toy=True)  # again, over what is there
    assert "AbsTopK: torch.topk" not in (tmp_path / "gpu.md").read_text()
    result = json.loads((tmp_path / "results" / "gpu.json").read_text())
    assert result["machine"].startswith("no GPU, Triton's interpreter, torch ")


def test_the_page_names_every_goal_and_has_its_markers():
    page = (ROOT / "docs" / "gpu.md").read_text()
    assert page.count(report.begin(gpu.SCRIPT)) == 1
    for goal in ("≥ 8", "≥ 10", "≥ 1.5", "≥ 2"):
        assert f"| {goal} (" in page


def script(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(ROOT / gpu.SCRIPT), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def test_some_rows_in_a_toy_size():
    pytest.importorskip("triton")
    done = script("--toy", "--only", "adam")
    assert done.returncode == 0, done.stderr
    assert "its times mean nothing" in done.stdout
    assert "| Adam, 20,868 weights in 15 tensors | torch, fused, no division |" in done.stdout


@pytest.mark.slow
def test_everything_in_a_toy_size(tmp_path: Path):
    pytest.importorskip("triton")
    done = script("--toy", "--write", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "results" / "gpu.json").read_text())
    assert result["failed"] == []
    begins = {row["name"].split(",")[0].split(" in")[0] for row in result["rows"]}
    assert {"AbsTopK forward", "sparse product", "sink attention forward", "Adam", "exact step"} <= begins


def test_without_a_gpu_it_says_what_to_do():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = script()
    assert done.returncode == 2
    assert "no CUDA device here; --toy runs everything" in done.stderr
