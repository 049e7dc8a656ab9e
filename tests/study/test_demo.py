"""The whole line on made-up text, in seconds: what is written, what is not done twice, how it goes on."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.data import Corpus, DataConfig
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.model import GPTConfig
from sparsecircuits.study.demo import DemoPlan, is_necessary, run_demo, summarise, train_jobs, with_bars
from sparsecircuits.tasks import TASKS, Task, TextPair
from sparsecircuits.train import RunConfig, TrainConfig
from sparsecircuits.viz.schema import check_document
from tests.prune import planted
from tests.study import made_up
from tests.study.work import Bars

KEYS = ["seconds", "val_loss", "density", "tokens", "seed", "tasks", "geomean_edges", "geomean_nodes"]
STAGES = ["corpus", "train", "evaluate", "prune", "page"]
FOUND, MISSED, CANNOT = "string_closing", "unlearnt_validation", "coin"


# Figures, by hand.


def test_geometric_means_over_the_tasks_that_reached_the_target_in_both(tmp_path: Path) -> None:
    """needed: 0 edges (counted as 1) and 3 nodes, dense 8 and 6; spare: 4 and 12, dense 32 and 54."""
    summary = made_up.summary(tmp_path)
    assert summary["geomean_edges"] == pytest.approx({"sparse": 2, "dense": 16, "ratio": 8})
    assert summary["geomean_nodes"] == pytest.approx({"sparse": 6, "dense": 18, "ratio": 3})
    assert summary["left_out"] == ["missed", "failed"]


def test_every_task_has_its_row(tmp_path: Path) -> None:
    summary = made_up.summary(tmp_path)
    rows = {row["name"]: row for row in summary["tasks"]}
    assert list(rows) == [*made_up.NAMES, "unable"]
    size = {"nodes": 3, "edges": 0, "loss": 0.14, "raw_loss": 0.2, "met": True}
    assert rows["needed"]["circuit"]["sparse"] == size
    assert rows["needed"]["necessity"] == made_up.ENTRIES[0]["metrics"]["necessity"]
    assert rows["failed"]["circuit"]["dense"] is None
    nothing = {"circuit": {"sparse": None, "dense": None}, "necessity": None}
    assert rows["unable"] == {"name": "unable", "loss": 0.6, "accuracy": 0.7, "done": False, **nothing}


def test_the_rest_of_the_summary(tmp_path: Path) -> None:
    summary = made_up.summary(tmp_path)
    assert list(summary) == [*KEYS, "left_out"]
    assert summary["val_loss"] == {"sparse": 1.25, "dense": 1.2}
    assert (summary["density"], summary["tokens"], summary["seed"]) == (1 / 32, 1000, 3)


def test_nothing_found_is_no_mean(tmp_path: Path) -> None:
    summary = summarise(made_up.runs(tmp_path), [made_up.score("a")], ["a"], [], seed=0)
    assert (summary["geomean_edges"], summary["geomean_nodes"], summary["left_out"]) == (None, None, ["a"])


def test_a_run_that_is_not_finished_has_no_summary(tmp_path: Path) -> None:
    runs = made_up.runs(tmp_path)
    (tmp_path / "dense" / "result.json").unlink()
    with pytest.raises(CheckpointError, match="dense: training has not finished"):
        summarise(runs, [], [], [], seed=0)


@pytest.mark.parametrize(
    ("accuracy", "refitted", "necessary"),
    [
        (0.40, 0.40, True),
        (0.60, 0.60, True),
        (0.39, 0.5, False),
        (0.61, 0.5, False),
        (0.5, 0.39, False),
        (0.5, 0.61, False),
    ],
)
def test_necessary_is_chance_raw_and_refitted(accuracy: float, refitted: float, necessary: bool) -> None:
    row = {"necessity": {"accuracy": accuracy, "refitted_accuracy": refitted, "loss": 0.7}}
    assert is_necessary(row) is necessary


# End to end.


def _coin(rng: random.Random, split: str, room: int) -> TextPair:
    """Nothing in the prompt tells what follows."""
    pair = planted.STRING_CLOSING.texts(split, 1, seed=rng.randrange(1000))[0]  # type: ignore[arg-type]
    ends = pair.left_answer, pair.right_answer
    left, right = ends if rng.random() < 0.5 else ends[::-1]
    return TextPair(pair.left, pair.right, left, right, pair.template)


@pytest.fixture(scope="module", autouse=True)
def only_these_tasks() -> Iterator[None]:
    all_tasks = dict(TASKS)
    coin = Task(CANNOT, "heads or tails", "contrast", _coin)
    TASKS.clear()
    TASKS.update({task.name: task for task in (planted.STRING_CLOSING, planted.UNLEARNT_VALIDATION, coin)})
    yield
    TASKS.clear()
    TASKS.update(all_tasks)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> DemoPlan:
    """Files of ten calls ``f('abc')`` or ``f("abc")``, and a layer to tell which."""
    rng = random.Random(0)
    texts = tmp_path_factory.mktemp("texts") / "calls.jsonl"
    with texts.open("w") as file:
        for _ in range(200):
            quote = rng.choice("'\"")
            words = ("".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(3)) for _ in range(10))
            text = "".join(f"f({quote}{word}{quote})\n" for word in words)
            file.write(json.dumps({"text": text}) + "\n")
    shape = GPTConfig(vocab_size=257, n_ctx=16, n_layer=1, d_model=16, d_head=8)
    recipe = TrainConfig(steps=150, rows=16, lr=3e-2, density=1 / 4, eval_tokens=1024, checkpoint_every=50)
    return DemoPlan(
        data=DataConfig(mix={str(texts): 1.0}, vocab_size=257, train_tokens=14_000, val_tokens=2_000),
        sparse=RunConfig(model=shape, train=recipe),
        dense=RunConfig(model=shape, train=recipe.replace(lr=8e-3, density=1.0)),
        prune=planted.SETTINGS,
        tasks=(CANNOT, FOUND, MISSED),
        eval_pairs=64,
    )


Demo = tuple[Path, dict[str, Any], Bars]


@pytest.fixture(scope="module")
def demo(plan: DemoPlan, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Its folder, its summary, and what its bars heard."""
    folder, bars = tmp_path_factory.mktemp("runs") / "demo", Bars()
    return folder, run_demo(plan, folder, bars, workers=1), bars


