"""Presets: what they set, how the twin differs, how the command and Python get them."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.data import DataConfig
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.presets import PRESETS, Preset, demo, demo_dense, get_preset
from sparsecircuits.train import RunConfig
from sparsecircuits.train.projection import check_feasible


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_trained_and_stored(name: str) -> None:
    preset = get_preset(name)
    assert PRESETS[name].about
    assert "\n" not in PRESETS[name].about
    assert Preset.from_dict(preset.to_dict()) == preset
    assert preset.run == RunConfig(model=preset.model, train=preset.train)
    with torch.device("meta"):  # the largest would take 6.5 GB
        check_feasible(SparseGPT(preset.model), preset.train)


def test_the_dense_twin_differs_in_density_and_rate_alone() -> None:
    sparse, dense = demo(), demo_dense()
    assert (sparse.data, sparse.model) == (dense.data, dense.model)
    before, after = sparse.train.to_dict(), dense.train.to_dict()
    assert {key for key in before if before[key] != after[key]} == {"lr", "density", "embed_density"}
    assert (dense.train.density, dense.train.embed_density) == (1.0, 1.0)


def test_unknown_preset_names_the_near_miss() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'dmo'; did you mean 'demo'"):
        get_preset("dmo")


def test_the_list_has_ours_the_ablations_and_the_family() -> None:
    kinds = [name.partition("/")[0] for name in PRESETS]
    # 23 combinations can be, and 5 have a short name.
    assert (kinds.count("ablate"), kinds.count("paper"), len(kinds)) == (41, 28, 5 + 41 + 28)


def test_what_the_family_lacks_says_why() -> None:
    with pytest.raises(ConfigError, match="preset 'paper/16x-0.9M': 4 nonzero weights for each neuron"):
        get_preset("paper/16x-0.9M")


def test_model_and_tokenizer_have_one_vocabulary() -> None:
    with pytest.raises(ConfigError, match="model.vocab_size is 300, data.vocab_size is 512"):
        Preset(model=GPTConfig(vocab_size=300), data=DataConfig(vocab_size=512))
