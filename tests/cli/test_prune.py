"""The commands prune and view, on a model whose circuit is known because its weights were written by hand."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.circuit import load_circuit
from sparsecircuits.cli import main
from sparsecircuits.tasks import TASKS, Task, TextPair
from sparsecircuits.train import Run
from tests.prune import planted

QUICK = (
    *("--steps", "60", "--penalties", "28", "--train-pairs", "64", "--selection-pairs", "32"),
    *("--validation-pairs", "32", "--heldout-pairs", "32", "--mean-tokens", "512"),
)
FOUND, MISSED, CANNOT, UNFIT = "string_closing", "unlearnt_validation", "coin", "single_double_quote"


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
    mine = (all_tasks[UNFIT], planted.STRING_CLOSING, planted.UNLEARNT_VALIDATION, coin)
    TASKS.clear()
    TASKS.update({task.name: task for task in mine})
    yield
    TASKS.clear()
    TASKS.update(all_tasks)


@pytest.fixture(scope="module")
def planted_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder around the planted model."""
    return planted.planted_run(tmp_path_factory.mktemp("planted")).folder


@pytest.fixture(scope="module")
def pruned(planted_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run with circuits, and what the command printed."""
    folder = Path(shutil.copytree(planted_run, tmp_path_factory.mktemp("pruned") / "run"))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["prune", str(folder), "--all", *QUICK, "--json"]) == 0
    return folder, json.loads(out.getvalue())


def rows_of(pruned: tuple[Path, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in pruned[1]["tasks"]}


def test_the_planted_circuit_is_found_and_saved(pruned: tuple[Path, dict[str, Any]]) -> None:
    row = rows_of(pruned)[FOUND]
    assert (row["state"], row["nodes"], row["edges"]) == ("found", 3, 2)
    assert row["loss"] <= 0.15
    circuit = load_circuit(pruned[0] / "circuits" / FOUND)
    assert circuit.nodes == planted.ATTENTION_CIRCUIT
    for key in ("loss", "raw_loss", "accuracy", "full_loss"):
        assert row[key] == circuit.info[key]
    assert circuit.info["config"]["max_tokens"] == 16  # the model's context
    # Nothing else in the model tells the quotes apart.
    assert row["necessity"] == {**circuit.info["necessity"], "label": "necessary"}
    assert row["necessity"]["accuracy"] == 0.5


def test_every_other_task_says_why_it_has_no_circuit(pruned: tuple[Path, dict[str, Any]]) -> None:
    rows = rows_of(pruned)
    assert set(rows) == {FOUND, MISSED, CANNOT, UNFIT}
    assert rows[CANNOT]["state"] == "not pruned"
    assert rows[CANNOT]["note"].startswith("the model does not do it: loss ")
    assert rows[UNFIT]["state"] == "does not fit"
    assert rows[UNFIT]["note"].startswith("task single_double_quote")
    for name in (CANNOT, UNFIT):
        assert rows[name]["nodes"] is None
        assert not (pruned[0] / "circuits" / name).exists()


def test_a_missed_target_keeps_the_best_and_is_marked(pruned: tuple[Path, dict[str, Any]]) -> None:
    row = rows_of(pruned)[MISSED]
    assert row["state"] == "missed"
    assert load_circuit(pruned[0] / "circuits" / MISSED).info["met"] is False


def test_the_page_holds_the_circuits(pruned: tuple[Path, dict[str, Any]]) -> None:
    folder, report = pruned
    assert report["page"] == str(folder / "circuits" / "index.html")
    page = Path(report["page"]).read_text()
    assert f'"run/{FOUND}"' in page
    assert f'"run/{MISSED}"' in page


def test_the_same_command_loads(call, pruned: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = pruned
    before = (folder / "circuits" / FOUND / "circuit.json").read_bytes()
    row = call("prune", folder, FOUND, *QUICK, "--json").json["tasks"][0]
    assert row == {**rows_of(pruned)[FOUND], "note": "loaded"}
    assert (folder / "circuits" / FOUND / "circuit.json").read_bytes() == before
    table = call("prune", folder, FOUND, *QUICK).out
    assert [line.split()[-1] for line in table.splitlines() if FOUND in line] == ["loaded"]
    assert table.splitlines()[-1] == f"page: {folder / 'circuits' / 'index.html'}"


def test_other_settings_prune_anew(call, pruned: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pruned[0], tmp_path / "run"))
    row = call("prune", folder, FOUND, *QUICK, "--seed", "1", "--json").json["tasks"][0]
    assert row["note"] == "pruned anew: the circuit there had other settings"
    assert load_circuit(folder / "circuits" / FOUND).info["config"]["seed"] == 1


def test_a_damaged_circuit_is_pruned_anew(call, pruned: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pruned[0], tmp_path / "run"))
    values = folder / "circuits" / FOUND / "circuit.safetensors"
    values.write_bytes(b"nothing")
    page = tmp_path / "page.html"
    done = call("view", folder, "--export", page)
    assert done.code == 2
    assert done.err.startswith(f"error: {values}")
    row = call("prune", folder, FOUND, *QUICK, "--json").json["tasks"][0]
    assert row["note"].startswith("pruned anew: ")
    assert row["nodes"] == 3
    assert call("view", folder, "--export", page).code == 0


def test_a_circuit_of_another_model_is_not_shown(
    call, pruned: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(pruned[0], tmp_path / "run"))
    run = Run.open(folder)
    run.finish(planted.neuron_model(run.tokenizer()), run.result() or {})
    done = call("view", folder, FOUND, "--export", tmp_path / "page.html")
    assert f"the circuit for {FOUND} belongs to another model" in done.err


def test_nothing_found_is_exit_code_1(call, planted_run: Path) -> None:
    done = call("prune", planted_run, CANNOT, *QUICK)
    assert done.code == 1
    assert "not pruned" in done.out
    assert "page:" not in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the tasks to prune, or give --all"),
        ([FOUND, "--all"], "name the tasks to prune, or give --all"),
        (["string_closng"], "unknown task 'string_closng'; did you mean 'string_closing'?"),
    ],
)
def test_mistakes(call, planted_run: Path, words: list[str], message: str) -> None:
    done = call("prune", planted_run, *words)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")
    assert len(done.err.splitlines()) == 1


def test_view_writes_a_page(call, pruned: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = pruned
    path = tmp_path / "out" / "page.html"
    done = call("view", folder, FOUND, "--export", path)
    assert (done.code, done.out) == (0, f"{path}\n")
    assert f'"run/{FOUND}"' in path.read_text()
    assert f'"run/{MISSED}"' not in path.read_text()
    assert call("view", folder, "--export", path).out == f"{path}\n"
    assert f'"run/{MISSED}"' in path.read_text()


def test_view_draws_a_picture(call, pruned: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = pruned
    path = tmp_path / "circuit.png"
    assert call("view", folder, FOUND, "--png", path).out == f"{path}\n"
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["string_closng", "--export", "x.html"],
            "no circuit 'string_closng'; did you mean 'string_closing'?",
        ),
        (["--png", "x.png"], "--png draws one circuit; name one of string_closing, unlearnt_validation"),
        (["--png", "x.gif"], "--png is x.gif; it must end in .png, .svg, .pdf"),
        (["--png", "x.png", "--export", "x.html"], "--png and --export: give one of them"),
    ],
)
def test_view_mistakes(call, pruned: tuple[Path, dict[str, Any]], words: list[str], message: str) -> None:
    done = call("view", pruned[0], *words)
    assert done.code == 2
    assert message in done.err


def test_view_without_circuits(call, planted_run: Path) -> None:
    assert "no circuits yet; sparsecircuits prune" in call("view", planted_run, "--export", "x.html").err
