"""Ablations: each changes what it says of demo, nothing else, and can be trained."""

from __future__ import annotations

import pytest

from sparsecircuits.cli.settings import flat
from sparsecircuits.errors import ConfigError
from sparsecircuits.presets import PRESETS, demo
from sparsecircuits.recipes.ablation import BASELINE, NOT_STATED, Ablation
from sparsecircuits.recipes.ablations import ABLATIONS, ablation


@pytest.mark.parametrize("entry", ABLATIONS, ids=lambda entry: entry.name)
def test_it_changes_what_it_says_and_nothing_else(entry: Ablation) -> None:
    before, after = dict(flat(demo())), dict(flat(PRESETS[f"ablate/{entry.name}"].build()))
    assert {key: after[key] for key in before if before[key] != after[key]} == dict(entry.changes)


def test_a_change_of_no_field_is_an_error() -> None:
    assert demo().changed({"train.lr": 0.5}).train.lr == 0.5
    for key, hint in (
        ("trian.lr", r"train\.lr"),
        ("train.lrr", r"train\.lr"),
        ("lr", ""),
        ("trainer.lr", ""),
    ):
        with pytest.raises(ConfigError, match=rf"no field '{key}' to change.*{hint}"):
            demo().changed({key: 0.5})


def test_names_are_unique_and_findings_are_whole() -> None:
    names = [entry.name for entry in (BASELINE, *ABLATIONS)]
    assert len(set(names)) == len(names) == 42
    assert BASELINE.preset == demo()
    for entry in ABLATIONS:
        assert entry.source.startswith(("Fig", "§"))
        assert entry.found
        assert entry.against in ("", *names)
        assert not (entry.expected and entry.found == NOT_STATED), entry.name


def test_a_rate_is_a_factor() -> None:
    assert ablation("eps_1").at_rate(3.0).train.lr == pytest.approx(0.09)


def test_l0_stays_where_the_width_changes() -> None:
    # 12 d_model² weights a layer: 12 x 128² / 32 = 12 x 256² / 128 = 12 x 64² / 8, and embeddings likewise.
    for name in ("width_half", "width_double"):
        preset = ablation(name).preset
        width, recipe = preset.model.d_model, preset.train
        assert 12 * width**2 * recipe.density == 6144
        assert recipe.embed_density is not None
        assert width * recipe.embed_density == pytest.approx(128 / 48)


def test_an_unknown_one_names_the_near_miss() -> None:
    with pytest.raises(ConfigError, match="unknown ablation 'no_aneal'; did you mean 'no_anneal'"):
        ablation("no_aneal")
