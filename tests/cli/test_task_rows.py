"""Which tasks a run is asked, what a row says, and what had been read in training."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sparsecircuits.cli.report import Column
from sparsecircuits.cli.task_rows import (
    brief,
    chosen_tasks,
    overlaps,
    suite_taught,
    task_row,
    variant_rows,
    with_notes,
)
from sparsecircuits.data.shards import MANIFEST
from sparsecircuits.errors import TaskError
from sparsecircuits.tasks import STORY_TASKS, TASKS, Task, TextPair, get_task, prompts_of
from sparsecircuits.train import load_run

# Which tasks.


@pytest.mark.parametrize(
    ("mix", "suite"),
    [
        ({"stories": 1.0}, "stories"),
        ({"idioms": 0.95, "stdlib": 0.05}, "python"),
        ({"my_project": 1.0}, "python"),
        ({"idioms": 0.5, "stories": 0.5}, "all"),
    ],
)
def test_the_suite_that_a_mix_teaches(mix: dict[str, float], suite: str) -> None:
    assert suite_taught(mix) == suite


@pytest.mark.parametrize(
    ("mix", "names"),
    [
        ({"idioms": 1.0}, [*TASKS]),
        ({"stories": 1.0}, [*STORY_TASKS]),
        ({"idioms": 1.0, "stories": 1.0}, [*TASKS, *STORY_TASKS]),
    ],
)
def test_auto_reads_the_mix_of_the_runs_corpus(
    own_run: Path, mix: dict[str, float], names: list[str]
) -> None:
    run = load_run(own_run)
    path = run.corpus_folder / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["config"]["mix"] = mix
    path.write_text(json.dumps(manifest))
    assert [task.name for task in chosen_tasks(run, ())] == names


def test_without_its_corpus_the_papers_tasks_are_meant(own_run: Path) -> None:
    shutil.rmtree(own_run / "data")
    assert [task.name for task in chosen_tasks(load_run(own_run), ())] == [*TASKS]


@pytest.mark.parametrize(
    ("suite", "names"),
    [("python", [*TASKS]), ("stories", [*STORY_TASKS]), ("all", [*TASKS, *STORY_TASKS])],
)
def test_a_suite_that_is_asked_for(trained: Path, suite, names: list[str]) -> None:
    assert [task.name for task in chosen_tasks(load_run(trained), (), suite)] == names


def test_names_come_before_suites(trained: Path) -> None:
    run = load_run(trained)
    chosen = chosen_tasks(run, ("var_swap", "else_elif", "var_swap"), "stories")
    assert [task.name for task in chosen] == ["var_swap", "else_elif"]
    with pytest.raises(TaskError, match="else_elf"):
        chosen_tasks(run, ("else_elf",))


# Rows.


def test_a_row_of_the_held_out_split_alone(trained: Path) -> None:
    run = load_run(trained)
    model, task = run.model(), get_task("else_elif")
    row = task_row(run, model, task, 8, splits=("heldout",))
    assert (row["name"], row["done"], row["fits"], row["note"]) == ("else_elif", True, True, None)
    assert list(row["splits"]) == ["heldout"]
    assert row["gap"] is None
    assert row["fitted_on"]["count"] == 256
    every = task_row(run, model, task, 8)
    assert {key: row[key] for key in ("loss", "raw_loss", "scale")} == {
        key: every[key] for key in ("loss", "raw_loss", "scale")
    }


def test_a_row_of_a_users_own_task(trained: Path) -> None:
    pair = TextPair("x = [a", "x = [[a", "]\n", "]]\n", "own")
    task = Task("own", "brackets", "contrast", lambda rng, split, room: pair)
    run = load_run(trained)
    row = task_row(run, run.model(), task, 8)
    assert (row["name"], row["fits"]) == ("own", True)
    assert row["splits"]["heldout"]["pairs"]["templates"] == {"own": 8}
    assert variant_rows(run, run.model(), task, row["scale"], 8) == []


def test_shorter_prompts_where_another_model_asks_for_them(trained: Path) -> None:
    run = load_run(trained)
    row = task_row(run, run.model(), get_task("else_elif"), 8, max_tokens=40)
    assert row["splits"]["heldout"]["pairs"]["max_tokens"] == 40


def test_notes_are_shown_where_there_are_any() -> None:
    columns = (Column("name", "task"), Column("note", "note"))
    assert with_notes(columns, [{"note": None}]) == [columns[0]]
    assert with_notes(columns, [{"note": None}, {"note": "why"}]) == [*columns]


def test_brief_is_one_short_line() -> None:
    assert brief("one\ntwo") == "one"
    assert brief("x" * 100, limit=5) == "xxxx…"


# Overlap.


def test_prompts_that_stand_in_the_corpus_are_counted(trained: Path) -> None:
    run = load_run(trained)
    corpus = run.corpus()
    sets = [get_task(name).pairs(corpus.tokenizer, "heldout", 4) for name in ("else_elif", "for_while")]
    assert overlaps(sets, corpus) == [0, 0]
    eot = corpus.tokenizer.eot_id
    read = [prompts_of(sets[0])[2], prompts_of(sets[0])[5], prompts_of(sets[1])[0]]
    tokens = [token for prompt in read for token in (eot, *prompt)]
    assert overlaps(sets, dataclasses.replace(corpus, train=np.array(tokens, dtype=np.uint16))) == [2, 1]
