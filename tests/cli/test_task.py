"""The command task: the list, pairs with and without a tokenizer, and files of a user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.tasks import STORY_TASKS, TASKS
from sparsecircuits.tasks.own import keep_task, read_task


def test_list(call) -> None:
    assert [row["name"] for row in call("task", "--json").json] == list(TASKS)
    out = call("task", "list").out
    for task in TASKS.values():
        assert task.about in out


def test_the_list_says_which_suite(call) -> None:
    assert {row["suite"] for row in call("task", "--json").json} == {"python"}
    rows = call("task", "list", "--suite", "all", "--json").json
    assert [row["name"] for row in rows] == [*TASKS, *STORY_TASKS]
    assert [row["name"] for row in call("task", "list", "--suite", "stories", "--json").json] == [
        *STORY_TASKS
    ]


def test_the_list_of_a_run_has_its_own_tasks(call, own_run: Path, tmp_path: Path) -> None:
    call("task", "new", tmp_path / "mine")
    keep_task(read_task(tmp_path / "mine.yaml"), own_run)
    row = call("task", "list", "--run", own_run, "--json").json[-1]
    assert row == {
        "name": "mine",
        "suite": "yours",
        "form": "contrast",
        "about": "what was set to str() grows by +=, what was set to set() by .add",
    }


def test_show_without_a_run_gives_texts(call) -> None:
    report = call("task", "show", "single_double_quote", "--pairs", "2", "--json").json
    assert (report["name"], report["form"], len(report["pairs"])) == ("single_double_quote", "contrast", 2)
    left, right = report["pairs"][0]["left"], report["pairs"][0]["right"]
    assert (left["answer"], right["answer"]) == ("')\n", '")\n')
    assert left["text"].replace("'", '"') == right["text"]


def test_show_with_a_run_gives_tokens(call, trained: Path) -> None:
    words = ("task", "show", "single_double_quote", "--run", trained, "--pairs", "2")
    pair = call(*words, "--json").json["pairs"][0]
    left, right = pair["left"], pair["right"]
    assert left["tokens"][0] == "<|endoftext|>"
    differing = [
        i for i, both in enumerate(zip(left["tokens"], right["tokens"], strict=True)) if len(set(both)) > 1
    ]
    assert pair["differs"] == differing
    assert (left["right"], left["wrong"]) == (right["wrong"], right["right"]) == ("')\n", '")\n')
    out = call(*words).out
    (mark,) = {left["tokens"][i] for i in differing}
    assert f"[{mark}]" in out
    assert "')⏎, not \")⏎" in out


def test_one_token_against_all(call, trained: Path) -> None:
    words = ("task", "show", "fstring_brace", "--run", trained, "--pairs", "1")
    pair = call(*words, "--json").json["pairs"][0]
    assert pair["left"]["wrong"] is None
    assert (pair["right"]["right"], pair["right"]["wrong"]) == (None, pair["left"]["right"])
    assert "→  anything, not" in call(*words).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show"], "usage: sparsecircuits task show TASK|FILE [--run RUN]"),
        (["check"], "usage: sparsecircuits task check FILE [--run RUN | --tokenizer PATH]"),
        (["new"], "usage: sparsecircuits task new NAME [--format yaml|jsonl|py]"),
        (["list", "var_if"], "usage: sparsecircuits task list [--suite python|stories|all] [--run RUN]"),
        (["check", "x.yaml", "--context", "1"], "--context is 1; it must be at least 2"),
        (["check", "x.yaml"], "x.yaml: cannot be read: No such file or directory"),
        (
            ["check", "x.yaml", "--run", "example", "--tokenizer", "x"],
            "--run and --tokenizer: give one of them",
        ),
        (["show", "var_iff"], "unknown task 'var_iff'; did you mean 'var_if'"),
        (["show", "var_if", "--pairs", "0"], "--pairs is 0; it must be at least 1"),
    ],
)
def test_mistakes(call, words: list[str], message: str) -> None:
    done = call("task", *words)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")


@pytest.mark.parametrize("ending", ["yaml", "jsonl", "py"])
def test_a_new_file_passes_the_check(call, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine.{ending}"
    done = call("task", "new", tmp_path / "mine", "--format", ending)
    assert (done.code, done.out) == (
        0,
        f"{path}: a task to begin with; change it, then\n  sparsecircuits task check {path}\n",
    )
    report = call("task", "check", path, "--json").json
    assert (report["ok"], report["problems"], report["name"]) == (True, [], "mine")
    assert (report["context"], report["last_token"], report["too_easy"]) == (64, 0.5, False)
    assert len(report["pairs"]) == 5
    assert [pair["left"]["right"] for pair in report["pairs"]] == [" +="] * 5
    again = call("task", "new", tmp_path / "mine", "--format", ending)
    assert (again.code, again.err.startswith(f"error: {path} is there already")) == (2, True)


def test_what_the_check_prints(call, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    call("task", "new", path, "--format", "jsonl")
    out = call("task", "check", path, "--pairs", "3").out.splitlines()
    assert out[0] == "mine (contrast): what was set to str() grows by +=, what was set to set() by .add"
    shown = [line for line in out if line.startswith("   left ")]
    assert len(shown) == 3  # two held-out pairs are all there are; the third is of another split
    assert any(
        "total ·= [·str] ()⏎ for ·x ·in ·group :⏎ ··· ·total  →  ·+=, not .add" in line for line in shown
    )
    assert out[-4:] == [
        f"{path}: fine",
        "  pairs: train 4, validation 2, heldout 2",
        "  longest prompt: 12 of 64 tokens",
        "  the last token alone: 50%",
    ]


def test_a_task_that_is_too_easy_gets_a_warning(call, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    rows = "".join(f'  - "$noun = {x}\\n<<for|while>>"\n' for x in "abcd")
    path.write_text(f'same_last: false\nanswer: "<< x| y>>"\ntemplates:\n{rows}')
    out = call("task", "check", path).out.splitlines()
    assert out[-2:] == [
        "  the last token alone: 100%",
        "  warning: the last token tells the answer, without anything that came before",
    ]


def test_every_mistake_is_a_line(call, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    call("task", "new", path, "--format", "jsonl")
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace('"right_answer": ".add", ', "")
    lines[4] = lines[4].replace(" +=", " += x")
    path.write_text("\n".join(lines))
    done = call("task", "check", path)
    assert done.code == 2
    assert done.err.splitlines() == [
        f"error: {path}: row 3: missing 'right_answer'; a pair has left, right, left_answer, right_answer",
        f"error: {path}: row 5: the left answer is 2 tokens, ' +=' ' x'; an answer is one token",
    ]
    report = call("task", "check", path, "--json").json
    assert (report["ok"], [(p["row"], p["line"]) for p in report["problems"]]) == (
        False,
        [(3, None), (5, None)],
    )


def test_a_prompt_longer_than_the_context(call, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    call("task", "new", path, "--format", "jsonl")
    assert call("task", "check", path, "--context", "12").code == 0
    errors = call("task", "check", path, "--context", "11").err.splitlines()
    assert errors == [
        f"error: {path}: row {n}: longer than the context: 12 tokens with <|endoftext|>, above 11"
        for n in range(2, 10)
    ]


def test_with_a_tokenizer_instead_of_a_run(call, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    call("task", "new", path, "--format", "jsonl")
    report = call("task", "check", path, "--tokenizer", trained / "tokenizer.json", "--json").json
    assert (report["ok"], report["context"]) == (True, 128)


def test_a_long_list_of_mistakes_is_cut(call, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("5\n" * 60)
    errors = call("task", "check", path).err.splitlines()
    assert len(errors) == 51
    assert errors[-1] == f"error: {path}: and 10 more"


def test_show_takes_a_file(call, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    call("task", "new", path, "--format", "jsonl")
    report = call("task", "show", path, "--json").json
    assert (report["name"], report["suite"], len(report["pairs"])) == ("mine", "yours", 2)
    assert {pair["template"] for pair in report["pairs"]} == {"row 8", "row 9"}


def test_code_that_cannot_be_run_is_a_mistake_in_json_too(call, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("x = 1\ny = x / 0\n")
    done = call("task", "check", path, "--json")
    assert (done.code, done.json["ok"]) == (2, False)
    assert done.json["problems"] == [
        {"row": None, "line": 2, "reason": "raised ZeroDivisionError: division by zero"}
    ]
