"""Saved circuits come back whole, in another process too, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsecircuits.circuit import Circuit, load_circuit, model_hash, save_circuit
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import Node
from sparsecircuits.prune import pretraining_means
from sparsecircuits.tasks.loss import task_loss
from tests.circuit import toy
from tests.prune import planted

NAMES = ("0.attn.v.3", "0.mlp.post_act.7", "1.mlp.act_in.2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_circuit(toy.circuit(*NAMES, scale=1.75), tmp_path / "circuit")
    return tmp_path / "circuit"


def test_round_trip(folder: Path):
    loaded, saved = load_circuit(folder), toy.circuit(*NAMES, scale=1.75)
    assert loaded.nodes == saved.nodes
    assert (loaded.task, loaded.scale, loaded.info) == ("toy", 1.75, {"seed": 3})
    assert loaded.frozen.keys() == saved.frozen.keys()
    assert all(torch.equal(loaded.frozen[name], values) for name, values in saved.frozen.items())
    model = toy.model()
    assert torch.equal(loaded.logits(model, toy.TOKENS), saved.logits(model, toy.TOKENS))


def test_saving_twice_gives_the_same_bytes_and_leaves_nothing_else(folder: Path, tmp_path: Path):
    save_circuit(load_circuit(folder), tmp_path / "again")
    for name in ("circuit.json", "circuit.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["circuit.json", "circuit.safetensors"]


def test_the_json_is_for_people(folder: Path):
    data = json.loads((folder / "circuit.json").read_text())
    assert data["nodes"] == list(NAMES)
    assert (data["format"], data["format_version"]) == ("sparsecircuits.circuit", 1)
    assert data["loss_convention"] == "mean of the two sides"


def test_nothing_there(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"none: no circuit here: it holds no circuit\.json$"):
        load_circuit(tmp_path / "none")


@pytest.mark.parametrize("keep", [0, 1, 50, 200, -3])
def test_a_truncated_json_is_named(folder: Path, keep: int):
    path = folder / "circuit.json"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"circuit\.json"):
        load_circuit(folder)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("format", "sparsecircuits.model", "not ours"),
        ("format_version", 3, "not ours"),
        ("nodes", ["0.attn.w.3"], "no site"),
        ("nodes", ["0.attn.v"], "not a node"),
        ("nodes", [3], "damaged"),
        ("nodes", None, "damaged"),
        ("nodes", ["0.attn.v.8"], r"0\.attn\.v\.8 does not exist"),
        ("nodes", ["2.attn.v.0"], r"no frozen values for site 2\.attn\.v"),
        ("scale", -1.75, "positive"),
        ("scale", 0, "positive"),
        ("scale", float("nan"), "positive"),
        ("scale", "large", "damaged"),
        ("info", 3, "damaged"),
        ("values_sha256", "0" * 64, "does not match"),
    ],
)
def test_a_damaged_entry_is_named_with_its_file(folder: Path, key: str, value: Any, why: str):
    path = folder / "circuit.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(CheckpointError, match=rf"circuit\.(json|safetensors): .*{why}"):
        load_circuit(folder)


@pytest.mark.parametrize("key", ["format", "task", "nodes", "scale", "info", "values_sha256"])
def test_a_missing_entry_is_named(folder: Path, key: str):
    path = folder / "circuit.json"
    data = json.loads(path.read_text())
    del data[key]
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=rf"circuit\.json.*{key}"):
        load_circuit(folder)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"circuit"'])
def test_json_of_another_kind(folder: Path, text: str):
    (folder / "circuit.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"circuit\.json"):
        load_circuit(folder)


def test_a_run_taken_for_a_circuit_names_its_circuits(folder: Path, tmp_path: Path):
    run = tmp_path / "run"
    for name in ("quote", "bracket"):
        shutil.copytree(folder, run / "circuits" / name)
    for taken in (run, run / "circuits"):
        with pytest.raises(CheckpointError, match=r"no circuit\.json\b.*circuits: bracket, quote$"):
            load_circuit(taken)


def test_missing_values(folder: Path):
    (folder / "circuit.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"circuit\.safetensors: missing"):
        load_circuit(folder)


@pytest.mark.parametrize("offset", [0, 8, 100, 700, -1])
def test_one_flipped_bit_among_the_values(folder: Path, offset: int):
    path = folder / "circuit.safetensors"
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"circuit\.safetensors.*does not match"):
        load_circuit(folder)


def test_values_of_another_circuit(folder: Path, tmp_path: Path):
    other = toy.circuit(*NAMES).with_frozen(next(iter(toy.nodes("0.attn.q.0"))), 0.0)
    save_circuit(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "circuit.safetensors", folder)
    with pytest.raises(CheckpointError, match=r"circuit\.safetensors.*does not match"):
        load_circuit(folder)


def test_values_that_are_no_safetensors_at_all(folder: Path):
    path = folder / "circuit.json"
    (folder / "circuit.safetensors").write_bytes(b"nothing")
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "values_sha256": hashlib.sha256(b"nothing").hexdigest()}))
    with pytest.raises(CheckpointError, match=r"circuit\.safetensors"):
        load_circuit(folder)


def test_values_without_a_site_of_the_model_do_not_run(tmp_path: Path):
    frozen = toy.values()
    del frozen["1.attn.k"]
    save_circuit(Circuit("toy", toy.nodes(*NAMES), frozen), tmp_path)
    with pytest.raises(CheckpointError, match=r"1\.attn\.k"), load_circuit(tmp_path).installed(toy.model()):
        pass


def test_model_hash_sees_every_weight_and_nothing_else():
    model = toy.model()
    assert model_hash(model) == model_hash(toy.model())
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-6
    assert model_hash(model) != model_hash(toy.model())


def test_a_saved_circuit_replays_in_a_new_process(tmp_path: Path):
    tokenizer = planted.byte_tokenizer()
    model = planted.attention_model(tokenizer)
    means = pretraining_means(model, planted.corpus(tokenizer), count=512)
    circuit = Circuit("string_closing", planted.ATTENTION_CIRCUIT, means, scale=0.05)
    pairs = planted.STRING_CLOSING.pairs(tokenizer, "heldout", 16)
    loss = float(task_loss(circuit.logits(model, pairs.tokens, pairs.last), pairs).mean())
    assert 0.01 < loss < 0.6  # at this scale the circuit is neither sure nor at a loss
    model.save_pretrained(tmp_path / "model")
    save_circuit(circuit, tmp_path / "circuit")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sparsecircuits.circuit import load_circuit\n"
        "from sparsecircuits.model import SparseGPT\n"
        "from sparsecircuits.tasks.loss import task_loss\n"
        "from tests.prune import planted\n"
        "folder = Path(sys.argv[1])\n"
        "model, circuit = SparseGPT.from_pretrained(folder / 'model'), load_circuit(folder / 'circuit')\n"
        "pairs = planted.STRING_CLOSING.pairs(planted.byte_tokenizer(), 'heldout', 16)\n"
        "loss = task_loss(circuit.logits(model, pairs.tokens, pairs.last), pairs).mean()\n"
        "sys.stdout.write(float(loss).hex())\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == loss.hex()


def edited() -> Circuit:
    """With all that a circuit can have."""
    source, target = Node.parse("0.attn.v.3"), Node.parse("0.attn.resid_delta.1")
    circuit = toy.circuit(*NAMES, str(target), scale=1.75).cutting([(source, target)])
    return dataclasses.replace(circuit.rescaled(source, 1 / 3), bias=-0.1)


def test_cuts_gains_and_bias_come_back(tmp_path: Path):
    save_circuit(edited(), tmp_path / "circuit")
    loaded = load_circuit(tmp_path / "circuit")
    assert loaded.equals(edited())
    model = toy.model()
    assert torch.equal(loaded.logits(model, toy.TOKENS), edited().logits(model, toy.TOKENS))
    data = json.loads((tmp_path / "circuit" / "circuit.json").read_text())
    assert data["cut"] == [["0.attn.v.3", "0.attn.resid_delta.1"]]
    assert (data["gain"], data["bias"], data["format_version"]) == ({"0.attn.v.3": 1 / 3}, -0.1, 2)


def test_a_circuit_without_them_is_written_as_before(folder: Path):
    """Earlier releases would pass over what they do not know, so only a circuit that has it is version 2."""
    data = json.loads((folder / "circuit.json").read_text())
    assert data["format_version"] == 1
    assert not {"cut", "gain", "bias"} & data.keys()


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("cut", [["0.attn.v.3"]], "damaged"),
        ("cut", [["0.attn.v.3", "0.attn.q.1"]], "no weight joins"),
        ("cut", [["0.attn.v.4", "0.attn.resid_delta.1"]], "which it lacks"),
        ("cut", [], "its own hash"),
        ("cut", 3, "damaged"),
        ("gain", {"0.attn.v": 2}, "not a node"),
        ("gain", {"0.attn.v.4": 2}, "which it lacks"),
        ("gain", {"0.attn.v.3": "much"}, "damaged"),
        ("gain", {"0.attn.v.3": float("inf")}, "finite"),
        ("gain", [], "damaged"),
        ("gain", {"0.attn.v.3": 2}, "its own hash"),
        ("bias", float("nan"), "finite"),
        ("bias", 0.2, "its own hash"),
    ],
)
def test_damaged_cuts_gains_and_bias_are_named(tmp_path: Path, key: str, value: Any, why: str):
    save_circuit(edited(), tmp_path)
    path = tmp_path / "circuit.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(CheckpointError, match=rf"circuit\.json: .*{why}"):
        load_circuit(tmp_path)