def model_bytes(folder: Path) -> list[str]:
    files = [folder / name / "model" / "model.safetensors" for name in ("sparse", "dense")]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def embedded(page: Path) -> dict[str, Any]:
    """The document inside a page."""
    found = re.search(r'<script type="application/json" id="document">(.*?)</script>', page.read_text(), re.S)
    assert found is not None
    return json.loads(found[1])


def without_seconds(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in summary.items() if key != "seconds"}


def test_the_summary_says_what_was_found(demo: Demo) -> None:
    folder, summary, _ = demo
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert list(summary) == [*KEYS, "left_out"]
    assert list(summary["seconds"]) == ["total", *STAGES]
    assert summary["seconds"]["total"] == pytest.approx(
        sum(summary["seconds"][stage] for stage in STAGES), abs=0.3
    )
    assert summary["tokens"] == 150 * 16 * 16  # steps, rows, context
    assert summary["density"] == pytest.approx(1 / 4, abs=0.02)
    rows = {row["name"]: row for row in summary["tasks"]}
    assert {name: row["done"] for name, row in rows.items()} == {FOUND: True, MISSED: True, CANNOT: False}
    assert rows[CANNOT]["circuit"] == {"sparse": None, "dense": None}
    assert all(size["met"] for size in rows[FOUND]["circuit"].values())
    assert not any(size["met"] for size in rows[MISSED]["circuit"].values())
    assert summary["left_out"] == [MISSED]
    for what in ("edges", "nodes"):
        sizes = {model: max(1, rows[FOUND]["circuit"][model][what]) for model in ("sparse", "dense")}
        expected = {**sizes, "ratio": sizes["dense"] / sizes["sparse"]}
        assert summary[f"geomean_{what}"] == pytest.approx(expected)


