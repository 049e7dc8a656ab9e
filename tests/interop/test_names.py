"""Which names mean the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.errors import ConfigError
from sparsecircuits.interop.names import HubName, hub_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", HubName("org/name")),
        ("Org_1/na.me-2", HubName("Org_1/na.me-2")),
        ("org/name@v1.0", HubName("org/name", "v1.0")),
        ("org/name@refs/pr/3", HubName("org/name", "refs/pr/3")),
        ("hf://org/name", HubName("org/name")),
    ],
)
def test_names_on_the_hub(text: str, expected: HubName) -> None:
    assert hub_name(text) == expected == HubName.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("mine", "./org/name", "../org/name", "/org/name", "~/name", "org/name/", "a/b/c", "org//name", ""),
        *("org\\name", "C:/name", ".org/name", "org/..", "-org/name", "org/a b", "org/a--b", "org/name.git"),
        *("org/name@", "o" * 50 + "/" + "n" * 50, "https://host/org"),
    ],
)
def test_paths(text: str) -> None:
    assert hub_name(text) is None
    with pytest.raises(ConfigError, match="is no name on the Hub: it must be ORG/NAME"):
        HubName.parse(text)


def test_a_path_object_is_a_path() -> None:
    assert hub_name(Path("org/name")) is None


def test_what_is_here_is_a_path_and_so_is_what_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there/org").mkdir(parents=True)
    assert hub_name("there/mistyped") is None
    assert hub_name("org/mistyped") == HubName("org/mistyped")
    assert hub_name("org/mistyped", (Path(), Path("there"))) is None
    assert hub_name("hf://there/name") == HubName("there/name")
    Path("file").touch()
    assert hub_name("file/name") == HubName("file/name")


def test_one_revision() -> None:
    assert HubName.parse("org/name", "v1") == HubName.parse("org/name@v1", "v1") == HubName("org/name", "v1")
    with pytest.raises(ConfigError, match="'org/name@v1' names the revision 'v1', and 'v2' is asked for"):
        HubName.parse("org/name@v1", "v2")
