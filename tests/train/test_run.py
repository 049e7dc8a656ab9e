"""Run folders: what they refuse, and what they give back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from sparsecircuits.data.shards import Corpus, DataConfig, build_corpus
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import Run, RunConfig, load_run, train


def test_a_run_can_be_opened_again(config: RunConfig, corpus: Corpus, tmp_path: Path):
    run = Run.create(tmp_path / "runs" / "first", config, corpus)
    again = load_run(tmp_path / "runs" / "first")
    assert again == run == Run.create(run.folder, config, corpus)
    assert (again.name, again.config) == ("first", config)
    assert again.corpus_folder == corpus.folder.resolve()
    assert again.tokenizer().hash == corpus.tokenizer.hash
    assert again.corpus().manifest == corpus.manifest
    assert (again.result(), again.metrics()) == (None, [])


def test_a_run_of_other_settings_is_refused_with_the_fields_that_differ(
    config: RunConfig, corpus: Corpus, tmp_path: Path
):
    Run.create(tmp_path / "run", config, corpus)
    other = RunConfig(model=config.model.replace(d_mlp=32), train=config.train.replace(lr=0.5, floor=2))
    message = (
        "run holds a run with other settings (model.d_mlp: None there, 32 here; "
        "train.lr: 0.0128 there, 0.5 here; train.floor: 4 there, 2 here); choose another name"
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        train(other, corpus, tmp_path / "run")
    assert load_run(tmp_path / "run").config == config


def test_a_run_on_another_corpus_is_refused(config: RunConfig, corpus: Corpus, tmp_path: Path):
    Run.create(tmp_path / "run", config, corpus)
    # The same tokenizer, but other text.
    data = DataConfig(
        mix={"idioms": 1.0}, seed=1, tokenizer=str(corpus.folder / "tokenizer.json"), train_tokens=500
    )
    other = build_corpus(data.replace(val_tokens=50), tmp_path / "other")
    with pytest.raises(ConfigError, match=r"other settings \(another corpus\)"):
        Run.create(tmp_path / "run", config, other)


def test_a_vocabulary_that_is_not_the_corpus_one_is_refused(
    config: RunConfig, corpus: Corpus, tmp_path: Path
):
    wrong = config.replace(model=config.model.replace(vocab_size=301))
    with pytest.raises(ConfigError, match=r"vocab_size is 301, the corpus' tokenizer has 300 entries"):
        train(wrong, corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_run_there(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r": no run here: it holds no run\.json"):
        load_run(tmp_path)


def test_no_folder_there_and_how_to_open_a_bundled_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    said = (
        r"^example: no run here: there is no such folder .*sparsecircuits\.examples\.example_folder\(NAME\)"
    )
    with pytest.raises(CheckpointError, match=said):
        load_run("example")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not readable JSON"),
        ("[]", "expected a JSON object"),
        ('{"format": "sparsecircuits.run", "version": 9}', "not a run of this release"),
        ('{"format": "sparsecircuits.run", "version": 1}', "damaged: 'config'"),
    ],
)
def test_a_damaged_run_file(text: str, message: str, tmp_path: Path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / "run.json")) + ".*" + message):
        load_run(tmp_path)


def test_a_run_file_with_an_unknown_setting(config: RunConfig, corpus: Corpus, tmp_path: Path):
    run = Run.create(tmp_path / "run", config, corpus)
    data = json.loads((run.folder / "run.json").read_text())
    data["config"]["train"]["lrate"] = 1.0
    (run.folder / "run.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"run\.json.*unknown key 'lrate'"):
        load_run(run.folder)


def test_a_finished_run_is_a_source_of_models(config: RunConfig, corpus: Corpus, tmp_path: Path):
    train(config, corpus, tmp_path / "run")
    model = SparseGPT.from_pretrained(tmp_path / "run")
    tokens = torch.zeros(1, 3, dtype=torch.long)
    assert torch.equal(model(tokens), load_run(tmp_path / "run").model()(tokens))
    assert not model.training


@pytest.mark.parametrize("damage", [b"\0" * 12, b"{}", b"[3]", b'{"step": "3"}', b"\xff\xfe"])
def test_a_damaged_line_of_metrics_is_named(damage: bytes, config: RunConfig, corpus: Corpus, tmp_path: Path):
    run = Run.create(tmp_path / "run", config, corpus)
    path = run.folder / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + damage + b'\n{"step": 3}\n{"st')
    for read in (run.metrics, run.events, lambda: run.truncate_metrics(3)):
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl:2: damaged: "):
            read()
    path.write_bytes(b'{"step": 1}\n{"step": 3}\n{"st')
    assert run.metrics() == [{"step": 1}, {"step": 3}]
