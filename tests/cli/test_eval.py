"""The command eval: the run's own validation loss, every task, and what does not fit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sparsecircuits.data import Corpus
from sparsecircuits.tasks import STORY_TASKS, TASKS, TokenPairs, get_task
from sparsecircuits.train import load_run


def test_every_task_is_in_the_report(call, trained: Path) -> None:
    done = call("eval", trained, "--pairs", "32", "--json")
    assert done.code == 0
    report = done.json
    assert report["val_loss"] == pytest.approx(load_run(trained).result()["val_loss"], abs=1e-6)  # type: ignore[index]
    assert report["val_loss_measured"] is True
    assert report["density"] == pytest.approx(0.125, abs=1e-3)
    last = load_run(trained).metrics()[-1]
    vitals = report["vitals"]
    assert (vitals["l0"], vitals["dead"]) == (last["l0"], last["dead"])
    assert vitals["kurtosis"] == pytest.approx(last["kurtosis"], rel=1e-4)
    assert (report["pairs"], report["seed"]) == (32, 0)
    # 20 tasks on three splits and five variants, both sides of 32 pairs of each.
    assert report["overlap"] == {"prompts": 65 * 64, "found": 0, "tasks": {}}
    rows = {row["name"]: row for row in report["tasks"]}
    assert list(rows) == list(TASKS)
    # Its prompts end in different tokens, so the bigram table alone does it.
    assert rows["else_elif"]["done"] is True
    assert rows["else_elif"]["accuracy"] == 1.0
    for row in report["tasks"]:
        assert set(row) >= {"loss", "raw_loss", "accuracy", "scale", "done", "fits", "note"}
        assert row["done"] == (row["loss"] <= 0.15 and row["accuracy"] >= 0.95)
        assert list(row["splits"]) == ["train", "validation", "heldout"]
        assert (row["fitted_on"]["count"], row["fitted_on"]["drawn"]) == (256, 256 + 32)
        for figures in row["splits"].values():
            assert list(figures) == ["loss", "raw_loss", "accuracy", "pairs", "in_corpus"]
            assert figures["in_corpus"] == 0
            assert sum(figures["pairs"]["templates"].values()) == 32
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
    assert all(row["in_corpus"] == 0 for row in report["variants"])


def test_what_the_scale_was_fitted_on_can_be_drawn_again(call, trained: Path) -> None:
    report = call("eval", trained, "--task", "else_elif", "--pairs", "8", "--json").json
    (row,) = report["tasks"]
    which = row["fitted_on"]
    pairs = get_task("else_elif").pairs(load_run(trained).tokenizer(), "train", which["drawn"])
    assert pairs.rows(slice(which["count"])).hash == which["sha256"]
    assert pairs.rows(slice(which["count"], None)).hash == row["splits"]["train"]["pairs"]["sha256"]


def test_the_other_suite(call, trained: Path) -> None:
    report = call("eval", trained, "--suite", "stories", "--pairs", "8", "--json").json
    assert [row["name"] for row in report["tasks"]] == list(STORY_TASKS)


def test_the_table(call, trained: Path) -> None:
    done = call("eval", trained, "--task", "else_elif", "var_swap", "--pairs", "32")
    lines = [line.split() for line in done.out.splitlines() if line.strip()]
    assert " ".join(lines[1]).startswith("nonzero weights (L0) ")
    assert " ".join(lines[2]) == "task train validation held out raw loss accuracy gap done"
    assert [line[0] for line in lines[4:6]] == ["else_elif", "var_swap"]
    assert [line[-1] for line in lines[4:6]] == ["yes", "no"]
    assert " ".join(lines[-2]) == "no prompt of 384 stands in the training corpus"
    assert lines[-1] == ["1", "of", "2", "tasks", "done"]


def test_prompts_that_were_read_in_training_are_named(
    call, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparsecircuits.cli import eval as command

    # Of each set, as many as it has pairs on validation, none elsewhere.
    def overlaps(measured: Sequence[TokenPairs], corpus: Corpus) -> list[int]:
        return [len(pairs) if pairs.split == "validation" else 0 for pairs in measured]

    monkeypatch.setattr(command, "overlaps", overlaps)
    words = ("eval", trained, "--task", "else_elif", "var_swap", "--pairs", "8")
    lines = call(*words).out.splitlines()
    assert lines[-2] == (
        "warning: 16 of 96 prompts stand in the training corpus: else_elif (8), var_swap (8)"
    )
    report = call(*words, "--json").json
    assert report["overlap"] == {"prompts": 96, "found": 16, "tasks": {"else_elif": 8, "var_swap": 8}}
    splits = report["tasks"][0]["splits"]
    assert [splits[split]["in_corpus"] for split in splits] == [0, 8, 0]


def test_a_task_of_a_users_own(call, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("task", "new", "own").code == 0
    report = call("eval", trained, "--task", "own.yaml", "var_swap", "--pairs", "8", "--json").json
    assert [row["name"] for row in report["tasks"]] == ["own", "var_swap"]
    assert report["tasks"][0]["splits"]["heldout"]["pairs"]["task"] == "own"
    assert report["variants"] == []


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
    assert done.json["vitals"] is None
    assert done.json["overlap"] is None
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


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys\n"
        "from sparsecircuits.cli import main\n"
        "try:\n"
        "    main(['eval', '--help'])\n"
        "except SystemExit:\n"
        "    print('torch' in sys.modules)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--against OTHER" in out
    assert out.splitlines()[-1] == "False"


def test_a_checkpoint_is_measured_like_a_model(call, own_run: Path) -> None:
    words = ("eval", own_run, "--task", "else_elif", "--pairs", "8")
    whole = call(*words, "--json").json
    last = call(*words, "--checkpoint", "250", "--json").json
    assert (whole["checkpoint"], last["checkpoint"]) == (None, 250)
    assert last["val_loss"] == whole["val_loss"]  # that of the last step
    assert last["density"] == whole["density"]
    assert call(*words, "--checkpoint", "best").out.startswith(
        f"{own_run}, checkpoint best: validation loss "
    )
    assert "does not go with --against" in call(*words, "--checkpoint", "best", "--against", own_run).err
