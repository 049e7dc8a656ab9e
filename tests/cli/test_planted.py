"""``sparsecircuits planted``: what it lists, shows and scores."""

from __future__ import annotations

from typing import get_args

import pytest

from sparsecircuits.cli.planted import PrunerName
from sparsecircuits.validate.planted import PRUNERS
from tests.cli.conftest import Call

PROGRAMS = ["quote", "depth", "variable", "induction", "bigram"]


def test_list(call: Call) -> None:
    found = call("planted", "list", "--json")
    assert found.code == 0
    assert [row["name"] for row in found.json] == PROGRAMS
    assert [(row["nodes"], row["edges"]) for row in found.json] == [
        (12, 10),
        (7, 4),
        (16, 12),
        (24, 18),
        (4, 4),
    ]
    assert "closes the quote that was opened" in call("planted").out


def test_show(call: Call) -> None:
    shown = call("planted", "show", "bigram", "--level", "2", "--seed", "1", "--json").json
    assert set(shown) == {"program", "seed", "level", "channels", "minimal", "cancelling", "check"}
    assert (shown["program"], shown["seed"], shown["level"]) == ("bigram", 1, 2)
    assert set(shown["channels"]) == {"ballast", "feature", "next"}
    assert [len(part["nodes"]) for part in shown["minimal"]] == [4] * 4
    assert len(shown["cancelling"]) == 1
    assert shown["check"]["holds"]
    text = call("planted", "show", "bigram").out
    assert "minimal set: 4 nodes, 4 edges" in text
    assert "(feature)" in text
    assert "resampling all else moves the answers' logits by" in text


def test_score(call: Call) -> None:
    words = ("planted", "score", "bigram", "--seeds", "2", "--pruner", "random", "attribution")
    found = call(*words, "--level", "1", "--json").json
    assert set(found) == {"goal", "means", "results"}
    assert found["goal"] == {"node_f1": 0.95, "edge_f1": 0.9}
    assert list(found["means"]) == ["random", "attribution"]
    by_group = {(m["program"], m["level"]): m for m in found["means"]["attribution"]}
    assert list(by_group) == [("bigram", 1), (None, 1), (None, None)]
    assert by_group["bigram", 1]["models"] == 2
    assert by_group["bigram", 1]["node_f1"] == 1
    assert found["means"]["random"][0]["node_f1"] < 0.1
    first = found["results"]["attribution"][0]
    assert set(first) == {"program", "seed", "level", "score", "nodes", "edges", "seconds", "error"}
    assert first["score"]["nodes"] == {"precision": 1.0, "recall": 1.0}
    assert set(first["score"]) == {"nodes", "edges", "completeness", "cancelling_errors"}


def test_score_as_a_table_with_todays_pruner(call: Call) -> None:
    found = call("planted", "score", "bigram", "--quick", "--level", "1")
    assert found.code == 0
    (row,) = [line for line in found.out.splitlines() if line.split()[:2] == ["task", "bigram"]]
    assert row.split()[2:5] == ["1", "1", "1.000"]  # level, models, node F1
    assert "goal: node F1 0.95, edge F1 0.9, over all" in found.out
    assert "prune by task" in found.err


def test_every_pruner_has_a_name_on_the_command_line() -> None:
    assert list(get_args(PrunerName)) == list(PRUNERS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show",), "name a program: sparsecircuits planted show PROGRAM"),
        (
            ("show", "brackets"),
            "no planted program 'brackets'; known: bigram, depth, induction, quote, variable",
        ),
        (("show", "quote", "--level", "9"), "no level 9; known: 1, 2, 3"),
        (("list", "quote"), "either sparsecircuits planted list, or sparsecircuits planted show PROGRAM"),
        (("score", "--quick", "--seeds", "2"), "--quick means --seeds 1"),
        (("score", "--seeds", "0"), "--seeds is 0; it must be at least 1"),
        (("score", "--level", "0"), "--level is 0; known: 1, 2, 3"),
    ],
)
def test_mistakes_are_named(call: Call, words: tuple[str, ...], message: str) -> None:
    found = call("planted", *words)
    assert found.code == 2
    assert message in found.err
