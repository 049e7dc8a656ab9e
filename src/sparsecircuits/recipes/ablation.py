"""What an ablation is: ``demo`` with a field or two changed, and what the paper found of that change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparsecircuits.recipes.demo import demo
from sparsecircuits.recipes.preset import Preset
from sparsecircuits.study.ablations import Expected

#: What stands where the paper's finding is not known here.
NOT_STATED = "not stated here"
#: Rates beside the baseline's, as factors, where a change may alter the size of good steps.
RATES = (1 / 3, 3.0)


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One change of the recipe or of the model."""

    name: str
    about: str
    """What is changed."""
    changes: Mapping[str, Any]
    """Field to value, such as ``{"train.floor": 0}``."""
    source: str
    """Figure or section of the paper."""
    found: str = NOT_STATED
    """What the paper found."""
    expected: Expected | None = None
    """What that lets one expect of the loss, beside ``against``; None: nothing is stated."""
    against: str = ""
    """The ablation that it is compared with; "": the baseline."""
    rates: tuple[float, ...] = ()
    """Other rates to try, as factors: the paper sweeps the rate in every experiment."""

    @property
    def preset(self) -> Preset:
        """``demo`` with the changes."""
        return demo().changed(self.changes)

    def at_rate(self, factor: float) -> Preset:
        """The same with the learning rate multiplied by ``factor``."""
        preset = self.preset
        return preset.replace(train=preset.train.replace(lr=preset.train.lr * factor))


def change(name: str, about: str, source: str, changes: Mapping[str, Any], **more: Any) -> Ablation:
    """An ablation, in the order of a table."""
    return Ablation(name=name, about=about, source=source, changes=changes, **more)


BASELINE = Ablation(
    name="baseline", about="the preset demo as it is", source="", changes={}, found="", rates=RATES
)
