"""Settings that cannot work are refused."""

from __future__ import annotations

from typing import Any

import pytest

from sparsecircuits.errors import ConfigError
from sparsecircuits.prune import PruneConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target", 0.0),
        ("target", float("nan")),
        ("penalties", ()),
        ("penalties", (8.0, -1.0)),
        ("steps", 0),
        ("pairs_per_step", 0),
        ("train_pairs", 0),
        ("selection_pairs", 0),
        ("validation_pairs", 0),
    ],
)
def test_impossible_values(name: str, value: Any):
    with pytest.raises(ConfigError, match=name):
        PruneConfig(**{name: value})


def test_goes_to_plain_data_and_back():
    config = PruneConfig(target=0.2, penalties=(1.0, 2.0))
    assert PruneConfig.from_dict(config.to_dict()) == config
