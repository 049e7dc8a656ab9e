"""V4: nothing outside the listed runs is read, and nobody learns whether it exists."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsecircuits.train import Run
from sparsecircuits.viz.server.library import Library, runs_below
from tests.prune import planted
from tests.viz.server.asking import Running, listening, own

CANARY = b"the canary sings"
#: How a target is written; {up} climbs out of any folder, {there} is a path that begins with a slash.
FORMS = [
    "/../../../../../..{there}",
    "/assets/../../../../../..{there}",
    "/c/planted/../../../../..{there}",
    "/c/../..{there}",
    "/api/../../../..{there}",
    "/%2e%2e/%2e%2e/%2e%2e/%2e%2e{there}",
    "/c/%2e%2e%2f%2e%2e%2f%2e%2e{there}",
    "/c/planted/..%2f..%2f..%2f..{there}",
    "/c/planted/%2e%2e%2f%2e%2e{there}",
    "/assets/%2e%2e%2f%2e%2e{there}",
    "/%252e%252e%252f%252e%252e{there}",
    "/c/planted/%252e%252e%252f{there}",
    "/assets/..%255c..%255c{there}",
    "/..\\..\\..\\..{there}",
    "/c/planted/..\\..\\{there}",
    "/assets/..%5c..%5c{there}",
    "/%5c..%5c..{there}",
    "{there}",
    "/{there}",
    "//{there}",
    "/c{there}",
    "/c/planted{there}",
    "/assets{there}",
    "/c/%2f{there}",
    "/c/planted/%2f{there}",
    "{there}%00",
    "/assets/app.js%00{there}",
    "/c/planted/%00{there}",
    "/c/planted/larger%00/..{there}",
    "/file:{there}",
    "/file://{there}",
    "file://{there}",
    "/c/file:%2f%2f{there}",
    "/assets/file:{there}",
    "/....//....//{there}",
    "/c/..;/..;{there}",
    "/c/planted/..%c0%af..%c0%af{there}",
    "/c/planted/%uff0e%uff0e{there}",
    "/c/inner-link/circuit.json?{there}",
    "/c/outside/string_closing",
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, served_run: Run) -> Path:
    """``runs/planted`` is a run; links in it and beside it lead to a run with a canary outside."""
    root = tmp_path_factory.mktemp("tree")
    (root / "canary.txt").write_bytes(CANARY)
    shutil.copytree(served_run.folder, root / "runs" / "planted")
    outside = Path(shutil.copytree(served_run.folder, root / "outside"))
    circuit = outside / "circuits" / "larger" / "circuit.json"
    circuit.write_text(circuit.read_text().replace('"task"', f'"canary": "{CANARY.decode()}", "task"', 1))
    (root / "runs" / "outside").symlink_to(outside, target_is_directory=True)
    circuits = root / "runs" / "planted" / "circuits"
    (circuits / "inner-link").symlink_to(circuit.parent, target_is_directory=True)
    (circuits / "file-link").mkdir()
    (circuits / "file-link" / "circuit.json").symlink_to(circuit)
    shutil.copy(circuit.with_name("circuit.safetensors"), circuits / "file-link")
    (circuits / "card-link").mkdir()
    for name in ("circuit.json", "circuit.safetensors"):
        shutil.copy(circuits / "larger" / name, circuits / "card-link")
    (circuits / "card-link" / "card.json").symlink_to(root / "canary.txt")
    return root


@pytest.fixture(scope="module")
def server(tree: Path) -> Iterator[Running]:
    tasks = {planted.STRING_CLOSING.name: planted.STRING_CLOSING}
    with listening(Library(lambda: runs_below(tree / "runs"), tasks=tasks)) as found:
        yield found


def test_forty_are_asked() -> None:
    assert len(set(FORMS)) == 40


@pytest.mark.parametrize("form", FORMS)
def test_v4_paths(server: Running, tree: Path, form: str) -> None:
    told = []
    for name in ("canary.txt", "missing.txt", "outside/circuits/larger/circuit.json"):
        path = (tree / name).as_posix()
        for headers in ([], own(server.host)):
            status, answer = server.get(form.format(there=path), headers)
            assert CANARY not in answer
            assert status in (400, 404)
            told.append(status)
    assert len(set(told)) == 1  # for what exists as for what does not


@pytest.mark.parametrize(
    "key",
    ["../outside", "outside", "..", "/", "inner-link", "file-link", "card-link", "larger/../larger", "", "."],
)
def test_v4_keys_that_are_posted(server: Running, key: str) -> None:
    """A key is looked up; what is no key is not there, whatever it would be as a path."""
    for path in ("/api/document", "/api/prompts", "/api/ask"):
        for asked in (
            {"run": "planted", "circuit": key, "text": ""},
            {"run": key, "circuit": "larger", "text": ""},
        ):
            status, answer = server.post(path, asked)
            assert (status, answer) in [
                (404, b'{"error":"no such run is listed"}'),
                (404, b'{"error":"no such circuit is listed"}'),
            ]


def test_links_that_stay_inside_are_listed(tree: Path) -> None:
    circuits = tree / "runs" / "planted" / "circuits"
    (circuits / "alias").symlink_to(circuits / "larger", target_is_directory=True)
    try:
        (run,) = Library(lambda: runs_below(tree / "runs")).runs()
        assert {"larger", "string_closing"} <= set(run.circuits) <= {"alias", "larger", "string_closing"}
    finally:
        (circuits / "alias").unlink()


def test_a_run_whose_model_lies_elsewhere_is_not_listed(tree: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tree / "outside", tmp_path / "runs" / "mine"))
    model = folder / "model" / "model.safetensors"
    shutil.move(model, tmp_path / "elsewhere")
    model.symlink_to(tmp_path / "elsewhere")
    assert Library(lambda: runs_below(tmp_path / "runs")).runs() == []


def test_a_name_that_is_no_key() -> None:
    from sparsecircuits.viz.server.library import _new_key

    names = ["a/b", "a b", "..", "../..", "<script>", "x..y", "é", "a/b"]
    keys: dict[str, int] = {}
    for name in names:
        keys[_new_key(name, keys)] = 1
    assert list(keys) == ["a-b", "a-b-2", "unnamed", "unnamed-2", "script", "x-y", "unnamed-3", "a-b-3"]
