"""The commands push and fetch, and ``org/name`` in the place of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sparsecircuits import load_run
from sparsecircuits.cli.arguments import open_own_run, open_run
from sparsecircuits.cli.live import listed_runs
from sparsecircuits.errors import CheckpointError, HubError
from sparsecircuits.viz.server.library import Library
from tests.interop.hub_server import Hub, use

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    with Hub().serving() as hub:
        use(hub, tmp_path / "cache", monkeypatch, "writer")
        yield hub


def test_there_and_back(call, hub: Hub) -> None:
    done = call("push", "example-small", "me/quotes", "--license", "mit", "--message", "here it is", "--json")
    assert done.code == 0
    repo = hub.repos["me/quotes"]
    assert (done.json["name"], done.json["commit"]) == ("me/quotes", repo.branches["main"])
    assert set(done.json["files"]) == set(repo.files())
    assert repo.messages[-1] == "here it is"
    fetched = call("fetch", "me/quotes", "--out", "mine")
    assert (fetched.code, fetched.out) == (0, "runs/mine\n")
    assert {path.relative_to("runs/mine").as_posix() for path in Path("runs/mine").rglob("*.*")} == set(
        repo.files()
    )
    assert not [path for path in Path("runs/mine").rglob("*") if path.is_symlink()]
    assert open_own_run("mine").config == load_run("me/quotes").config
    again = call("fetch", "me/quotes", "--out", "mine")
    assert (again.code, again.err) == (2, "error: runs/mine is there already; --out names another\n")


def test_the_card_alone(call, hub: Hub, tmp_path: Path) -> None:
    shown = call("push", "example-small", "me/quotes", "--show", "--license", "mit")
    assert yaml.safe_load(shown.out.split("---\n")[1])["license"] == "mit"
    assert "# me/quotes" in shown.out
    told = call("push", "example-small", "me/quotes", "--show", "--license", "mit", "--json")
    assert told.json == {"name": "me/quotes", "card": shown.out}
    assert hub.requests == []
    (tmp_path / "card.md").write_text("---\n{}\n---\nMine.\n")
    assert call("push", "example-small", "me/quotes", "--card", tmp_path / "card.md").code == 0
    assert hub.repos["me/quotes"].files()["README.md"] == b"---\n{}\n---\nMine.\n"
    missing = call("push", "example-small", "me/quotes", "--card", "no.md")
    assert missing.err.startswith("error: --card is no.md, which cannot be read: ")


def test_every_command_takes_a_name_of_the_hub(call, hub: Hub) -> None:
    call("push", "example-small", "me/quotes@v1")
    words = ["--prompt", "print('", "--tokens", "6", "--seed", "1"]
    here, there = (call("generate", run, *words) for run in ("example-small", "me/quotes@v1"))
    assert (there.code, there.err) == (0, "")
    assert there.out == here.out
    labels = call("label", "me/quotes@v1", "set_or_string", "--json")
    assert labels.code == 0


def test_the_live_viewer_shows_it(hub: Hub, call) -> None:
    call("push", "example-small", "me/quotes")
    ((name, run),) = listed_runs("me/quotes", ())()
    library = Library(lambda: [(name, run)])
    (listed,) = library.runs()
    assert listed.name == "me/quotes"
    assert {circuit.name for circuit in listed.circuits.values()} == {
        *("bracket_counting", "set_or_string", "single_double_quote")
    }
    assert listed.bundled
    assert (listed.why_not_pruned() or "").startswith("it is on the Hub, and nothing is written into it")


def test_nothing_is_written_into_the_cache(call, hub: Hub) -> None:
    call("push", "example-small", "me/quotes")
    before = {path: path.stat().st_mtime_ns for path in open_run("me/quotes").folder.rglob("*")}
    refused = call("prune", "me/quotes", "for_while")
    assert refused.code == 2
    assert "'me/quotes' is on the Hub, and nothing is written into the cache's copy; make" in refused.err
    assert "sparsecircuits fetch me/quotes --out mine" in refused.err
    full = call("check", "me/quotes", "set_or_string", "--level", "full")
    assert full.err.startswith("error: --level full keeps prunings in RUN, and nothing is written")
    assert {path: path.stat().st_mtime_ns for path in open_run("me/quotes").folder.rglob("*")} == before


def test_a_run_that_is_nowhere_says_so_of_both(hub: Hub) -> None:
    with pytest.raises(
        HubError,
        match=r"no run 'me/quotes', here or in runs; known: .*; on the Hub: me/quotes: no such model",
    ):
        open_run("me/quotes")
    Path("runs/me").mkdir(parents=True)
    hub.requests.clear()
    for name in ("me/quotes", "./me/quotes", "quotes"):
        with pytest.raises(CheckpointError, match="no run '.*', here or in runs; known: example"):
            open_run(name)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["push", "example-small", "quotes"], "'quotes' is no name on the Hub: it must be ORG/NAME"),
        (["fetch", "me/none"], "me/none: no such model on the Hub"),
    ],
)
def test_mistakes(call, hub: Hub, words: list[str], message: str) -> None:
    done = call(*words)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")
    assert json.dumps(done.err).count("\\n") == 1
