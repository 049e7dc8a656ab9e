"""A package that is missing is named with the command that installs it."""

from __future__ import annotations

import sys

import pytest

from sparsecircuits.errors import ConfigError
from sparsecircuits.study.extras import need


def test_there() -> None:
    assert need("json", "tune").dumps([1]) == "[1]"


def test_missing() -> None:
    with pytest.raises(ConfigError, match=r"needs not_there.*pip install 'sparsecircuits\[tune\]'"):
        need("not_there", "tune")


def test_what_a_package_itself_lacks_is_not_hidden(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import not_there_either\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_either"):
        need("broken_package", "tune")
    assert "broken_package" not in sys.modules
