"""What goes along and what stays; and how damage is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsecircuits.errors import CheckpointError
from sparsecircuits.interop import files

#: All that a run may hold, and more.
GOES = (
    "run.json",
    "tokenizer.json",
    "result.json",
    "tasks.json",
    "metrics.jsonl",
    "model/config.json",
    "model/model.safetensors",
    "circuits/one/circuit.json",
    "circuits/one/circuit.safetensors",
    "circuits/one/card.json",
    "tasks/own.jsonl",
    "tasks/other.yaml",
)
CHECKPOINT = ("checkpoints/step_2/model.safetensors", "checkpoints/step_2/state.json")
STAYS = (
    "README.md",
    "data/train.bin",
    "data/manifest.json",
    "tasks/code.py",
    "model/model.bin",
    "model/extra.json",
    "notes.txt",
    "circuits/one/page.json",
    "circuits/one/deeper/circuit.json",
    "checkpoints/step_2/state.pt",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*GOES, *CHECKPOINT, *STAYS):
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n')
    (tmp_path / "run" / "run.json").write_text('{"corpus": "../../home/secret/data", "version": 1}')
    return tmp_path / "run"


def found(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("checkpoints", [False, True])
def test_only_what_is_listed_goes(folder: Path, tmp_path: Path, checkpoints: bool) -> None:
    files.copy_run(folder, tmp_path / "copy", checkpoints=checkpoints)
    assert found(tmp_path / "copy") == {*GOES, *(CHECKPOINT if checkpoints else ())}
    assert json.loads((tmp_path / "copy" / "run.json").read_text()) == {"corpus": "data", "version": 1}
    assert (tmp_path / "copy" / "model" / "model.safetensors").read_text() == "model/model.safetensors"


def test_a_bridge_goes_along_and_no_path_to_its_dense_model(folder: Path, tmp_path: Path) -> None:
    header = {"corpus": "data", "beside": {"source": "../../home/secret/dense", "sha256": "abc"}}
    (folder / "run.json").write_text(json.dumps(header))
    own = (
        "model/bridge.safetensors",
        "bridge/report.json",
        "bridge/steering/one.json",
        "bridge/transfer/one.json",
    )
    for name in (*own, "bridge/report.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    files.copy_run(folder, tmp_path / "copy")
    assert set(own) < found(tmp_path / "copy")
    assert "bridge/report.png" not in found(tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "run.json").read_text())["beside"] == {
        "source": "dense",
        "sha256": "abc",
    }


def test_an_events_error_stays_here(folder: Path, tmp_path: Path) -> None:
    """It names a folder; the figures go as they are, and a last line that a kill cut off does not."""
    lines = (
        '{"step": 1, "loss": "nan"}\n',
        '{"event": "save_failed", "step": 2, "error": "/home/secret/run: not saved: no space"}\n',
        '{"event": "diverged", "step": 3, "tensor": "wte"}\n',
    )
    (folder / "metrics.jsonl").write_text("".join(lines) + '{"event": "save_f')
    files.copy_run(folder, tmp_path / "copy")
    told = (tmp_path / "copy" / "metrics.jsonl").read_text()
    assert told == lines[0] + '{"event": "save_failed", "step": 2}\n' + lines[2]


def test_patterns_are_as_deep_as_they_say() -> None:
    assert all(files.is_listed(name, files.patterns()) for name in GOES)
    assert not any(files.is_listed(name, files.patterns()) for name in (*CHECKPOINT, *STAYS[1:]))
    assert not files.is_listed("../run.json", files.patterns())
    assert all(files.is_listed(name, files.patterns(checkpoints=True)) for name in CHECKPOINT)


def test_damage_is_named(folder: Path) -> None:
    names = files.write_list(folder)
    assert names[-1] == "files.json"
    assert set(names) == found(folder)
    files.check_list(folder, files.patterns())
    (folder / "README.md").write_text("edited, as cards are")
    (folder / "notes.txt").unlink()  # not asked for
    files.check_list(folder, files.patterns())
    (folder / "model" / "model.safetensors").write_text("model/model.safetensorz")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged: sha256 .*files\.json says"):
        files.check_list(folder, files.patterns())
    (folder / "model" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: missing"):
        files.check_list(folder, files.patterns())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged: "),
        ("[]", "damaged: "),
        ('{"format": "else", "version": 1, "files": {}}', "not a list of files of this release"),
        ('{"format": "sparsecircuits.files", "version": 1, "files": {"run.json": {}}}', "damaged: .*bytes"),
    ],
)
def test_a_damaged_list(folder: Path, text: str, message: str) -> None:
    (folder / "files.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"files\.json: {message}"):
        files.check_list(folder, files.patterns())


def test_a_copy_is_there_whole_or_not_at_all(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.copy_fetched(folder, tmp_path / "deep" / "mine")
    assert found(tmp_path / "deep" / "mine") == {*GOES, "README.md"}

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(files.shutil, "copyfile", full)
    with pytest.raises(OSError, match="no space left"):
        files.copy_fetched(folder, tmp_path / "deep" / "other")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["mine"]
