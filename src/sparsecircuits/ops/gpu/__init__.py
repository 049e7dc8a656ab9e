"""The Triton kernels for CUDA: are they there, are they wanted, and a way to run them without a GPU.

They take tensors on a GPU where ``triton`` is installed (CUDA builds of torch bring it along); elsewhere, or
with the environment variable ``SPARSECIRCUITS_GPU_KERNELS`` set to ``off``, every operation runs on its
definition in plain torch. Importing this package imports no Triton: an operation imports the module with its
kernels when :func:`takes` has said yes.

On a machine without a GPU the kernels run in Triton's interpreter, on tensors of the CPU, inside
:func:`interpreted`. That is for tests: it is thousands of times slower than a GPU.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from sparsecircuits.errors import ConfigError, near_misses

VARIABLE = "SPARSECIRCUITS_GPU_KERNELS"
TRITON = "triton"
OFF = "off"
#: What has Triton run kernels in its interpreter; it reads it when it and the kernels are first imported.
INTERPRET = "TRITON_INTERPRET"
#: Wider rows do not fit into the registers of a program: AbsTopK of them is left to its definition.
WIDEST_ROW = 8192


class MissingTriton(UserWarning):
    """There is a GPU, but no Triton to write its kernels."""


_installed = find_spec("triton") is not None
_chosen: str | None = None
_device = "cuda"


def kernels() -> str:
    """Which kernels run on a GPU: ``triton``, or ``off`` for the definitions.

    Raises:
        ConfigError: the environment variable names kernels that do not exist here.
    """
    global _chosen
    if _chosen is None:
        _chosen = _from_environment()
    return _chosen


def available() -> list[str]:
    """What :func:`using` takes here, the fastest first."""
    return [TRITON, OFF] if _installed else [OFF]


def _from_environment() -> str:
    wanted = os.environ.get(VARIABLE) or available()[0]
    _check(wanted, f"{VARIABLE}: ")
    return wanted


def _check(name: str, where: str = "") -> None:
    if name == TRITON and not _installed:
        raise ConfigError(f"{where}Triton is not installed: pip install 'sparsecircuits[gpu]'")
    if name not in available():
        raise ConfigError(f"{where}no GPU kernels {name!r}; {near_misses(name, available())}")


@contextmanager
def using(name: str) -> Generator[None]:
    """Run the operations on these kernels while the context lasts: one of :func:`available`.

    Raises:
        ConfigError: kernels that do not exist here.
    """
    global _chosen
    _check(name)
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before


@contextmanager
def interpreted() -> Generator[None]:
    """Take tensors of the CPU instead of a GPU's, and run the kernels in Triton's interpreter: for tests.

    Raises:
        ConfigError: no Triton, or ``TRITON_INTERPRET=1`` was not set before Triton was first imported.
    """
    global _device
    _check(TRITON)
    from triton.language import standard
    from triton.runtime import JITFunction

    if os.environ.get(INTERPRET) != "1" or isinstance(standard.sum, JITFunction):
        raise ConfigError(
            f"set {INTERPRET}=1 before the process first imports triton (or torch.compile does)"
        )
    before, _device = _device, "cpu"
    try:
        yield
    finally:
        _device = before


def takes(*tensors: Tensor | None, types: tuple[torch.dtype, ...] = (torch.float32,)) -> bool:
    """Whether the kernels are there and read all of these: on a GPU, of one of ``types``."""
    for tensor in tensors:
        if tensor is not None and (tensor.device.type != _device or tensor.dtype not in types):
            return False
    if kernels() == OFF:
        if not _installed and OFF not in os.environ.get(VARIABLE, ""):
            _say_missing()
        return False
    return True


_said = False


def _say_missing() -> None:
    global _said
    if not _said:
        _said = True
        warnings.warn(
            "sparsecircuits runs without its GPU kernels: training on the GPU is slower, results are the "
            f"same. pip install 'sparsecircuits[gpu]' brings them; {VARIABLE}={OFF} silences this",
            MissingTriton,
            stacklevel=4,
        )


def device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """A context in which kernels are launched on the GPU that holds ``tensor``."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def launch(
    kernel: Any, grid: tuple[int, ...], *arguments: Any, warps: int, fuse: bool = False, **constants: Any
) -> None:
    """Run a kernel on the GPU that holds its first argument.

    ``fuse``: round a product and the sum after it once, which is faster. Unasked, some versions of Triton do
    and some do not.
    """
    with device_of(arguments[0]):
        kernel[grid](*arguments, **constants, num_warps=warps, enable_fp_fusion=fuse)
