"""The bundled runs: whole, small, true to their READMEs, and the circuits do what their files say."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from sparsecircuits import load_circuit, load_run
from sparsecircuits.circuit import model_hash
from sparsecircuits.errors import CheckpointError, DataError
from sparsecircuits.examples import EXAMPLE, EXAMPLES, example_folder, example_name
from sparsecircuits.examples.bundle import bundle
from sparsecircuits.model import SparseGPT
from sparsecircuits.presets import get_preset
from sparsecircuits.prune import PruneConfig
from sparsecircuits.tasks import get_task
from sparsecircuits.tasks.evaluate import evaluate_task
from sparsecircuits.tasks.score import Calibration, pair_logits, score
from sparsecircuits.train import Run

TASKS = sorted(path.name for path in (example_folder() / "circuits").iterdir())
README = (example_folder() / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run() -> Run:
    return load_run(example_folder())


@pytest.fixture(scope="module")
def model(run: Run) -> SparseGPT:
    return run.model()


def test_it_is_small_and_of_known_parts():
    files = {path.relative_to(example_folder()).as_posix() for path in example_folder().rglob("*.*")}
    circuits = {f"circuits/{task}/circuit.{end}" for task in TASKS for end in ("json", "safetensors")}
    assert files == {
        *("README.md", "run.json", "result.json", "tokenizer.json", "model/config.json"),
        *("model/model.safetensors", *circuits),
    }
    assert 3 <= len(TASKS) <= 7
    # 4 MiB are the bigram table of 1024 x 1024, which is dense.
    assert sum((example_folder() / name).stat().st_size for name in files) < 4.5 * 2**20


def test_the_sparse_matrices_are_stored_sparse(run: Run, model: SparseGPT):
    matrices = [
        tensor for name, tensor in model.named_parameters() if tensor.ndim == 2 and "bigram" not in name
    ]
    dense = sum(tensor.numel() * 4 for tensor in matrices)
    file = (run.folder / "model" / "model.safetensors").stat().st_size
    assert dense > 10 * (file - 4 * 1024**2)  # the rest of the file, biases, norms and header with it


def test_no_path_of_a_machine(run: Run):
    assert run.corpus_folder == (example_folder() / "data").resolve()
    for path in (*example_folder().rglob("*.json"), *example_folder().rglob("*.md")):
        assert not re.search(r"/(home|tmp|root|Users)/", path.read_text(encoding="utf-8")), path


def test_the_readme_speaks_of_these_files(run: Run, model: SparseGPT):
    weights = (run.folder / "model" / "model.safetensors").read_bytes()
    result = run.result()
    assert result is not None
    assert f"SHA-256 of the weights (`circuit.model_hash`) | `{model_hash(model)}`" in README
    assert f"SHA-256 of `model/model.safetensors` | `{hashlib.sha256(weights).hexdigest()}`" in README
    assert f"validation loss | {result['val_loss']:.4f} nats per token" in README
    assert f"seed | {run.config.train.seed}" in README
    assert sorted(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) == TASKS


def test_the_small_one_is_of_its_preset_and_its_readme_speaks_of_it():
    run = load_run(example_folder("example-small"))
    readme = (run.folder / "README.md").read_text(encoding="utf-8")
    weights = (run.folder / "model" / "model.safetensors").read_bytes()
    assert run.config == get_preset("small").run
    assert f"(`circuit.model_hash`) | `{model_hash(run.model())}`" in readme
    assert f"SHA-256 of `model/model.safetensors` | `{hashlib.sha256(weights).hexdigest()}`" in readme
    assert "sparsecircuits train NAME --preset small --set train.seed=0" in readme
    assert len(weights) < 4.5 * 2**20


@pytest.mark.parametrize("task", ["var_swap", "class_init", "single_double_quote", "enumerate_range"])
def test_the_small_one_copies_and_closes_strings(task: str):
    run = load_run(example_folder("example-small"))
    found = evaluate_task(run.model(), get_task(task), run.tokenizer(), pairs=64)
    assert found.done
    assert found.gap is not None
    assert found.gap <= 0.05


@pytest.mark.parametrize("task", TASKS)
def test_a_circuit_does_what_its_file_says(task: str, run: Run, model: SparseGPT):
    circuit = load_circuit(run.circuits / task)
    assert circuit.info["model_sha256"] == model_hash(model)
    config = PruneConfig.from_dict(circuit.info["config"])
    pairs = get_task(task).pairs(
        run.tokenizer(), "heldout", config.heldout_pairs, seed=config.seed, max_tokens=config.max_tokens
    )
    assert pairs.hash == circuit.info["pairs_sha256"]["heldout"]
    with circuit.installed(model):
        found = score(pair_logits(model, pairs), pairs, Calibration(circuit.scale, 0.0))
    assert found.loss == pytest.approx(circuit.info["loss"], abs=1e-4)
    assert found.accuracy == pytest.approx(circuit.info["accuracy"], abs=2e-3)
    assert found.loss <= config.target
    assert (len(circuit), circuit.edge_count(model)) == (circuit.info["nodes"], circuit.info["edges"])


def test_its_corpus_is_not_there_and_the_readme_says_how_to_build_it(run: Run):
    with pytest.raises(DataError, match=r"the run's corpus is not at .*; .*README\.md says how to build it"):
        run.corpus()
    assert "sparsecircuits data --out mine/data --tokenizer mine/tokenizer.json" in README


def test_only_the_folder_itself_is_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(example_folder())
    assert example_name(".") == EXAMPLE
    assert example_name(example_folder("example-small")) == "example-small"
    assert example_name(example_folder() / "circuits") is None
    assert example_name(tmp_path) is None


def test_bundled_again_it_is_the_same(model: SparseGPT, tmp_path: Path):
    bundle(example_folder(), TASKS, target=tmp_path / "again")
    for path in example_folder().rglob("*.*"):
        # The README names the versions that made it; safetensors may come to pad its header otherwise.
        if path.name not in ("README.md", "model.safetensors"):
            found = (tmp_path / "again" / path.relative_to(example_folder())).read_bytes()
            hashed = re.compile(rb'"weights_sha256": "[0-9a-f]{64}"')
            assert hashed.sub(b"", found) == hashed.sub(b"", path.read_bytes()), path
    assert model_hash(load_run(tmp_path / "again").model()) == model_hash(model)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_weights_have_their_hash(name: str):
    folder = example_folder(name) / "model"
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))["weights_sha256"]
    assert stored == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_circuit_of_another_model_is_not_bundled(tmp_path: Path):
    own = Path(shutil.copytree(example_folder(), tmp_path / "own"))
    model = load_run(own).model()
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    model.save_pretrained(own / "model")
    with pytest.raises(CheckpointError, match="the circuit is of another model"):
        bundle(own, TASKS[:1], target=tmp_path / "again")
    assert not (tmp_path / "again").exists()
    assert json.loads((own / "run.json").read_text())["corpus"] == "data"
