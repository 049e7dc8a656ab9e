"""The command train: a preset and overrides become a run; the same words again change nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sparsecircuits.cli.train import resolve
from sparsecircuits.model import SparseGPT
from sparsecircuits.presets import tiny
from sparsecircuits.train import load_run

SHORT = ("--preset", "tiny", "--set", "train.steps=3", "--set", "model.n_layer=1")


def test_overrides_reach_the_run_and_the_same_command_finds_it_done(
    call, trained: Path, tmp_path: Path
) -> None:
    words = ("train", tmp_path / "mine", *SHORT, "--data", trained / "data", "--json")
    first = call(*words)
    assert first.code == 0
    run = load_run(tmp_path / "mine")
    assert run.config.train == tiny().train.replace(steps=3)
    assert run.config.model == tiny().model.replace(n_layer=1)
    assert first.json["steps"] == 3
    assert first.json["tokens"] == 3 * 8 * 32  # steps, rows, context
    assert first.json["corpus"] == str(trained / "data")
    assert "train mine  3/3 (100%)" in first.err
    again = call(*words)
    assert again.json == first.json
    assert again.err == ""  # no step was taken


def test_a_validation_on_less_than_was_asked_for_is_said(call, trained: Path, tmp_path: Path) -> None:
    done = call(
        "train", tmp_path / "mine", *SHORT, "--set", "train.eval_tokens=9999", "--data", trained / "data"
    )
    assert done.code == 0
    assert done.err.splitlines()[0] == (
        "not all that was asked for: validation on 8,192 of train.eval_tokens=9,999: there are no more"
    )


def test_checkpoints_that_stay_and_memory_that_runs_out(
    call, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SparseGPT.loss

    def loss(self: SparseGPT, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and len(tokens) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, tokens, targets)

    monkeypatch.setattr(SparseGPT, "loss", loss)
    words = ("train", tmp_path / "mine", *SHORT, "--set", "train.checkpoint_every=1", "--keep", "1")
    words = (*words, "--data", trained / "data")
    stopped = call(*words)
    assert stopped.code == 2
    assert "less is taken by a smaller Machine.micro_rows (--micro-rows)" in stopped.err
    with pytest.warns(UserWarning, match="going on with 2 rows at once"):
        assert call(*words, "--out-of-memory", "halve").code == 0
    assert [path.name for path in (tmp_path / "mine" / "checkpoints").iterdir()] == ["step_000003"]


def test_a_bare_name_is_a_run_in_runs(
    call, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("train", "mine", *SHORT, "--data", trained / "data")
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"run: {Path('runs/mine')}"
    assert load_run("runs/mine").result() is not None
    assert call("eval", "mine", "--task", "else_elif", "--pairs", "8", "--json").json["run"] == str(
        Path("runs/mine")
    )
    assert call("eval", "mime").err == "error: no run 'mime', here or in runs; did you mean 'mine'?\n"


def test_the_presets_own_corpus_lies_in_the_run(trained: Path) -> None:
    run = load_run(trained)
    assert run.corpus_folder == (trained / "data").resolve()
    assert run.corpus().manifest.config == tiny().data


def test_the_vocabulary_is_one_setting() -> None:
    preset = resolve("tiny", ["data.vocab_size=512"])
    assert (preset.data.vocab_size, preset.model.vocab_size) == (512, 512)


def test_show_trains_nothing(call, tmp_path: Path) -> None:
    done = call("train", tmp_path / "mine", *SHORT, "--set", "train.density=1/4", "--show")
    assert done.code == 0
    lines = done.out.splitlines()
    assert "train.steps=3" in lines
    assert "train.density=0.25" in lines
    assert "model.n_head=none" in lines
    assert not (tmp_path / "mine").exists()
    assert call("train", "x", *SHORT, "--show", "--json").json["model.n_layer"] == 1


def test_presets_are_listed(call) -> None:
    done = call("train", "--presets", "--json")
    assert done.code == 0
    rows = {row["name"]: row for row in done.json}
    assert rows["ablate/no_anneal"]["source"] == "Fig 23"
    assert rows["paper/4x-3.7M"]["about"].startswith("d_model 1024, 3.7M nonzero: 3.125% of matrices")
    assert "ablate/eps_0.01" in call("train", "--presets").out


def test_a_run_needs_a_name(call) -> None:
    assert call("train").err == "error: the following arguments are required: RUN\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "dmo"], "unknown preset 'dmo'; did you mean 'demo'?"),
        (["--preset", "ablate/no_aneal"], "did you mean 'ablate/no_anneal'"),
        (["--preset", "paper/16x-0.9M"], "at 16x there are 1.9M"),
        (["--set", "train.context=65"], "train.context is 65; the model's n_ctx is 64"),
        (["--set", "train.step=3"], "unknown setting 'train.step'; did you mean 'train.steps'"),
        (["--track", "clearml"], "invalid choice 'clearml'"),
        (["--set", "train.density=2"], "train.density is 2.0; it must be in (0, 1]"),
        (["--set", "model.vocab_size=300"], "set data.vocab_size"),
        (["--data", "here", "--set", "data.seed=1"], "leave out data.seed"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(call, words: list[str], message: str, tmp_path: Path) -> None:
    done = call("train", tmp_path / "mine", *words)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("error: ")
    assert message in done.err
    assert not (tmp_path / "mine").exists()


def test_a_tracker_that_is_not_installed_is_told_at_once(
    call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = call("train", tmp_path / "mine", "--track", "wandb")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "pip install 'sparsecircuits[track]'" in done.err
    assert not (tmp_path / "mine").exists()


def test_density_below_the_floor_names_both_numbers(call, trained: Path, tmp_path: Path) -> None:
    done = call(
        "train",
        tmp_path / "mine",
        "--preset",
        "tiny",
        "--data",
        trained / "data",
        "--set",
        "train.density=1/16",
    )
    assert done.code == 2
    # Of a row's 48 weights a sixteenth is 3, the floor 4; 144 rows of c_attn: 432 against 576.
    assert "432" in done.err
    assert "576" in done.err


def test_another_config_in_the_same_folder_is_refused(call, trained: Path) -> None:
    done = call("train", trained, "--preset", "tiny", "--set", "train.steps=251", "--data", trained / "data")
    assert done.code == 2
    assert "train.steps: 250 there, 251 here" in done.err


def test_a_run_on_sources_that_are_named(call, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.py").write_text(f"value_{number} = {number}\nprint(value_{number})\n" * 20)
    sizes = (
        "--set",
        "data.train_tokens=none",
        "--set",
        "data.vocab_size=270",
        "--set",
        "train.eval_tokens=64",
    )
    words = ("train", tmp_path / "mine", *SHORT, "--source", folder, *sizes)
    assert call(*words).code == 0
    manifest = load_run(tmp_path / "mine").corpus().manifest
    assert manifest.config.mix == {str(folder): 1.0}
    assert manifest.sources[str(folder)].train.documents + manifest.sources[str(folder)].val.documents == 60
    refused = call(*words, "--data", tmp_path / "mine" / "data")
    assert refused.code == 2
    assert "leave out" in refused.err


def torchrun(*words: object) -> subprocess.CompletedProcess[str]:
    """The command in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "sparsecircuits", "train", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_two_processes_say_and_write_what_one_does(call, trained: Path, tmp_path: Path) -> None:
    words = (*SHORT, "--data", trained / "data", "--set", "train.eval_every=2")
    one = call("train", tmp_path / "one", *words, "--micro-rows", "2", "--json")
    assert one.code == 0
    for parallel in ("ddp", "shard"):
        done = torchrun(tmp_path / parallel, *words, "--parallel", parallel, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["val_loss"] == one.json["val_loss"]
        model = Path("model/model.safetensors")
        assert (tmp_path / parallel / model).read_bytes() == (tmp_path / "one" / model).read_bytes()
    again = torchrun(tmp_path / "ddp", *words, "--set", "train.steps=4")
    assert again.returncode == 1
    assert [line for line in again.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: {tmp_path / 'ddp'} holds a run with other settings (train.steps: 3 there, 4 here); choose "
        f"another name, or remove the folder"
    ]
