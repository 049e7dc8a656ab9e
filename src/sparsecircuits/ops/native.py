"""The compiled CPU kernels: are they there, which instruction set, how many threads, and safe calls to them.

The module ``_native`` takes addresses, so everything that it is given is checked here first: contiguous
tensors on the CPU, of the type that the kernel reads. Where it is missing (no compiler at installation) every
operation runs on its definition in plain torch, and the first call says once what is lost.

The environment variable ``SPARSECIRCUITS_KERNELS`` chooses: ``avx512``, ``avx2``, ``plain``, or ``off`` for
the definitions; unset, the best that the processor runs.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from sparsecircuits.errors import ConfigError, near_misses

VARIABLE = "SPARSECIRCUITS_KERNELS"
OFF = "off"


class MissingKernels(UserWarning):
    """The package was installed without its compiled kernels."""


_UNKNOWN: Any = object()
_loaded: Any | None = _UNKNOWN


def _module() -> Any | None:
    """The compiled module, set to what the environment asks for; None without one, or with ``off``."""
    global _loaded
    if _loaded is _UNKNOWN:  # no functools.cache: torch.compile would warn of it
        _loaded = _load()
    return _loaded


def _load() -> Any | None:
    wanted = os.environ.get(VARIABLE, "")
    if wanted == OFF:
        return None
    try:
        from sparsecircuits.ops import _native  # type: ignore[attr-defined]
    except ImportError:
        if wanted:
            raise ConfigError(f"{VARIABLE}={wanted}, but the kernels were not compiled") from None
        warnings.warn(
            "sparsecircuits runs without its compiled kernels: training and pruning are several times "
            "slower, results are the same. Install again where there is a C++ compiler (GCC or Clang); "
            f"{VARIABLE}={OFF} silences this",
            MissingKernels,
            stacklevel=5,
        )
        return None
    if wanted:
        _choose(_native, wanted)
    return _native


def _choose(module: Any, name: str) -> None:
    if not module.choose(name):
        known = [*module.available(), OFF]
        raise ConfigError(f"{VARIABLE}: this machine has no kernels {name!r}; {near_misses(name, known)}")


def kernels() -> str:
    """Which kernels run: ``avx512``, ``avx2``, ``plain``, or ``off``."""
    module = _module()
    return OFF if module is None or _switched_off else module.chosen()


def available() -> list[str]:
    """What :func:`using` takes here, the fastest first."""
    module = _module()
    return [OFF] if module is None else [*module.available(), OFF]


_switched_off = False


@contextmanager
def using(name: str) -> Generator[None]:
    """Run the operations on other kernels while the context lasts: one of :func:`available`.

    Raises:
        ConfigError: kernels that do not exist here.
    """
    global _switched_off
    module, before = _module(), kernels()
    if name != OFF:
        if module is None:
            raise ConfigError(f"no kernels {name!r} here; known: {OFF}")
        _choose(module, name)
    was_off, _switched_off = _switched_off, name == OFF
    try:
        yield
    finally:
        _switched_off = was_off
        if before != OFF and module is not None:
            module.choose(before)


def takes(*tensors: Tensor | None, types: tuple[torch.dtype, ...] = (torch.float32,)) -> bool:
    """Whether the kernels are there and read all of these: on the CPU, of one of ``types``."""
    if _switched_off or any(
        tensor is not None and (tensor.device.type != "cpu" or tensor.dtype not in types)
        for tensor in tensors
    ):
        return False
    return _module() is not None


def undispatched(*tensors: Tensor) -> bool:
    """Whether a kernel may be called at once: no gradient is recorded, and nothing is traced.

    torch's dispatcher takes longer than a kernel does for one token.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return all(type(tensor) in (Tensor, Parameter) for tensor in tensors)


def call(name: str, *arguments: Any) -> Any:
    """Call a kernel: tensors by address (they must be contiguous), None as no address, numbers as they are.

    The number of threads, :func:`torch.get_num_threads`, comes last.
    """
    module = _module()
    assert module is not None
    return getattr(module, name)(*map(_plain, arguments), torch.get_num_threads())


def call_single(name: str, *arguments: Any) -> Any:
    """As :func:`call`, for kernels of one thread."""
    module = _module()
    assert module is not None
    return getattr(module, name)(*map(_plain, arguments))


def attention_call(*shape: float) -> Any:
    """What the attention kernels need to know of shapes; strides are added to it."""
    module = _module()
    assert module is not None
    return module.AttentionCall(*shape)


def _plain(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        assert argument.is_contiguous()
        assert argument.device.type == "cpu"
        return argument.data_ptr()
    return 0 if argument is None else argument
