"""The page on training names every setting of the recipe and every key of the metrics."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sparsecircuits.data.shards import Corpus
from sparsecircuits.train import RunConfig, TrainConfig, load_run, train
from sparsecircuits.train.run import TIMING

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TrainConfig)])
def test_every_setting_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_every_key_of_the_metrics_is_on_the_page(config: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    recipe = TrainConfig.from_dict({**config.train.to_dict(), "revive": "leak"})
    train(config.replace(train=recipe), corpus, tmp_path / "run")
    keys = {key for row in load_run(tmp_path / "run").metrics() for key in row}
    assert {*TIMING, "revived", "val_loss"} <= keys
    assert sorted(key for key in keys if f"`{key}`" not in PAGE) == []
