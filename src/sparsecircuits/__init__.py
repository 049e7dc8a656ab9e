"""sparsecircuits: train weight-sparse transformers and read the circuits inside them.

Here are the names that most work needs; the rest is in the packages. Each is imported when it is first
used, so that ``sparsecircuits --help`` does not wait for torch.

>>> from sparsecircuits import load_run, prune        # doctest: +SKIP

``train`` and ``prune`` are functions here, whatever was imported before, though packages of the same name
hold them: ``from sparsecircuits.train import ...`` finds the package as usual.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsecircuits.circuit import Circuit, load_circuit, save_circuit
    from sparsecircuits.data import DataConfig, build_corpus
    from sparsecircuits.model import GPTConfig, Node, SparseGPT
    from sparsecircuits.model.generate import generate
    from sparsecircuits.presets import get_preset
    from sparsecircuits.prune import PruneConfig, prune
    from sparsecircuits.tasks import Task, get_task
    from sparsecircuits.train import Machine, RunConfig, TrainConfig, evaluate, load_run, train
    from sparsecircuits.validate import necessity

    __version__: str

__all__ = [
    "Circuit",
    "DataConfig",
    "GPTConfig",
    "Machine",
    "Node",
    "PruneConfig",
    "RunConfig",
    "SparseGPT",
    "Task",
    "TrainConfig",
    "__version__",
    "build_corpus",
    "evaluate",
    "generate",
    "get_preset",
    "get_task",
    "load_circuit",
    "load_run",
    "necessity",
    "prune",
    "save_circuit",
    "train",
]

_HOMES = {
    "circuit": ("Circuit", "load_circuit", "save_circuit"),
    "data": ("DataConfig", "build_corpus"),
    "model": ("GPTConfig", "Node", "SparseGPT"),
    "model.generate": ("generate",),
    "presets": ("get_preset",),
    "prune": ("PruneConfig", "prune"),
    "tasks": ("Task", "get_task"),
    "train": ("Machine", "RunConfig", "TrainConfig", "evaluate", "load_run", "train"),
    "validate": ("necessity",),
}
_HOME = {name: package for package, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("sparsecircuits")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"sparsecircuits.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'sparsecircuits' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This module: the import system would bind each package to its name here, over the function's."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
