"""The command generate."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def test_the_prompt_comes_first_and_a_seed_gives_one_text(call, trained: Path) -> None:
    words = ("generate", trained, "--prompt", "for item in", "--tokens", "8", "--seed", "3")
    first, again = call(*words), call(*words)
    assert first.code == 0
    assert first.out.startswith("for item in")
    assert first.out == again.out
    assert first.err == ""
    assert call("generate", trained, "for item in", "--tokens", "8", "--seed", "3").out == first.out
    assert call("generate", trained, "for item in", "--tokens", "8", "--seed", "4").out != first.out


def test_json_tells_all(call, trained: Path) -> None:
    words = ["--count", "2", "--tokens", "5", "--top-p", "0.9", "--top-k", "50", "--seed", "7", "--stop", "§"]
    told = call("generate", trained, "--prompt", "x =", *words, "--json").json
    assert (told["run"], told["prompt"], told["top_p"], told["stop"]) == (str(trained), "x =", 0.9, ["§"])
    assert [sample["seed"] for sample in told["samples"]] == [7, 8]
    assert "length" in {sample["ended"] for sample in told["samples"]}
    assert all((len(sample["tokens"]) == 5) == (sample["ended"] == "length") for sample in told["samples"])
    shown = call("generate", trained, "--prompt", "x =", *words).out
    one, two = (sample["text"] for sample in told["samples"])
    assert shown == f"--- 1 of 2, seed 7\nx ={one}\n\n--- 2 of 2, seed 8\nx ={two}\n"


def test_a_stop_text_is_not_shown(call, trained: Path) -> None:
    whole = call("generate", trained, "--prompt", "x", "--tokens", "12", "--json").json["samples"][0]
    stop = whole["text"][3]
    cut = call("generate", trained, "--prompt", "x", "--tokens", "12", "--stop", stop, "--json").json
    assert cut["samples"][0]["text"] == whole["text"].partition(stop)[0]
    assert cut["samples"][0]["ended"] == "stop"


def on_a_terminal(words: list[str]) -> list[bytes]:
    """What a terminal is sent, read by read."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "sparsecircuits", *words], stdout=theirs)
    os.close(theirs)
    reads = []
    while True:
        try:
            reads.append(os.read(ours, 4096))
        except OSError:  # how a terminal says that the other end is closed
            break
    os.close(ours)
    assert process.wait() == 0
    return reads


def test_on_a_terminal_the_text_comes_in_pieces_and_is_the_same(call, trained: Path) -> None:
    words = ["generate", str(trained), "--prompt", "x =", "--tokens", "6", "--count", "2"]
    most = 0
    for _ in range(5):  # on a busy machine a read comes late, and has several pieces
        reads = on_a_terminal(words)
        assert b"".join(reads).decode().replace("\r\n", "\n") == call(*words).out
        most = max(most, len(reads))
        if most > 2:
            break
    assert most > 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature", "-1"], "--temperature is -1.0"),
        (["--tokens", "0"], "--tokens is 0"),
        (["--top-k", "0"], "--top-k is 0"),
        (["--top-p", "0"], "--top-p is 0.0; it must be above 0 and at most 1"),
        (["--top-p", "1.5"], "--top-p is 1.5"),
        (["--count", "0"], "--count is 0"),
        (["--stop", ""], "--stop is an empty text"),
        (["--prompt", "y"], "the prompt is given twice: 'x' and --prompt 'y'"),
    ],
)
def test_mistakes(call, trained: Path, words: list[str], message: str) -> None:
    done = call("generate", trained, "x", *words)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")


def test_a_checkpoint_of_a_training_that_has_not_finished(call, own_run: Path) -> None:
    words = ("generate", own_run, "--prompt", "x", "--tokens", "4", "--json")
    finished = call(*words).json
    assert finished["checkpoint"] is None
    (own_run / "result.json").unlink()
    shutil.rmtree(own_run / "model")
    refused = call(*words)
    assert refused.code == 2
    assert f"to go on: sparsecircuits train {own_run}, with the options" in refused.err
    assert "--checkpoint latest" in refused.err
    latest = call(*words, "--checkpoint", "latest").json
    assert latest["samples"] == finished["samples"]  # that of the last step
    assert call(*words, "--checkpoint", "250").json["samples"] == finished["samples"]
    assert "no checkpoint 7; there: " in call(*words, "--checkpoint", "7").err
    assert "--checkpoint is 'last'; allowed: a step" in call(*words, "--checkpoint", "last").err
