"""Saved circuits are used if they are what would be found again; else the reason why not is given."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sparsecircuits.circuit import save_circuit
from sparsecircuits.errors import PruneError
from sparsecircuits.study.pruning import Loaded, RunPruner
from sparsecircuits.tasks import TASKS
from sparsecircuits.train import Run
from tests.prune import planted
from tests.prune.planted import SETTINGS, STRING_CLOSING

NAME = STRING_CLOSING.name


@pytest.fixture(scope="module", autouse=True)
def the_task() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, NAME, STRING_CLOSING)
        yield


@pytest.fixture(scope="module")
def unpruned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run around the planted model."""
    return planted.planted_run(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def pruned_once(unpruned: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[int]]:
    """The run with its circuit, and the steps that a watcher heard of."""
    run = Run.open(shutil.copytree(unpruned.folder, tmp_path_factory.mktemp("pruned") / "run"))
    steps: list[int] = []
    RunPruner(run, SETTINGS).prune(STRING_CLOSING, lambda done, loss, nodes: steps.append(done))
    return run, steps


@pytest.fixture
def pruned(pruned_once: tuple[Run, list[int]], tmp_path: Path) -> Run:
    """A copy to write into."""
    return Run.open(shutil.copytree(pruned_once[0].folder, tmp_path / "run"))


def test_a_watcher_hears_of_steps_then_of_nodes(unpruned: Run, tmp_path: Path) -> None:
    run, told = Run.open(shutil.copytree(unpruned.folder, tmp_path / "run")), []
    RunPruner(run, SETTINGS).prune(STRING_CLOSING, lambda done, loss, nodes: told.append((done, nodes)))
    steps = [done for done, nodes in told if nodes is None]
    assert steps[: SETTINGS.steps] == list(range(1, SETTINGS.steps + 1))
    assert told[-1] == (SETTINGS.steps, 3)  # the planted circuit is the last that holds


def test_nothing_there(unpruned: Run) -> None:
    assert RunPruner(unpruned, SETTINGS).load(STRING_CLOSING) == Loaded(None, None)


def test_an_equal_one_is_loaded(pruned: Run) -> None:
    """Equal too if it is the model's context that limits the prompts: 16 tokens, of 64 that were allowed."""
    for config in (SETTINGS, SETTINGS.replace(max_tokens=16)):
        circuit, why = RunPruner(pruned, config).load(STRING_CLOSING)
        assert why is None
        assert circuit is not None
        assert circuit.nodes == planted.ATTENTION_CIRCUIT
        assert circuit.info["necessity"]["accuracy"] == 0.5  # nothing else tells the quotes apart
        assert circuit.info["config"]["max_tokens"] == 16


def test_pruning_again_gives_the_same(pruned: Run, pruned_once: tuple[Run, list[int]]) -> None:
    pruner = RunPruner(pruned, SETTINGS)
    before = pruner.load(STRING_CLOSING).circuit
    pruner.prune(STRING_CLOSING, lambda done, loss, nodes: None)
    again = pruner.load(STRING_CLOSING).circuit
    assert before is not None
    assert again is not None
    assert (again.nodes, again.scale, again.info) == (before.nodes, before.scale, before.info)
    assert all(torch.equal(again.frozen[site], values) for site, values in before.frozen.items())


def test_the_watcher_hears_every_mask_step(pruned_once: tuple[Run, list[int]]) -> None:
    steps = pruned_once[1]
    assert steps == sorted(steps)
    assert sorted(set(steps)) == list(range(1, SETTINGS.steps + 1))


def test_other_settings(pruned: Run) -> None:
    found = RunPruner(pruned, SETTINGS.replace(seed=1)).load(STRING_CLOSING)
    assert found == Loaded(None, "the circuit there had other settings")


def test_another_model(pruned: Run) -> None:
    pruned.finish(planted.neuron_model(pruned.tokenizer()), pruned.result() or {})
    assert RunPruner(pruned, SETTINGS).load(STRING_CLOSING) == Loaded(
        None, "the circuit there was of another model"
    )


def test_necessity_was_not_tested(pruned: Run) -> None:
    pruner = RunPruner(pruned, SETTINGS)
    circuit = pruner.load(STRING_CLOSING).circuit
    assert circuit is not None
    info = {key: value for key, value in circuit.info.items() if key != "necessity"}
    save_circuit(dataclasses.replace(circuit, info=info), pruned.circuits / NAME)
    assert pruner.load(STRING_CLOSING).circuit is None


@pytest.mark.parametrize("name", ["circuit.json", "circuit.safetensors"])
def test_damaged(pruned: Run, name: str) -> None:
    path = pruned.circuits / NAME / name
    path.write_bytes(path.read_bytes()[:-9])
    circuit, why = RunPruner(pruned, SETTINGS).load(STRING_CLOSING)
    assert circuit is None
    assert why is not None
    assert why.startswith(str(path))


def test_settings_of_another_release(pruned: Run) -> None:
    """A circuit that is whole, found with a knob that is no more."""
    pruner = RunPruner(pruned, SETTINGS)
    circuit = pruner.load(STRING_CLOSING).circuit
    assert circuit is not None
    info = {**circuit.info, "config": {**circuit.info["config"], "luck": 1}}
    save_circuit(dataclasses.replace(circuit, info=info), pruned.circuits / NAME)
    why = pruner.load(STRING_CLOSING).why
    assert why is not None
    assert "unknown key 'luck'" in why


def test_a_model_that_cannot_leaves_nothing(unpruned: Run, tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(unpruned.folder, tmp_path / "run"))
    run.finish(planted.refusing_model(run.tokenizer()), run.result() or {})
    with pytest.raises(PruneError, match="the full model's own loss is 0.693"):
        RunPruner(run, SETTINGS).prune(STRING_CLOSING, lambda done, loss, nodes: None)
    assert not run.circuits.exists()
