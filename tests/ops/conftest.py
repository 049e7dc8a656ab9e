"""A test that asks for ``kernel`` runs on each instruction set of this machine, and on the definitions."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from sparsecircuits.ops import native


@pytest.fixture(params=native.available())
def kernel(request: pytest.FixtureRequest) -> Generator[str]:
    with native.using(request.param):
        yield request.param