def test_the_page_holds_both_models_and_every_circuit(demo: Demo) -> None:
    folder, summary, _ = demo
    document = embedded(folder / "index.html")
    check_document(document)
    ids = [f"{model}/{task}" for task in (FOUND, MISSED) for model in ("sparse", "dense")]
    assert [circuit["id"] for circuit in document["circuits"]] == ids
    assert list(document["models"]) == ["sparse", "dense"]
    assert without_seconds(document["summary"]) == without_seconds(summary)
    assert (folder / "circuit.png").read_bytes().startswith(b"\x89PNG")


def test_every_job_is_heard(demo: Demo) -> None:
    heard = demo[2].heard
    assert [done for done, _, _ in heard["train sparse"]] == list(range(1, 151))
    assert heard["train dense"][-1][2] == 150 * 16 * 16
    assert heard["tasks sparse"][-1][0] == 3
    for name in (f"prune {model} {task}" for model in ("sparse", "dense") for task in (FOUND, MISSED)):
        assert heard[name][0][0] == 0
    assert not any(CANNOT in name for name in heard)


def test_the_same_again_does_nothing_again(plan: DemoPlan, demo: Demo) -> None:
    folder, summary, _ = demo
    made = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent != folder  # the summary and the page are written anew
    ]
    before = [path.stat().st_mtime_ns for path in made]
    bars = Bars()
    again = run_demo(plan, folder, bars, workers=1)
    assert without_seconds(again) == without_seconds(summary)
    assert [path.stat().st_mtime_ns for path in made] == before
    assert not any(name.startswith("train") for name in bars.heard)
    assert again["seconds"]["total"] >= summary["seconds"]["total"]


def test_another_plan_is_refused_and_nothing_touched(plan: DemoPlan, demo: Demo) -> None:
    folder = demo[0]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    other = plan.replace(data=plan.data.replace(seed=1), eval_pairs=32)
    with pytest.raises(
        ConfigError, match=r"another plan \(data.seed: 0 there, 1 here; eval_pairs: 64 there, 32 here\)"
    ):
        run_demo(other, folder, Bars(), workers=1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_interrupted_while_it_trains_it_ends_the_same(plan: DemoPlan, demo: Demo, tmp_path: Path) -> None:
    folder, summary, _ = demo
    with pytest.raises(KeyboardInterrupt):
        run_demo(plan, tmp_path, Bars(interrupt=("train dense", 77)), workers=1)
    assert not (tmp_path / "summary.json").exists()
    spent = json.loads((tmp_path / "seconds.json").read_text())
    assert list(spent) == ["corpus", "train"]
    bars = Bars()
    resumed = run_demo(plan, tmp_path, bars, workers=1)
    assert "train sparse" not in bars.heard  # it was finished
    assert bars.heard["train dense"][0][0] == 51  # after the checkpoint at 50
    assert model_bytes(tmp_path) == model_bytes(folder)
    assert without_seconds(resumed) == without_seconds(summary)
    after = json.loads((tmp_path / "seconds.json").read_text())
    assert after["train"] > spent["train"] > 0
    assert resumed["seconds"]["train"] == round(after["train"], 1)


def test_interrupted_while_it_prunes_it_keeps_what_was_found(
    plan: DemoPlan, demo: Demo, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(demo[0], tmp_path / "demo"))
    for model in ("sparse", "dense"):
        shutil.rmtree(folder / model / "circuits")
    with pytest.raises(KeyboardInterrupt):
        run_demo(plan, folder, Bars(interrupt=(f"prune sparse {FOUND}", 20)), workers=1)
    assert not (folder / "sparse" / "circuits").exists()
    circuit = folder / "dense" / "circuits" / FOUND / "circuit.json"  # the dense model goes first
    before = circuit.stat().st_mtime_ns
    resumed = run_demo(plan, folder, Bars(), workers=1)
    assert circuit.stat().st_mtime_ns == before
    assert without_seconds(resumed) == without_seconds(demo[1])


def test_two_workers_train_the_same_models(plan: DemoPlan, demo: Demo, tmp_path: Path) -> None:
    folder = demo[0]
    corpus = Corpus.open(folder / "data")
    bars = Bars()
    with_bars(train_jobs({"sparse": plan.sparse, "dense": plan.dense}, corpus, tmp_path), bars, workers=2)
    assert model_bytes(tmp_path) == model_bytes(folder)
    assert bars.heard["train sparse"] == demo[2].heard["train sparse"]
