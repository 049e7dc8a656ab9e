"""The names of the package itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sparsecircuits


def test_every_name_is_there() -> None:
    for name in sparsecircuits.__all__:
        assert getattr(sparsecircuits, name) is not None
    assert set(sparsecircuits.__all__) <= set(dir(sparsecircuits))


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sparse'"):
        _ = sparsecircuits.Sparse


@pytest.mark.parametrize(
    "first", ["import sparsecircuits.prune.config, sparsecircuits.train.loop", "import sparsecircuits"]
)
def test_train_and_prune_are_functions_whatever_was_imported_before(first: str) -> None:
    code = f"""
{first}
from sparsecircuits import prune, train
from sparsecircuits.prune import PruneConfig
from sparsecircuits.train import loop
assert prune.__module__ == "sparsecircuits.prune.prune" and callable(prune)
assert train is loop.train
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, sparsecircuits; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
