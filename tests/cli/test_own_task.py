"""Prune and view with tasks of a user's own, on a model whose circuit is known."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest

from sparsecircuits.circuit import load_circuit
from sparsecircuits.cli import main
from sparsecircuits.tasks.own import read_task
from tests.prune import planted
from tests.prune.planted import CLOSES

QUICK = (
    *("--steps", "60", "--penalties", "28", "--train-pairs", "64", "--selection-pairs", "32"),
    *("--validation-pairs", "32", "--heldout-pairs", "32", "--mean-tokens", "512"),
)
CODE = """
from sparsecircuits.tasks import TextPair, own_task

WORDS = {"train": ("abc", "def", "vwx"), "validation": ("ghi", "jkl"), "heldout": ("pqr", "stu")}

@own_task()
def coded(rng, split):
    word = rng.choice(WORDS[split])
    return TextPair(f"f(\'{word}", f\'f("{word}\', "\'", \'"\')
"""


@pytest.fixture(scope="module")
def planted_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder around the planted model."""
    return planted.planted_run(tmp_path_factory.mktemp("planted")).folder


@pytest.fixture(scope="module")
def pruned_once(planted_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the task's files, and in ``run`` both circuits."""
    root = tmp_path_factory.mktemp("own")
    shutil.copytree(planted_run, root / "run")
    (root / "closes.yaml").write_text(CLOSES)
    (root / "coded.py").write_text(CODE)
    files = [str(root / "closes.yaml"), str(root / "coded.py")]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["prune", str(root / "run"), *files, *QUICK, "--json"]) == 0
    rows = json.loads(out.getvalue())["tasks"]
    assert [(row["name"], row["state"], row["nodes"]) for row in rows] == [
        ("closes", "found", 3),
        ("coded", "found", 3),
    ]
    return root


@pytest.fixture
def pruned(pruned_once: Path, tmp_path: Path) -> Path:
    """A copy to write into."""
    return Path(shutil.copytree(pruned_once, tmp_path / "own"))


def test_the_planted_circuit_is_found_with_its_task(pruned_once: Path) -> None:
    for name in ("closes", "coded"):
        circuit = load_circuit(pruned_once / "run" / "circuits" / name)
        assert circuit.nodes == planted.ATTENTION_CIRCUIT
    definition = read_task(pruned_once / "closes.yaml").definition
    assert definition is not None
    circuit = load_circuit(pruned_once / "run" / "circuits" / "closes")
    assert circuit.info["task_sha256"] == definition.sha256
    assert (pruned_once / "run" / "tasks" / "closes.yaml").read_text() == CLOSES
    assert (pruned_once / "run" / "tasks" / "coded.py").read_text() == CODE
    page = (pruned_once / "run" / "circuits" / "index.html").read_text()
    assert '"run/closes"' in page
    assert "a string closes as it was opened" in page
    assert '"run/coded"' in page


def test_it_is_loaded_by_its_file_and_by_its_name(call, pruned: Path) -> None:
    for word in (pruned / "closes.yaml", "closes"):
        done = call("prune", pruned / "run", word, *QUICK, "--json")
        (row,) = done.json["tasks"]
        assert (row["name"], row["nodes"], row["note"]) == ("closes", 3, "loaded")
        assert "not on the page, as their tasks are code: coded" in done.err


def test_another_version_of_the_file_is_pruned_anew(call, pruned: Path) -> None:
    path = pruned / "closes.yaml"
    path.write_text(CLOSES.replace("h(", "i("))
    (row,) = call("prune", pruned / "run", path, *QUICK, "--json").json["tasks"]
    assert row["note"] == "pruned anew: the circuit there was of another version of the task"
    assert (pruned / "run" / "tasks" / "closes.yaml").read_text() == path.read_text()
    (row,) = call("prune", pruned / "run", path, *QUICK, "--json").json["tasks"]
    assert row["note"] == "loaded"


def test_the_page_of_a_kept_task(call, pruned: Path) -> None:
    (pruned / "closes.yaml").unlink()  # the run needs it no more
    page = pruned / "page.html"
    assert call("view", pruned / "run", "closes", "--export", page).out == f"{page}\n"
    assert '"run/closes"' in page.read_text()
    picture = pruned / "closes.png"
    assert call("view", pruned / "run", "closes", "--png", picture).code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_code_is_not_run_from_the_runs_folder(call, pruned: Path) -> None:
    kept = pruned / "run" / "tasks" / "coded.py"
    kept.write_text("raise SystemExit('it was run')\n")
    page = ("--export", pruned / "page.html")
    for words in (("view", pruned / "run", *page), ("prune", pruned / "run", "coded", *QUICK)):
        done = call(*words)
        assert done.code == 2
        assert done.err.startswith(f"error: {kept}: the task 'coded' is code, and code in a run's folder")
    assert call("view", pruned / "run", *page, "--task", pruned / "coded.py").code == 0
    assert '"run/coded"' in page[1].read_text()


def test_a_circuit_is_not_shown_on_another_task(call, pruned: Path) -> None:
    kept = pruned / "run" / "tasks" / "closes.yaml"
    kept.write_text(CLOSES.replace("h(", "i("))
    done = call("view", pruned / "run", "closes", "--export", pruned / "page.html")
    assert done.code == 2
    assert done.err == (
        f"error: {pruned / 'run'}: the circuit for closes is of another version of the task than {kept}; "
        "prune it anew\n"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("$word2", "$wrod"), "row 2 (line 6): unknown slot $wrod; did you mean 'word'"),
        (('"<<\'|\\">>"', '"<<\'a|\\">>"'), "row 1 (line 5): the left answer is 2 tokens, \"'\" 'a'; an"),
        (("h(", "h" * 14 + "("), "row 4 (line 8): longer than the context: 20 tokens"),
    ],
)
def test_a_file_with_mistakes_is_refused(
    call, planted_run: Path, tmp_path: Path, change, message: str
) -> None:
    path = tmp_path / "closes.yaml"
    path.write_text(CLOSES.replace(*change))
    done = call("prune", planted_run, path, *QUICK)
    assert done.code == 2
    assert done.err.startswith(f"error: {path}: {message}")
    assert not (planted_run / "tasks").exists()


def test_two_files_of_one_name(call, pruned: Path, tmp_path: Path) -> None:
    other = tmp_path / "there"
    other.mkdir()
    shutil.copy(pruned / "closes.yaml", other)
    done = call("prune", pruned / "run", pruned / "closes.yaml", other / "closes.yaml", *QUICK)
    assert (done.code, done.err) == (
        2,
        "error: two tasks are called 'closes', and a run has one circuit of that name\n",
    )


def test_eval_takes_a_file(call, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    call("task", "new", path, "--format", "jsonl")
    report = call("eval", trained, "--task", path, "--json").json
    (row,) = report["tasks"]
    assert (row["name"], row["fits"], row["note"]) == ("mine", True, None)
    # Of four train pairs two are for the scale.
    assert row["fitted_on"]["count"] == 2
    counts = {split: figures["pairs"]["count"] for split, figures in row["splits"].items()}
    assert counts == {"train": 2, "validation": 2, "heldout": 2}
    assert report["variants"] == []


def test_eval_refuses_a_file_that_does_not_fit(call, planted_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "closes.yaml"
    path.write_text(CLOSES.replace("h(", "h" * 14 + "("))
    done = call("eval", planted_run, "--task", path)
    assert (done.code, done.err) == (
        2,
        f"error: {path}: row 4 (line 8): longer than the context: 20 tokens with <|endoftext|>, above 16\n",
    )
