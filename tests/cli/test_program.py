"""The installed program, in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparsecircuits.cli.main import COMMANDS


def test_python_dash_m() -> None:
    words = [sys.executable, "-m", "sparsecircuits", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert f"  {name}" in done.stdout


def test_the_console_script() -> None:
    script = shutil.which("sparsecircuits", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("the package is not installed in this environment")
    done = subprocess.run([script, "evl"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: unknown command 'evl'; did you mean 'eval'?\n")


@pytest.mark.parametrize("name", ["data", "train", "eval", "generate", "task", "view"])
def test_help_teaches_by_example_without_waiting_for_torch(name: str) -> None:
    code = (
        "import sys\nfrom sparsecircuits.cli import main\n"
        f"try:\n    main([{name!r}, '--help'])\n"
        "finally:\n    assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Example: sparsecircuits {name}" in done.stdout
