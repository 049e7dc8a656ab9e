"""Whether the GPU kernels run: the variable, the context, and what is said without Triton or a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
import torch

from sparsecircuits.errors import ConfigError
from sparsecircuits.ops import abs_topk, gpu

X = torch.tensor([[3.0, -1.0, 0.5, -4.0, 2.0]])


def run(program: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in (gpu.VARIABLE, gpu.INTERPRET)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=kept | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_variable_switches_them_off_and_importing_imports_no_triton():
    program = "import sys; from sparsecircuits.ops import gpu; print(gpu.kernels(), 'triton' in sys.modules)"
    assert run(program, **{gpu.VARIABLE: "off"}) == "off False"


def test_unset_they_are_on_where_triton_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "_chosen", None)
    monkeypatch.delenv(gpu.VARIABLE, raising=False)
    assert gpu.kernels() == gpu.available()[0]


def test_an_unknown_choice_names_the_known_ones(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match=r"no GPU kernels 'cuda'; known: off"), gpu.using("cuda"):
        pass
    monkeypatch.setattr(gpu, "_chosen", None)
    monkeypatch.setenv(gpu.VARIABLE, "of")
    with pytest.raises(
        ConfigError, match=r"SPARSECIRCUITS_GPU_KERNELS: no GPU kernels 'of'; did you mean 'off'"
    ):
        gpu.kernels()


def test_tensors_of_the_cpu_are_taken_in_the_interpreter_alone(device: torch.device):
    x = X.to(device).requires_grad_()
    assert gpu.takes(x)
    assert not gpu.takes(x, x.double())
    assert gpu.takes(x.double(), None, types=(torch.float64,))
    assert "sparsecircuits_gpu" in backward_of(abs_topk(x, 2))
    with gpu.using("off"):
        assert not gpu.takes(x)
        assert "sparsecircuits_gpu" not in backward_of(abs_topk(x, 2))
    assert gpu.takes(x)


def test_outside_the_interpreter_the_cpu_is_not_taken():
    assert not gpu.takes(X)


def backward_of(y: torch.Tensor) -> str:
    """The names of what its gradient goes through."""
    names, functions = [], [y.grad_fn]
    while functions:
        function = functions.pop()
        if function is not None:
            names.append(function.name())
            functions += [before for before, _ in function.next_functions]
    return " ".join(names)


def test_the_interpreter_must_be_asked_for_before_triton_is_imported():
    pytest.importorskip("triton")
    program = """
import os, triton
from sparsecircuits.ops import gpu
for value in ("0", "1"):
    os.environ["TRITON_INTERPRET"] = value
    try:
        with gpu.interpreted():
            pass
    except ValueError as error:
        print(error)
"""
    wanted = "set TRITON_INTERPRET=1 before the process first imports triton (or torch.compile does)"
    assert run(program).splitlines() == [wanted] * 2


def test_without_triton_the_definitions_run_and_that_is_said_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "_installed", False)
    monkeypatch.setattr(gpu, "_chosen", None)
    monkeypatch.setattr(gpu, "_device", "cpu")  # as if X were on a GPU
    monkeypatch.setattr(gpu, "_said", False)
    monkeypatch.delenv(gpu.VARIABLE, raising=False)
    with pytest.warns(gpu.MissingTriton, match=r"pip install 'sparsecircuits\[gpu\]'"):
        assert not gpu.takes(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert abs_topk(X, 2).tolist() == [[3.0, 0.0, 0.0, -4.0, 0.0]]
    with pytest.raises(ConfigError, match=r"pip install 'sparsecircuits\[gpu\]'"), gpu.using("triton"):
        pass


def test_switched_off_nothing_is_said_of_a_missing_triton(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "_installed", False)
    monkeypatch.setattr(gpu, "_chosen", None)
    monkeypatch.setattr(gpu, "_device", "cpu")
    monkeypatch.setattr(gpu, "_said", False)
    monkeypatch.setenv(gpu.VARIABLE, "off")
    assert not gpu.takes(X)
