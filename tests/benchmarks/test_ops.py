"""The timing script: what it makes of two sides' times, that every comparison runs, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import ops, ops_kernels, ops_report, ops_steps, ops_timing, report
from benchmarks.ops_timing import Effort, Measured, Point, Row, Side, compare, figure, measurement

BEGIN, END = report.begin(ops_report.SCRIPT), report.END
ONCE = Effort(repeats=1, seconds=0, warmup=0)


# --- Times to figures ---


def test_ratio_is_the_median_over_pairs():
    # Pairs: 4 / 1, 6 / 2 and 8 / 4.
    row = compare("x", [1.0, 2.0, 4.0], [4.0, 6.0, 8.0], goal=2)
    assert row == Row("x", 3.0, 2, "max", 2.0, 6.0, 2.0, 4.0)
    # A busy moment that hits both sides leaves the ratio: pairs 4, 4, 4 although times are 1, 10, 1.
    assert compare("x", [1.0, 10.0, 1.0], [4.0, 40.0, 4.0], goal=2).value == 4


def test_min_figures_turn_the_ratio_round():
    row = compare("x", [3.0, 3.0], [2.0, 1.0], goal=3, sense="min")
    assert row.value == pytest.approx(2.25)  # median of 3 / 2 and 3 / 1
    assert (row.lowest, row.highest) == (1.5, 3.0)


@pytest.mark.parametrize(
    ("value", "goal", "sense", "expected"),
    [
        (12, 12, "max", True),
        (11.9, 12, "max", False),
        (3, 3, "min", True),
        (3.1, 3, "min", False),
        (0, None, "max", True),
    ],
)
def test_met(value: float, goal: float | None, sense: report.Sense, expected: bool):
    assert report.met(value, goal, sense) is expected


def test_only_kept_memory_is_judged():
    row = compare("x", [1.0], [4.0], goal=2)
    assert figure(row, 2, False) == {"name": "x, 2 threads", "value": 4.0, "goal": 2, "sense": "max"}
    unjudged = {"name": "x, 1 thread, default malloc", "value": 4.0, "goal": None, "sense": "max"}
    assert figure(row, 1, True) == unjudged
    found = measurement(row, 1, False)
    assert found is not None
    assert (found["threads"], found["ours_ms"], found["other_ms"], found["ratio"]) == (1, 1.0, 4.0, 4.0)
    assert measurement(Row("exact", 1.0, 1), 1, False) is None


def test_sides_alternate_and_preparation_comes_first():
    calls: list[str] = []
    sides = {
        name: Side(lambda n=name: calls.append(n), lambda n=name: calls.append(n.upper())) for name in "ab"
    }
    times = ops_timing.time_sides(sides, Effort(repeats=3, seconds=0, warmup=1))
    assert "".join(calls) == "AaBb" * 4
    assert [len(taken) for taken in times.values()] == [3, 3]
    assert all(time >= 0 for taken in times.values() for time in taken)


def test_fast_sides_are_repeated_more_often():
    times = ops_timing.time_sides({"a": Side(lambda: None)}, Effort(repeats=2, seconds=10, most=7, warmup=0))
    assert len(times["a"]) == 7


def test_findings_survive_the_pipe():
    found = Measured([Row("x", 1.5, 2, "min", 1.0, 2.0, 1.4, 1.6)], [Point(256, 0.01, 4, 30.0, 10.0, 5.0)])
    assert ops_timing.from_json(json.loads(json.dumps(ops_timing.to_json(found)))) == found


# --- The comparisons ---


@pytest.mark.parametrize("task", ops.tasks(ops.QUICK), ids=lambda task: task.name)
def test_every_comparison_runs(task: ops.Task):
    torch.manual_seed(0)
    rows, points = task.run()
    assert rows or points
    assert all(row.value > 0 for row in rows if row.ours_ms is not None)
    assert all(min(point.step_ms, point.products_ms, point.bytes_ms) > 0 for point in points)


def test_goals_of_the_full_plan():
    goals = {(size, density): goal for size, density, goal in ops.FULL.projection}
    assert goals == {(1024, 0.01): 15, (1024, 0.1): 15, (2048, 0.01): 15, (2048, 0.1): 15, (1024, 0.004): 5}
    assert ops.FULL.linear_goals == {0.01: 14, 0.001: 25}
    assert [goals for _, goals in ops.FULL.steps] == [(3.2, 1.8), (3, 2)]
    assert ops.FULL.kernels.repeats >= 5
    assert ops.FULL.whole.repeats >= 5


def test_names_are_unique_and_tasks_without_kept_memory_fewer():
    names = [task.name for task in ops.tasks(ops.FULL)]
    assert len(set(names)) == len(names)
    left = [task.name for task in ops.Setting(1, default_malloc=True).tasks(ops.FULL)]
    gone = ("files", "growth", "losses", "projection, bit")
    assert left == [name for name in names if not name.startswith(gone)]


def test_quick_names_do_not_repeat():
    rows = [row.name for width in (64, 32) for row in ops_kernels.abs_topk(4, width, ONCE).rows]
    assert len(set(rows)) == 6


def test_all_sides_see_the_same_fresh_tokens():
    shape = ops.QUICK.steps[0][0]
    seen: dict[str, list[torch.Tensor]] = {"a": [], "b": []}
    for batches in seen.values():
        run = ops_steps.Training(shape, lambda tokens, b=batches: (b.append(tokens), torch.zeros(()))[1])
        run.losses(2)
    assert torch.equal(seen["a"][0], seen["b"][0])
    assert torch.equal(seen["a"][1], seen["b"][1])
    assert not torch.equal(seen["a"][0], seen["a"][1])


def test_growth_points_say_which_floor_they_have():
    # Width 64: a neuron's four weights are 1/16 of it, so that only the higher density has room for them.
    points = ops_steps.growth(ops.QUICK.growth[-1], [0.1, 0.03], judged=False, effort=ONCE).points
    assert [(point.density, point.floor) for point in points] == [(0.1, 4), (0.03, 0)]


def test_bytes_moved_by_hand():
    shape = ops.QUICK.growth[0]  # width 32, one layer, vocabulary 128
    model = ops_steps.SparseGPT(shape.config)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    large = torch.empty(2 * numbers)
    assert ops_steps.arrays_moved(model, large) == 2  # four arrays, each half of the large one


# --- What is written ---


def result(**changes: Any) -> dict[str, Any]:
    fast = Row("AbsTopK forward: torch.topk / ours", 14.0, 12, "max", 2.0, 28.0, 13.0, 15.0)
    slow = Row("AbsTopK forward: ours / a copy", 3.5, 3, "min", 2.0, 0.57, 3.0, 4.0)
    exact = Row("weight projection is bit-equal to its definition", 1.0, 1)
    found = ops.Found([], [], [], [])
    for setting in (ops.Setting(1), ops.Setting(2), ops.Setting(1, default_malloc=True)):
        ops._collect(found, setting, Measured([fast, slow], []))
    ops._collect(found, ops.Setting(1), Measured([exact], [Point(256, 0.01, 4, 30.0, 10.0, 5.0)]))
    return {
        "command": "make bench",
        "commit": "0123456789",
        "machine": "a machine",
        **found._asdict(),
        **changes,
    }


def test_tables():
    text = ops_report.tables(result())
    assert "`make bench` at commit `0123456`. Machine: a machine." in text
    assert "| AbsTopK forward: torch.topk / ours | 2 / 28 | ≥ 12 | 14 | 14 | 14 |" in text
    # Short of its goal under both judged settings; without kept memory there is no goal to miss.
    assert "| AbsTopK forward: ours / a copy | 2 / 0.57 | ≤ 3 | **3.5** | **3.5** | 3.5 |" in text
    assert "| weight projection is bit-equal to its definition |  | ≥ 1 | 1 |  |  |" in text
    assert "| 1 | 256 | 1% | 4 | 30 | 10 | 5 |" in text
    assert text.index("### AbsTopK") < text.index("### Weight projection")
    assert "Not complete" not in text
    assert "Not complete: 1 thread" in ops_report.tables(result(failed=["1 thread: the process broke off"]))


def test_every_row_has_a_table():
    named = [row.name for task in ops.tasks(ops.QUICK)[:2] for row in task.run().rows]
    for name in [
        *named,
        "sparse step, width 256: naive step / ours",
        "decoding a token",
        "step time over the larger",
    ]:
        assert any(name.startswith(beginnings) for beginnings in ops_report.TABLES.values()), name


def test_short_of_its_goal():
    assert report.short(result()).splitlines() == [
        "Short of its goal, 2 of 5:",
        "",
        "- AbsTopK forward: ours / a copy, 1 thread (3.5, goal ≤ 3)",
        "- AbsTopK forward: ours / a copy, 2 threads (3.5, goal ≤ 3)",
    ]
    assert report.short({"figures": []}) == "All 0 figures with a goal reach it."


def test_fill_replaces_what_is_between_the_markers_alone():
    page = f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n"
    filled = report.fill(page, ops_report.SCRIPT, "new\n")
    assert filled == f"before\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n"
    assert report.fill(filled, ops_report.SCRIPT, "new") == filled


BOTH = BEGIN + END


@pytest.mark.parametrize("page", ["nothing", BEGIN, END + BEGIN, 2 * BOTH])
def test_fill_needs_its_marker_once_and_an_end_behind_it(page: str):
    with pytest.raises(ValueError, match="needed in the page"):
        report.fill(page, ops_report.SCRIPT, "new")


def test_fill_leaves_other_scripts_figures_alone():
    others = f"{report.begin('other.py')}\ntheirs\n{END}\n"
    page = f"{others}{BEGIN}\nold\n{END}\n{others.replace('other', 'third')}"
    assert report.fill(page, ops_report.SCRIPT, "new") == page.replace("\nold\n", "\n\nnew\n\n")


def test_the_page_can_be_filled():
    assert "new block" in report.fill(Path("docs/performance.md").read_text(), ops_report.SCRIPT, "new block")


def test_plot(tmp_path: Path):
    points = [
        {"threads": threads, "width": width, "density": density, "floor": 4 * (density > 0.01),
         "step_ms": width * density + 1, "products_ms": width / 10, "bytes_ms": width / 20}
        for threads in (1, 2) for width in (256, 512) for density in (0.03, 0.01)
    ]  # fmt: skip
    path = tmp_path / "step_time.png"
    ops_report.draw_growth(points, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000


def test_a_later_measurement_replaces_its_own_rows_and_says_so():
    def result(value: float, names: tuple[str, ...], commit: str) -> dict[str, Any]:
        figures = [{"name": name, "value": value, "goal": None, "sense": "max"} for name in names]
        return {
            "command": "make bench", "commit": commit, "figures": figures, "measurements": [], "growth": []
        }  # fmt: skip

    merged = ops.merged(result(1.0, ("a", "b"), "old"), result(2.0, ("b",), "new"), "b")
    assert [(row["name"], row["value"]) for row in merged["figures"]] == [("a", 1.0), ("b", 2.0)]
    assert merged["commit"] == "old"
    assert merged["measured_later"] == [{"command": "make bench --only b", "commit": "new"}]
