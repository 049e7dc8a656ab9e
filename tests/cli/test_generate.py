"""The command generate."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_the_prompt_comes_first_and_a_seed_gives_one_text(call, trained: Path) -> None:
    first, again = (
        call("generate", trained, "for item in", "--tokens", "8", "--seed", "3") for _ in range(2)
    )
    assert first.code == 0
    assert first.out.startswith("for item in")
    assert first.out == again.out
    assert first.err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature", "-1"], "--temperature is -1.0"),
        (["--tokens", "0"], "--tokens is 0"),
        (["--top-k", "0"], "--top-k is 0"),
    ],
)
def test_mistakes(call, trained: Path, words: list[str], message: str) -> None:
    done = call("generate", trained, "x", *words)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")
