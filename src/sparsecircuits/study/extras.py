"""Packages that only some commands need: imported when they are, with a clear word where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from sparsecircuits.errors import ConfigError


def need(package: str, extra: str) -> ModuleType:
    """Import a package that the extra brings.

    Raises:
        ConfigError: it is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ConfigError(
            f"this needs {package}, which is not installed: pip install 'sparsecircuits[{extra}]'"
        ) from None
