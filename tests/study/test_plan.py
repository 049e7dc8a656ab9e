"""One folder, one plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.data import DataConfig
from sparsecircuits.errors import ConfigError
from sparsecircuits.prune import PruneConfig
from sparsecircuits.study.plan import PLAN, DemoPlan, claim
from sparsecircuits.train import RunConfig

A_PLAN = DemoPlan(
    data=DataConfig(mix={"idioms": 0.95, "stdlib": 0.05}),
    sparse=RunConfig(),
    dense=RunConfig(),
    prune=PruneConfig(penalties=(7.0, 14.0)),
    tasks=("else_elif",),
)


def test_the_note_is_the_plan(tmp_path: Path) -> None:
    claim(A_PLAN, tmp_path / "new" / "demo")
    assert DemoPlan.from_json(tmp_path / "new" / "demo" / PLAN) == A_PLAN
    claim(A_PLAN, tmp_path / "new" / "demo")  # the same again


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"eval_pairs": 7}, "eval_pairs: 512 there, 7 here"),
        ({"prune": PruneConfig(penalties=(7.0,))}, "prune.penalties: (7.0, 14.0) there, (7.0,) here"),
        ({"data": DataConfig(mix={"idioms": 0.95})}, "data.mix.stdlib: 0.05 there, None here"),
        (
            {"sparse": RunConfig(train=RunConfig().train.replace(lr=0.5)), "tasks": ()},
            "sparse.train.lr: 0.0128 there, 0.5 here; tasks: ('else_elif',) there, () here",
        ),
    ],
)
def test_another_plan_is_refused_with_what_differs(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    claim(A_PLAN, tmp_path)
    before = (tmp_path / PLAN).read_bytes()
    with pytest.raises(ConfigError) as caught:
        claim(A_PLAN.replace(**changes), tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds the demo of another plan ({said}); choose another folder, or remove this one"
    )
    assert (tmp_path / PLAN).read_bytes() == before


def test_of_many_differences_five_are_named(tmp_path: Path) -> None:
    claim(A_PLAN, tmp_path)
    train = A_PLAN.dense.train.replace(steps=7, rows=7, seed=7, lr=0.7, eval_every=7, log_every=7)
    with pytest.raises(ConfigError, match=r"; dense.train.eval_every: 200 there, 7 here and 1 more\)"):
        claim(A_PLAN.replace(dense=RunConfig(train=train)), tmp_path)


def test_a_damaged_note_is_named(tmp_path: Path) -> None:
    (tmp_path / PLAN).write_text("{")
    with pytest.raises(ConfigError, match=rf"^{tmp_path / PLAN}: not a readable config"):
        claim(A_PLAN, tmp_path)
