"""Which kernels run: the variable, the context, and what is said where they are missing."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
import torch

from sparsecircuits import ops
from sparsecircuits.errors import ConfigError
from sparsecircuits.ops import gelu, native

compiled = pytest.mark.skipif(native.available() == [native.OFF], reason="the kernels were not compiled")


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not called a kernel yet."""
    monkeypatch.setattr(native, "_loaded", native._UNKNOWN)
    monkeypatch.delenv(native.VARIABLE, raising=False)


@pytest.fixture
def missing(unloaded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ops, "_native", raising=False)
    monkeypatch.setitem(sys.modules, "sparsecircuits.ops._native", None)


def test_the_variable_chooses_in_a_new_process():
    program = "from sparsecircuits.ops import native; print(native.kernels())"
    for name in (native.OFF, native.available()[0]):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, native.VARIABLE: name},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == name


@compiled
def test_an_unknown_choice_names_the_known_ones(unloaded: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(native.VARIABLE, "nonsense")
    with pytest.raises(
        ConfigError, match="SPARSECIRCUITS_KERNELS: .* no kernels 'nonsense'; known: .*off, plain"
    ):
        native.kernels()
    monkeypatch.setenv(native.VARIABLE, "plane")
    with pytest.raises(ConfigError, match="plain"):
        gelu(torch.ones(1))


@pytest.mark.usefixtures("missing")
def test_missing_kernels_are_said_once_and_the_definitions_run():
    with pytest.warns(native.MissingKernels, match="several times slower"):
        y = gelu(torch.tensor([1.0]))
    assert y.item() == pytest.approx(0.8413447)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gelu(torch.ones(1))
        assert native.kernels() == native.OFF
        assert native.available() == [native.OFF]


@pytest.mark.usefixtures("missing")
def test_missing_kernels_that_were_asked_for_are_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(native.VARIABLE, "avx2")
    with pytest.raises(ConfigError, match="SPARSECIRCUITS_KERNELS=avx2, but the kernels were not compiled"):
        native.kernels()
    monkeypatch.setenv(native.VARIABLE, native.OFF)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.kernels() == native.OFF


@compiled
def test_contexts_nest_and_end():
    before = native.kernels()
    with native.using(native.OFF):
        assert not native.takes(torch.ones(1))
        with native.using("plain"):
            assert native.kernels() == "plain"
            assert native.takes(torch.ones(1), None)
        assert native.kernels() == native.OFF
    with pytest.raises(RuntimeError, match="inside"), native.using("plain"):
        raise RuntimeError("inside")
    assert native.kernels() == before
    with pytest.raises(ConfigError, match="no kernels 'avx1024'"), native.using("avx1024"):
        pass
    assert native.kernels() == before


@compiled
def test_tensors_of_other_types_and_places_are_left_to_the_definitions():
    assert native.takes(torch.ones(1), torch.ones(2, 3).T)
    assert not native.takes(torch.ones(1), torch.ones(1).double())
    assert not native.takes(torch.ones(1, device="meta"))
