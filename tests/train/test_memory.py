"""What a run needs at least, and a batch in smaller pieces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError, OutOfMemory
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.train import Machine, RunConfig, load_run, train
from sparsecircuits.train.adam import Adam
from sparsecircuits.train.memory import require_memory
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.step import train_step

SHAPES: list[dict[str, Any]] = [
    {},
    {"positions": "concat", "d_pos": 3, "n_layer": 2},
    {"positions": "learned", "sink": False, "bias": False, "bigram": False},
    {"n_head": 3, "d_mlp": 5},
]


@pytest.mark.parametrize("changes", SHAPES)
def test_weights_are_counted_without_a_model(changes: dict[str, Any], config: RunConfig):
    shape = GPTConfig.from_dict({**config.model.to_dict(), **changes})
    assert shape.weight_count == sum(p.numel() for p in SparseGPT(shape).parameters())


def test_a_giant_is_refused_before_anything_is_there(config: RunConfig, corpus: Corpus, tmp_path: Path):
    giant = config.replace(model=config.model.replace(d_model=2**30))
    with pytest.raises(
        ConfigError, match=r"a model of [\d,]{20,} weights \(model\.d_model = 1073741824\) takes"
    ):
        train(giant, corpus, tmp_path / "run")
    with pytest.raises(ConfigError, match="a batch of 1099511627776 rows of 9 tokens takes"):
        require_memory(config.replace(train=config.train.replace(rows=2**40)))
    assert not (tmp_path / "run").exists()


def fails_above(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with room for so many rows."""
    real = SparseGPT.loss

    def loss(self: SparseGPT, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if len(tokens) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, tokens, targets)

    monkeypatch.setattr(SparseGPT, "loss", loss)


def test_halved_pieces_add_up_to_the_same_gradients(config: RunConfig, monkeypatch: pytest.MonkeyPatch):
    tokens = torch.randint(0, 300, (8, 9), generator=torch.Generator().manual_seed(3))
    gradients = []
    for room in (8, 2):
        model = SparseGPT(config.model)
        optimizer = SparseOptimizer(model, config.train)
        kept: dict[str, torch.Tensor] = {}

        def keep(self: SparseOptimizer, step: int, kept: dict[str, torch.Tensor] = kept) -> float:
            kept.update({n: p.grad.clone() for n, p in zip(self.names, self.parameters, strict=True)})  # type: ignore[union-attr]
            return 0.0

        with monkeypatch.context() as patch:
            patch.setattr(SparseOptimizer, "step", keep)
            fails_above(room, patch)
            machine = Machine(out_of_memory="halve")
            if room == 2:
                with pytest.warns(
                    UserWarning, match="going on with 4 rows at once|going on with 2 rows at once"
                ):
                    seen = train_step(model, optimizer, tokens, 0, config.train, machine)
            else:
                seen = train_step(model, optimizer, tokens, 0, config.train, machine)
        assert seen.micro_rows == room
        gradients.append(kept)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=0, atol=1e-6)


def test_without_leave_it_stops_with_the_bytes_and_the_knob(
    config: RunConfig, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    message = r"training, step 1, 2 rows at once, with 2,147,483,648 bytes asked for; .* \(--micro-rows\)"
    with monkeypatch.context() as patch:
        fails_above(1, patch)
        with pytest.raises(OutOfMemory, match=message):
            train(config, corpus, tmp_path / "run")
    assert load_run(tmp_path / "run").metrics() == []
    train(config, corpus, tmp_path / "run", machine=Machine(micro_rows=1))


def test_no_room_for_moments_or_for_the_model_is_told_with_what_takes_less(
    config: RunConfig, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    knob = r", with 2,147,483,648 bytes asked for; less is taken by a smaller model\.d_model"
    for owner, name, doing in (
        (Adam, "step", "the optimizer, step 1"),
        (SparseGPT, "to", "moving the model to cpu"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            with pytest.raises(OutOfMemory, match=doing + knob):
                train(config, corpus, tmp_path / name)
