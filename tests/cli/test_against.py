"""The command eval with --against: two models on the same text and prompts, and the picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsecircuits.cli import main
from sparsecircuits.cli.against import default_picture
from sparsecircuits.examples import example_folder
from sparsecircuits.tasks import TASKS
from sparsecircuits.train import load_run

FEW = ("--task", "else_elif", "var_swap", "--pairs", "8")


@pytest.fixture(scope="module")
def other(trained: Path) -> Path:
    """A dense model of the same corpus, hardly trained."""
    folder = trained.parent / "other"
    words = ["train", folder, "--preset", "tiny", "--data", trained / "data", "--json"]
    settings = ["train.steps=20", "train.density=1.0", "train.embed_density=1.0", "train.seed=1"]
    words += [word for setting in settings for word in ("--set", setting)]
    assert main([str(word) for word in words]) == 0
    return folder


def test_two_models_in_one_report(call, trained: Path, other: Path, tmp_path: Path) -> None:
    picture = tmp_path / "here" / "losses.svg"
    done = call("eval", trained, "--against", other, "--pairs", "8", "--picture", picture, "--json")
    assert done.code == 0
    report = done.json
    assert list(report) == [
        "run",
        "against",
        "same_corpus",
        "text",
        "models",
        "correlation",
        "rank_correlation",
        "pairs",
        "seed",
        "tasks",
        "variants",
        "picture",
    ]
    assert report["text"] == {
        "corpus": str(trained / "data"),
        "tokens": 4096,  # as many as the preset tiny evaluates on
        "n_ctx": 64,
    }
    assert report["same_corpus"] is True
    for folder, model in zip((trained, other), report["models"], strict=True):
        stored = load_run(folder).result()
        assert stored is not None
        assert (model["name"], model["run"]) == (folder.name, str(folder))
        # On the same text as the validation loss of training.
        assert model["val_loss"] == pytest.approx(stored["val_loss"], abs=1e-5)
        assert model["density"] == stored["density"]
    assert 0.5 < report["correlation"] < 1
    assert 0.5 < report["rank_correlation"] < 1
    assert [row["name"] for row in report["tasks"]] == list(TASKS)
    assert len(report["variants"]) == 5
    for row in report["variants"]:
        assert row["run"]["pairs"] == row["against"]["pairs"]
        assert row["name"].partition(":")[0] in TASKS
    for row in report["tasks"]:
        assert list(row["run"]["splits"]) == ["heldout"]
        assert row["run"]["splits"]["heldout"]["pairs"] == row["against"]["splits"]["heldout"]["pairs"]
    assert report["picture"] == str(picture)
    assert picture.read_text().startswith("<?xml")


def test_the_tables(call, own_run: Path, other: Path) -> None:
    done = call("eval", own_run, "--against", other, *FEW)
    lines = [" ".join(line.split()) for line in done.out.splitlines() if line.strip()]
    assert lines[0] == f"4,096 tokens of {own_run / 'data'}, context 64"
    assert lines[1] == "model validation loss density tokens trained on tasks done"
    assert [line.split()[0] for line in lines[3:5]] == ["tiny", "other"]
    assert lines[5] == "loss loss accuracy accuracy done done"
    assert lines[6] == "task tiny other tiny other tiny other"
    assert [line.split()[0] for line in lines[8:10]] == ["else_elif", "var_swap"]
    assert lines[-2].startswith("loss per token: correlation 0.")
    assert lines[-1] == f"picture: {own_run / 'against_other.png'}"
    assert (own_run / "against_other.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_with_itself(call, own_run: Path) -> None:
    report = call("eval", own_run, "--against", own_run, *FEW, "--json").json
    first, second = report["models"]
    assert report["correlation"] == pytest.approx(1)
    assert report["rank_correlation"] == pytest.approx(1)
    assert first == second
    assert all(row["run"] == row["against"] for row in report["tasks"])


def test_the_others_corpus_serves_where_its_own_is_gone(call, own_run: Path, other: Path) -> None:
    shutil.rmtree(own_run / "data")
    report = call("eval", own_run, "--against", other, *FEW, "--json").json
    assert report["text"]["corpus"] == str(load_run(other).corpus_folder)
    assert report["same_corpus"] is True


def test_without_any_corpus_only_tasks_are_compared(call, own_run: Path) -> None:
    shutil.rmtree(own_run / "data")
    words = ("eval", own_run, "--against", own_run, *FEW)
    report = call(*words, "--json").json
    assert [report[key] for key in ("text", "correlation", "rank_correlation", "picture")] == [None] * 4
    stored = load_run(own_run).result()
    assert stored is not None
    assert [model["val_loss"] for model in report["models"]] == [stored["val_loss"]] * 2
    assert [row["name"] for row in report["tasks"]] == ["else_elif", "var_swap"]
    lines = call(*words).out.splitlines()
    assert lines[0].startswith("no text to compare on, as neither corpus is here")
    assert not any(line.startswith(("loss per token", "picture")) for line in lines)
    assert not (own_run / "against_tiny.png").exists()


def test_no_picture_without_a_text(call, own_run: Path) -> None:
    shutil.rmtree(own_run / "data")
    done = call("eval", own_run, "--against", own_run, "--picture", "x.png")
    assert done.code == 2
    where = f"{own_run} ({own_run / 'data'})"
    assert done.err.splitlines() == [
        f"error: --picture needs a text that both read: neither the corpus of {where} nor that of {where} "
        f"is here"
    ]


def test_other_tokenizers_are_refused_before_anything_is_measured(call, trained: Path) -> None:
    done = call("eval", trained, "--against", "example")
    assert done.code == 2
    (line,) = done.err.splitlines()
    ours, theirs = (load_run(folder).tokenizer().hash[:8] for folder in (trained, example_folder()))
    assert line == (
        f"error: {trained} and {example_folder()} have different tokenizers (1024 entries, sha256 {ours}…, "
        f"and 1024, {theirs}…); losses per token compare only where both models read the same tokens: train "
        f"both on one corpus (train's --data)"
    )


def test_nothing_is_written_into_a_bundled_run(trained: Path) -> None:
    bundled, own = load_run(example_folder()), load_run(trained)
    assert default_picture(bundled, own) == Path("example_against_tiny.png")
    assert default_picture(own, bundled) == trained / "against_example.png"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--picture", "x.png"], "error: --picture draws a comparison; name the other run with --against"),
        (["--against", "RUN", "--picture", "x.gif"], "error: --picture is x.gif; it must end in .png, .svg"),
        (["--against", "nowhere"], "error: no run 'nowhere'"),
    ],
)
def test_mistakes(call, trained: Path, words: list[str], message: str) -> None:
    done = call("eval", trained, *(str(trained) if word == "RUN" else word for word in words))
    assert done.code == 2
    assert done.err.startswith(message)
    assert len(done.err.splitlines()) == 1
