import json
from pathlib import Path

import pytest

from sparsecircuits.data.manifest import FORMAT, Amount, DataConfig, Manifest, SourceRecord, read_manifest
from sparsecircuits.errors import ConfigError, DataError


def manifest() -> Manifest:
    return Manifest(
        format=FORMAT,
        config=DataConfig(mix={"idioms": 1.0}),
        vocab_size=300,
        tokenizer_hash="0" * 64,
        dtype="uint16",
        tokens={"train": 10, "val": 5},
        fingerprint="",
        sources={
            "idioms": SourceRecord(train=Amount(documents=1, chars=30, tokens=10), skipped_named=("a: b",))
        },
        files={},
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mix": {}}, "mix is empty"),
        ({"mix": {"idioms": 0.0}}, "the weight of 'idioms' is 0.0; it must be above 0"),
        ({"mix": {"idioms": float("nan")}}, "must be finite"),
        ({"vocab_size": 256}, "vocab_size is 256; the minimum is 257"),
        ({"train_tokens": 0}, "train_tokens is 0; the minimum is 1"),
        ({"val_tokens": -1}, "val_tokens is -1; the minimum is 0"),
        ({"seed": -1}, "seed is -1; the minimum is 0"),
    ],
)
def test_wrong_configs_are_refused(changes: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        DataConfig(**changes)


def test_the_manifest_comes_back_from_json(tmp_path: Path):
    path = tmp_path / "manifest.json"
    manifest().to_json(path)
    assert read_manifest(path) == manifest()


def test_damage_is_named(tmp_path: Path):
    path = tmp_path / "manifest.json"
    with pytest.raises(DataError, match=r"manifest\.json: missing; not a corpus"):
        read_manifest(path)
    path.write_text('{"format": 1')
    with pytest.raises(DataError, match=r"manifest\.json: damaged"):
        read_manifest(path)
    path.write_text('{"format": 1}')
    with pytest.raises(DataError, match=r"^\S+manifest\.json: damaged: missing key 'config'"):
        read_manifest(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"manifest\.json: damaged"):
        read_manifest(path)


@pytest.mark.parametrize(("key", "value"), [("format", 99), ("dtype", "int7")])
def test_another_format_is_refused(tmp_path: Path, key: str, value: object):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest().to_dict() | {key: value}))
    with pytest.raises(DataError, match=f"{key} .*{value}"):
        read_manifest(path)
