"""The measuring script of the tasks: what it feeds in, what it counts, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import tasks
from benchmarks.report import begin, fill
from sparsecircuits import load_run
from sparsecircuits.examples import example_folder
from sparsecircuits.tasks import TASKS, describe_tasks
from sparsecircuits.tasks.own import read_task
from tests.benchmarks.made_up import REPORT


def test_a_good_file_is_a_task_and_every_broken_one_is_refused(tmp_path: Path):
    good = tmp_path / "good.jsonl"
    good.write_text("".join(json.dumps(row) + "\n" for row in tasks.GOOD), encoding="utf-8")
    assert read_task(good).name == "good"
    assert tasks.feed_broken_files() == dict.fromkeys(tasks.BROKEN, True)
    assert len(tasks.BROKEN) == 8


def test_the_tokenizer_of_the_bundled_run_fits_all_twenty():
    assert tasks.fits(load_run(example_folder()).tokenizer()) == 20


def test_figures_of_a_model():
    rows = {row["name"]: row["value"] for row in tasks.model_figures("m", REPORT, 2)}
    assert rows == {
        "m: tasks done, of 2": 1,
        "m: held-out minus train loss, worst of these": pytest.approx(0.25),
        "m: prompts that stand in the training corpus": 3,
    }


def test_what_is_taken_out_goes_at_any_depth():
    assert tasks.without({"a": [{"b": 1, "c": 2}], "b": 3}, "b") == {"a": [{"c": 2}]}


def test_tables():
    result = {"command": "c", "commit": "0" * 40, "machine": "m", "figures": []}
    models = dict.fromkeys(("small", "demo", "stories"), REPORT)
    text = tasks.tables({**result, "models": models}, describe_tasks(load_run(example_folder()).tokenizer()))
    assert "| `var_swap` | 0.100 | 0.200 | 0.350 | 0.400 | 99.0% | +0.250 | yes |" in text
    assert "| `class_init` | 0.600 | 0.600 | 0.700 | 0.700 | 50.0% | +0.100 | **no** |" in text
    assert "| `var_swap:long` | small | 1.500 | 25.0% |" in text
    assert sum(f"\n| `{name}` | `" in text for name in TASKS) == 20


@pytest.mark.parametrize("script", [tasks.SCRIPT, "benchmarks/demo.py", "benchmarks/ops.py"])
def test_each_page_can_be_filled(script: str):
    page = {"tasks": "tasks", "demo": "demo", "ops": "performance"}[Path(script).stem]
    text = Path(f"docs/{page}.md").read_text(encoding="utf-8")
    assert f"{begin(script)}\n\nnew block" in fill(text, script, "new block")
