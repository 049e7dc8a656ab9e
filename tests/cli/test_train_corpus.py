"""What train finds in its folder and in --data: it compares first, and builds or replaces nothing in vain."""

from __future__ import annotations

import shutil
from pathlib import Path

from sparsecircuits.data import Corpus
from sparsecircuits.presets import tiny
from sparsecircuits.train import load_run


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_refused_command_leaves_the_finished_runs_corpus_as_it_is(call, own_run: Path) -> None:
    before = contents(own_run)
    refused = call("train", own_run, "--preset", "demo", "--set", "train.steps=99")
    assert refused.code == 2
    assert "holds a run with other settings (model." in refused.err
    words = ("--preset", "tiny", "--set", "data.train_tokens=9000")
    refused = call("train", own_run, *words)
    there = tiny().data.train_tokens
    assert f"other settings (data.train_tokens: {there} there, 9000 here)" in refused.err
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert contents(own_run) == before


def test_a_run_on_another_corpus_gets_none_of_its_own(call, trained: Path, tmp_path: Path) -> None:
    words = ("--preset", "tiny", "--set", "train.steps=3")
    assert call("train", tmp_path / "mine", *words, "--data", trained / "data").code == 0
    refused = call("train", tmp_path / "mine", *words)
    assert refused.code == 2
    assert f"was trained on {trained / 'data'}; go on with --data {trained / 'data'}" in refused.err
    assert not (tmp_path / "mine" / "data").exists()


def test_a_runs_own_corpus_is_built_again_where_it_is_gone(call, own_run: Path) -> None:
    tokens = load_run(own_run).corpus().train.tolist()
    shutil.rmtree(own_run / "data")
    assert call("train", own_run, "--preset", "tiny").code == 0
    assert load_run(own_run).corpus().train.tolist() == tokens


def test_a_folder_of_other_things_is_refused(call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("proj").mkdir()
    Path("proj/main.py").write_text("print()\n")
    refused = call("train", "proj", "--preset", "tiny")
    assert refused.code == 2
    assert refused.err.startswith("error: proj is no run, and not empty (main.py); choose another name")
    assert contents(Path("proj")) == {"main.py": b"print()\n"}


def test_show_has_the_corpus_that_is_named(call, trained: Path, tmp_path: Path) -> None:
    words = ("train", "mine", "--preset", "stories", "--show", "--json")
    shown = call(*words, "--data", trained / "data").json
    manifest = Corpus.open(trained / "data").manifest
    assert call(*words).json["model.vocab_size"] == 640  # the preset's
    assert shown["model.vocab_size"] == shown["data.vocab_size"] == manifest.vocab_size == 1024
    assert (shown["data.mix"], shown["data.train_tokens"]) == (
        manifest.config.mix,
        manifest.config.train_tokens,
    )
    missing = call(*words, "--data", tmp_path / "none")
    assert missing.code == 2
    assert missing.err == (
        f"error: --data is {tmp_path / 'none'}: no such folder; "
        f"sparsecircuits data --out {tmp_path / 'none'} makes one\n"
    )
