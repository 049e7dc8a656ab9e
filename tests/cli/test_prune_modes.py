"""prune --tune, --sweep and --seeds, on a model whose circuit is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.circuit import load_circuit
from sparsecircuits.errors import ConfigError
from sparsecircuits.study import storage
from tests.cli.conftest import NAME, QUICK
from tests.prune import planted

pytestmark = pytest.mark.usefixtures("the_task")


def test_tune(call, folder: Path) -> None:
    row = call("prune", folder, NAME, "--tune", "3", "--batch", "2", *QUICK, "--json").json["tasks"][0]
    assert (row["state"], row["nodes"], row["edges"]) == ("found", 3, 2)
    tuning = row["tuning"]
    assert [trial["number"] for trial in tuning["trials"]] == [0, 1, 2]
    assert tuning["trials"][tuning["best"]]["edges"] == 2
    assert row["note"] == f"the smallest of 3 prunings, number {tuning['best'] + 1}"
    assert Path(tuning["picture"]).read_bytes().startswith(b"\x89PNG")
    assert load_circuit(folder / "circuits" / NAME).info["tuning"]["trials"] == 3
    # The plain command takes it for the circuit of these settings.
    assert call("prune", folder, NAME, *QUICK, "--json").json["tasks"][0]["note"] == "loaded"


def test_tune_in_a_database(call, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    words = ("--tune", "1", "--storage", f"sqlite:///{path}", "--sampler", "random")
    assert "the smallest of 1 prunings" in call("prune", folder, NAME, *words, *QUICK).out
    assert path.exists()
    assert not (folder / "tuning" / f"{NAME}.log").exists()


def test_tune_what_the_model_cannot_do(call, folder: Path) -> None:
    """Asked before anything is pruned."""
    done = call("prune", folder, "single_double_quote", "--tune", "2", *QUICK)
    assert done.code in (1, 2)
    assert not (folder / "tuning").exists()


def test_tune_without_optuna(call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str, extra: str) -> None:
        raise ConfigError(f"pip install 'sparsecircuits[{extra}]'")

    monkeypatch.setattr(storage, "need", missing)
    done = call("prune", folder, NAME, "--tune", "1", *QUICK)
    assert done.code == 2
    assert "error: pip install 'sparsecircuits[tune]'" in done.err


def test_sweep(call, folder: Path) -> None:
    done = call("prune", folder, NAME, "--sweep", "0.15", "0.6", *QUICK, "--json")
    assert done.code == 0
    points = done.json["points"]
    assert [(p["target"], p["nodes"], p["edges"], p["state"]) for p in points[:1]] == [(0.15, 3, 2, "found")]
    assert points[1]["target"] == 0.6
    assert [Path(path).suffix for path in done.json["pictures"]] == [".png", ".svg"]
    assert all(Path(path).stat().st_size > 1000 for path in done.json["pictures"])
    table = call("prune", folder, NAME, "--sweep", "0.15", "0.6", *QUICK).out
    assert table.splitlines()[-1] == f"picture: {folder / 'sweeps' / 'size_by_target.png'}"
    assert len((folder / "sweeps" / f"{NAME}.jsonl").read_text().splitlines()) == 2


def test_seeds(call, folder: Path) -> None:
    done = call("prune", folder, NAME, "--seeds", "2", "--bootstraps", "1", *QUICK, "--json")
    assert done.code == 0
    (row,) = done.json["tasks"]
    assert (row["circuits"], row["jaccard"], row["nodes"], row["edges"]) == (3, 1.0, 3, 2)
    assert row["passed"] is True
    assert [pruning["name"] for pruning in row["prunings"]] == ["seed 0", "seed 1", "bootstrap 0"]
    assert load_circuit(row["folder"]).nodes == planted.ATTENTION_CIRCUIT
    out = call("prune", folder, NAME, "--seeds", "2", "--bootstraps", "1", *QUICK).out
    assert out.splitlines()[-1] == f"core: {row['folder']}"


@pytest.mark.parametrize("words", [("--sweep", "0.15"), ("--seeds", "2")])
def test_nothing_found_is_exit_code_1(call, folder: Path, words: tuple[str, ...]) -> None:
    from sparsecircuits.train import Run

    run = Run.open(folder)
    run.finish(planted.refusing_model(run.tokenizer()), run.result() or {})
    done = call("prune", folder, NAME, *words, *QUICK, "--json")
    assert done.code == 1
    assert "the full model's own loss is 0.693" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tune", "2", "--sweep", "0.1"), "--tune and --sweep: give one of them"),
        (("--bootstraps", "2"), "--bootstraps goes with --seeds"),
        (("--sampler", "random"), "--sampler and --storage go with --tune"),
        (("--seeds", "1"), "1 seeds, 0 bootstraps"),
        (("--tune", "0"), "TuneConfig.trials is 0; it must be at least 1"),
    ],
)
def test_mistakes(call, folder: Path, words: tuple[str, ...], message: str) -> None:
    done = call("prune", folder, NAME, *words)
    assert done.code == 2
    assert message in done.err


def test_complete(call, folder: Path) -> None:
    words = ("prune", folder, NAME, "--complete", *QUICK)
    row = call(*words, "--json").json["tasks"][0]
    assert (row["name"], row["state"], row["nodes"], row["edges"]) == (NAME, "complete", 3, 2)
    assert [one["nodes"] for one in row["circuits"]] == [3]
    assert 0.4 <= row["accuracy"] <= 0.6
    assert 0.4 <= row["refitted_accuracy"] <= 0.6
    for name in ("1", "union"):
        assert len(load_circuit(folder / "complete" / NAME / name)) == 3
    file = folder / "complete" / NAME / "result.json"
    written = file.stat().st_mtime_ns
    out = call(*words).out
    assert "complete" in out
    assert str(folder / "complete") in out
    assert file.stat().st_mtime_ns == written, "nothing is pruned again"
    call(*words, "--seed", "1")
    assert file.stat().st_mtime_ns != written


def test_complete_goes_with_no_other_mode() -> None:
    from sparsecircuits.cli.prune import Options

    with pytest.raises(ConfigError, match="--sweep and --complete"):
        Options(run="x", sweep=(0.1,), complete=True)
