"""What ``docs/ablations.md`` shows can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from sparsecircuits.cli.options import read_options
from sparsecircuits.cli.train import Options, resolve

DOC = (Path(__file__).parents[2] / "docs" / "ablations.md").read_text(encoding="utf-8")


def test_its_commands_name_presets_and_settings_that_there_are() -> None:
    lines = re.findall(r"^sparsecircuits train (.+)$", DOC, re.MULTILINE)
    assert len(lines) == 5
    asked = [read_options(Options, "train", shlex.split(line)) for line in lines]
    densities = [resolve(one.preset, one.set).train.density for one in asked]
    assert densities == [1 / 32, 1 / 32, 1 / 32, 1 / 64, 1.0]  # the last one is the dense twin
