"""The measuring script of speed: every part of a toy plan, and what the page says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import speed, speed_circuits, speed_trials
from benchmarks.ops_steps import Shape
from benchmarks.speed_dense import Sweep
from benchmarks.speed_plan import FULL, Plan, shapes
from benchmarks.speed_time import Rounds
from benchmarks.speed_trials import AMORTISED, EXACT, JUDGED, MAIN, Arm, Scale
from sparsecircuits.data import DataConfig, build_corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig
from sparsecircuits.prune import PruneConfig
from sparsecircuits.train import RunConfig, TrainConfig

RECIPE = TrainConfig(steps=12, rows=2, density=0.25, floor=0, eval_every=12, log_every=12)
CONFIG = RunConfig(model=GPTConfig(vocab_size=512, n_ctx=48, n_layer=1, d_model=16), train=RECIPE)


def wide(lr: float) -> Scale:
    config = CONFIG.replace(train=RECIPE.replace(lr=lr))
    return Scale("wide", config, (EXACT, AMORTISED, Arm(MAIN, equal="time")), keep=False)


SWEEP = Sweep(
    shapes=shapes(2, 48, ((16, 1),)), lengths=(4, 8), rates={"plain": 0.01, "twin": 0.01, "free": 0.01},
    most=2, sparse_lengths=(6,),
)  # fmt: skip
#: A target that any model meets, so that there are circuits.
EASY = PruneConfig(
    target=20.0, objective="task", steps=4, penalties=(1.0,), train_pairs=8, selection_pairs=8,
    validation_pairs=8, heldout_pairs=8, pairs_per_step=4, mean_tokens=256, evaluations=4,
)  # fmt: skip
PLAN = Plan(
    wide=wide, rates=(0.01, 0.02), look_steps=4,
    small=Scale("demo", CONFIG, (EXACT, JUDGED), keep=True), sweeps={"demo": SWEEP, "wide": SWEEP},
    goal=Shape(width=16, layers=1, batch=2, context=16, density=0.3, vocab=64),
    rounds=Rounds(cycles=1, points=1, dense=1, warmup=0), prune=EASY, tasks=("single_double_quote",),
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = DataConfig(mix={"idioms": 1.0}, vocab_size=512, train_tokens=20_000, val_tokens=2_000)
    return build_corpus(data, tmp_path_factory.mktemp("corpus")).folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page as it is, to work in; two seeds are enough."""
    page = speed.PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(speed_trials, "SEEDS", (0, 1))
    monkeypatch.chdir(tmp_path)
    for name in ("benchmarks.report.commit", "benchmarks.speed.commit"):
        monkeypatch.setattr(name, lambda: "0123456789")
    (tmp_path / "docs").mkdir()
    speed.PAGE.write_text(page, encoding="utf-8")
    return tmp_path


def test_every_part_of_a_toy_plan(corpus: Path, work: Path) -> None:
    runs = work / "runs"
    speed.run(PLAN, ["page"], None, runs, None, 1)
    nothing = speed.PAGE.read_text(encoding="utf-8")
    assert "**No times yet**" in nothing
    assert "12 of 12" not in nothing
    speed.run(PLAN, speed.PARTS, corpus, runs, None, 1)
    written = speed.PAGE.read_text(encoding="utf-8")
    assert "**No times yet**" not in written
    assert "**Not complete**" not in written
    for words in (
        "M = 10 | time |",
        "amortised, M = 100 |",
        "### The price of sparsity, the preset",
        "pairs | left out",
    ):
        assert words in written
    result = json.loads(speed.RESULT.read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in result["figures"]}
    assert rows["step, width 1024, 2 layers, 0.5%: naive / amortised, M = 10, candidates 1"]["goal"] == 7.0
    gpu = [row for row in result["figures"] if row["value"] is None]
    assert [row["goal"] for row in gpu] == [8.0, 10.0, 1.5, 2.0]
    # The means of the two seeds, from what training itself stored.
    losses = {arm: [json.loads((runs / "demo" / arm / f"seed{seed}" / "result.json").read_text())["val_loss"]
                    for seed in (0, 1)] for arm in ("exact", "m10_c1")}  # fmt: skip
    got = rows["the preset demo: loss of M = 10, candidates 1 over exact, equal tokens"]
    assert got["value"] == pytest.approx(sum(losses["m10_c1"]) / sum(losses["exact"]))
    assert got["goal"] == 1.01
    steps = json.loads((runs / "wide" / "equal_steps.json").read_text())["10"]
    timed = json.loads((runs / "wide" / "m10_time" / "seed0" / "result.json").read_text())
    assert timed["steps"] == steps
    for picture in (speed.PICTURE, speed.PRICE_PICTURE):
        assert picture.stat().st_size > 10_000
    # Nothing is done again, and what a model was trained for stays as it was.
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    speed.run(PLAN, ["wide", "demo", "circuits", "dense", "dense_wide"], corpus, runs, None, 1)
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == before


