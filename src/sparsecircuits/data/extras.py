"""Packages that only some kinds of sources need."""

from __future__ import annotations

import importlib
from types import ModuleType

from sparsecircuits.errors import DataError


def import_extra(package: str, source: str) -> ModuleType:
    """Import a package that the extra ``data`` brings.

    Raises:
        DataError: it is not installed; with the source that needs it and the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise DataError(
            f"source {source!r} needs {package}, which is not installed: pip install 'sparsecircuits[data]'"
        ) from None
