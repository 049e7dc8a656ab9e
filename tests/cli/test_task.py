"""The command task: the list, and pairs with and without a tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.tasks import TASKS


def test_list(call) -> None:
    assert [row["name"] for row in call("task", "--json").json] == list(TASKS)
    out = call("task", "list").out
    for task in TASKS.values():
        assert task.about in out


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
        (["show"], "either sparsecircuits task list, or sparsecircuits task show TASK"),
        (["list", "var_if"], "either sparsecircuits task list, or sparsecircuits task show TASK"),
        (["show", "var_iff"], "unknown task 'var_iff'; did you mean 'var_if'"),
        (["show", "var_if", "--pairs", "0"], "--pairs is 0; it must be at least 1"),
    ],
)
def test_mistakes(call, words: list[str], message: str) -> None:
    done = call("task", *words)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")
