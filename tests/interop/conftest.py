"""A Hub of our own, an empty cache, and a run to push."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsecircuits import load_run
from sparsecircuits.examples import example_folder
from sparsecircuits.train import Run
from tests.interop.hub_server import Hub, use


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty Hub, the token of one who may write, and a working folder that is empty."""
    monkeypatch.chdir(tmp_path)
    with Hub().serving() as hub:
        use(hub, tmp_path / "cache", monkeypatch, "writer")
        yield hub


@pytest.fixture(scope="session")
def example() -> Run:
    return load_run(example_folder("example-small"))
