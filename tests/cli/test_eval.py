"""The command eval: the run's own validation loss, every task, and what does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsecircuits.tasks import STORY_TASKS, TASKS, get_task
from sparsecircuits.train import load_run


def test_every_task_is_in_the_report(call, trained: Path) -> None:
    done = call("eval", trained, "--pairs", "32", "--json")
    assert done.code == 0
    report = done.json
    assert report["val_loss"] == pytest.approx(load_run(trained).result()["val_loss"], abs=1e-6)  # type: ignore[index]
    assert report["val_loss_measured"] is True
    assert report["density"] == pytest.approx(0.125, abs=1e-3)
    rows = {row["name"]: row for row in report["tasks"]}
    assert list(rows) == list(TASKS)
    # Its prompts end in different tokens, so the bigram table alone does it.
    assert rows["else_elif"]["done"] is True
    assert rows["else_elif"]["accuracy"] == 1.0
    for row in report["tasks"]:
        assert set(row) >= {"loss", "raw_loss", "accuracy", "scale", "done", "fits", "note"}
        assert row["done"] == (row["loss"] <= 0.15 and row["accuracy"] >= 0.95)
        assert list(row["splits"]) == ["train", "validation", "heldout"]
        assert row["loss"] == row["splits"]["heldout"]["loss"]
        assert row["gap"] == pytest.approx(row["loss"] - row["splits"]["train"]["loss"])
    assert [row["name"] for row in report["variants"]] == [
        "single_double_quote:distractor",
        "single_double_quote:unmatched",
        "bracket_counting:distractor",
        "bracket_counting:long",
        "set_or_string:distractor",
    ]
    run = load_run(trained)
    for row in (*(row["splits"]["heldout"] for row in report["tasks"]), *report["variants"]):
        which = row["pairs"]
        pairs = get_task(which["task"]).pairs(
            run.tokenizer(),
            which["split"],
            which["count"],
            seed=which["seed"],
            max_tokens=which["max_tokens"],
        )
        assert pairs.hash == which["sha256"]


def test_the_other_suite(call, trained: Path) -> None:
    report = call("eval", trained, "--suite", "stories", "--pairs", "8", "--json").json
    assert [row["name"] for row in report["tasks"]] == list(STORY_TASKS)


def test_the_table(call, trained: Path) -> None:
    done = call("eval", trained, "--task", "else_elif", "var_swap", "--pairs", "32")
    lines = [line.split() for line in done.out.splitlines() if line.strip()]
    assert " ".join(lines[1]) == "task train validation held out raw loss accuracy gap done"
    assert [line[0] for line in lines[3:5]] == ["else_elif", "var_swap"]
    assert [line[-1] for line in lines[3:5]] == ["yes", "no"]
    assert lines[-1] == ["1", "of", "2", "tasks", "done"]


def test_a_task_that_does_not_fit_is_said_in_the_table(call, own_run: Path) -> None:
    # A tokenizer of bare bytes: prompts are longer than the model's context.
    from sparsecircuits.data.tokenizer import train_tokenizer

    train_tokenizer(["abc"], 257).save(own_run / "tokenizer.json")
    done = call("eval", own_run, "--task", "else_elif", "--json")
    assert done.code == 0
    (row,) = done.json["tasks"]
    assert (row["fits"], row["done"], row["loss"]) == (False, False, None)
    assert row["note"].startswith("task else_elif")
    assert "else_elif" in call("eval", own_run, "--task", "else_elif").out


def test_without_its_corpus_the_stored_loss_is_given(call, own_run: Path) -> None:
    shutil.rmtree(own_run / "data")
    done = call("eval", own_run, "--task", "else_elif", "--pairs", "8", "--json")
    assert done.json["val_loss_measured"] is False
    assert done.json["val_loss"] == load_run(own_run).result()["val_loss"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "error: no run 'nowhere'"),
        (["RUN", "--task", "else_elf"], "error: unknown task 'else_elf'; did you mean 'else_elif'?"),
        (["RUN", "--pairs", "0"], "error: --pairs is 0; it must be at least 1"),
    ],
)
def test_mistakes(call, trained: Path, words: list[str], message: str) -> None:
    done = call("eval", *(str(trained) if word == "RUN" else word for word in words))
    assert done.code == 2
    assert done.err.startswith(message)
    assert len(done.err.splitlines()) == 1


def test_a_damaged_model_names_its_file(call, own_run: Path) -> None:
    path = own_run / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    done = call("eval", own_run)
    assert done.code == 2
    assert str(path) in done.err.splitlines()[-1]


def test_an_unfinished_run_says_so(call, own_run: Path) -> None:
    shutil.rmtree(own_run / "model")
    assert "training has not finished" in call("eval", own_run).err
