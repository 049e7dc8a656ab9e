"""A saved circuit in another process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sparsecircuits.circuit import save_circuit
from sparsecircuits.prune.splits import Splits
from sparsecircuits.tasks.score import pair_logits, score
from sparsecircuits.validate.planted.pruners import SETTINGS
from sparsecircuits.validate.replay import replay
from tests.validate.subjects import subject


def test_the_same_files_give_the_same_loss(tmp_path: Path) -> None:
    whole = subject("bigram")
    pairs = Splits.draw(whole.task, whole.tokenizer, SETTINGS, whole.model.config.n_ctx).heldout
    with whole.circuit.installed(whole.model):
        loss = score(pair_logits(whole.model, pairs), pairs, whole.circuit.calibration).loss
    info = {"loss": loss, "config": SETTINGS.to_dict()}
    circuit = dataclasses.replace(whole.circuit, info=info)
    outcome = replay(whole.about(circuit))
    assert outcome.passed
    assert (outcome.estimate or 0) <= 1e-6
    assert outcome.figures["prompts_equal"]
    assert outcome.figures["loss_there"]["stated"] == pytest.approx(loss, abs=1e-6)


def test_files_that_lack_something_are_found_out(tmp_path: Path) -> None:
    """The saved circuit has another frozen value, and states a loss that is not its own."""
    whole = subject("bigram")
    node = min(whole.circuit.nodes)
    save_circuit(whole.circuit.without([node]), tmp_path / "other")
    outcome = replay(whole, circuit=tmp_path / "other")
    assert not outcome.passed
    assert (outcome.estimate or 0) > 0.01
    wrong = dataclasses.replace(whole.circuit, info={"loss": 0.5, "config": SETTINGS.to_dict()})
    outcome = replay(whole.about(wrong))
    assert not outcome.passed
    assert outcome.estimate == pytest.approx(0.5, abs=0.01)


def test_damaged_files_fail_and_say_why(tmp_path: Path) -> None:
    whole = subject("bigram")
    save_circuit(whole.circuit, tmp_path / "broken")
    (tmp_path / "broken" / "circuit.json").write_text("{}")
    outcome = replay(whole, circuit=tmp_path / "broken")
    assert outcome.passed is False
    assert "a new process cannot run it" in outcome.note
    assert "circuit.json" in outcome.note