def test_models_that_lie_ready_are_taken_if_they_are_the_same(corpus: Path, work: Path) -> None:
    exact = next(speed_trials.trials(PLAN.small, None, work))
    speed_trials.train_all([exact], corpus, work, 1)
    ready = work / exact.name
    speed_trials.take(ready, exact, corpus, work / "other")
    there = json.loads((work / "other" / exact.name / "figures.json").read_text())
    assert there == json.loads((ready / "figures.json").read_text())
    speed_circuits.prune(work / "other" / exact.name, EASY, PLAN.tasks)  # which reads the corpus
    changed = speed_trials.Trial("changed", exact.config.replace(train=RECIPE.replace(lr=0.5)))
    with pytest.raises(ConfigError, match=r"train\.lr: 0\.0128 there, 0\.5 here"):
        speed_trials.take(ready, changed, corpus, work / "other")


def test_the_rate_is_the_best_of_the_short_trainings() -> None:
    looks = speed_trials.looks(wide, (0.01, 0.02, 0.04), 4)
    assert [trial.config.train.steps for trial in looks] == [4, 4, 4]
    names = [trial.name for trial in looks]
    found = {name: {"val_loss": loss} for name, loss in zip(names, (2.0, 1.9, None), strict=True)}
    assert speed_trials.chosen_rate(looks, found) == 0.02
    assert speed_trials.chosen_rate(looks, {names[0]: found[names[0]]}) is None
    with pytest.raises(ConfigError, match="diverged at all of the rates"):
        speed_trials.chosen_rate(looks, {name: {"val_loss": None} for name in names})


def test_the_order_of_work(work: Path) -> None:
    names = [trial.name for trial in speed_trials.trials(FULL.small, None, work)]
    assert names[:3] == ["demo/exact/seed0", "demo/exact/seed1", "demo/m10/seed0"]
    assert names[-1] == "demo/m10_c1/seed1"
    # Without times, none at equal time.
    assert len(list(speed_trials.trials(FULL.wide(0.02), None, work))) == 2 * 6


def test_some_arms_alone() -> None:
    plan = FULL.only(["exact", "m10_time"])
    assert [arm.name for arm in plan.small.arms] == ["exact"]
    assert [arm.name for arm in plan.wide(0.02).arms] == ["exact", "m10_time"]
    with pytest.raises(ConfigError, match="no arm 'm11'; there are exact, m10, m100, m100_time, m10_c1"):
        FULL.only(["m11"])


def test_every_dense_model_of_the_plan_is_timed() -> None:
    times = FULL.times
    assert times.shapes == {name: sweep.shapes for name, sweep in FULL.sweeps.items()}
    names = [shape.name for shape in times.shapes["demo"]]
    assert len(set(names)) == len(names) == 12
    assert (times.every, times.candidates) == ((5, 10, 20, 100), (10, 1.0))
