"""Named starting points: everything that decides a run, as functions that change a few lines of another.

A run is a preset and a few overrides; a variant never becomes a new script. :data:`PRESETS` lists all, each
with a line about it and its source: our own (``demo``, …), the paper's ablations at the scale of ``demo``
(``ablate/NAME``), the authors' family of models (``paper/4x``, ``paper/4x-3.7M``, …). The dense twin of any
is the same with ``train.density=1`` and ``train.embed_density=1``.

>>> get_preset("demo").model.n_layer
2
>>> PRESETS["ablate/floor_0"].source
'Fig 22'
"""

from __future__ import annotations

from sparsecircuits.errors import ConfigError, near_misses
from sparsecircuits.recipes.ablation import BASELINE, Ablation
from sparsecircuits.recipes.ablations import ABLATIONS, ablation
from sparsecircuits.recipes.demo import (
    DEMO_TASKS,
    demo,
    demo_dense,
    demo_plan,
    quick_demo_plan,
    small,
    stories,
    tiny,
)
from sparsecircuits.recipes.family import EXPANSIONS, FAMILY, USUAL, family, members
from sparsecircuits.recipes.preset import Entry, Preset

__all__ = [
    "ABLATIONS",
    "BASELINE",
    "DEMO_TASKS",
    "PRESETS",
    "Ablation",
    "Entry",
    "Preset",
    "ablation",
    "demo",
    "demo_dense",
    "demo_plan",
    "get_preset",
    "quick_demo_plan",
    "small",
    "stories",
    "tiny",
]


def _ours() -> dict[str, Entry]:
    built = (demo, demo_dense, small, tiny, stories)
    return {build.__name__: Entry(build, (build.__doc__ or "").replace("``", "")) for build in built}


def _of(entry: Ablation) -> Entry:
    return Entry(lambda: entry.preset, entry.about, entry.source)


def _family() -> dict[str, Entry]:
    named = {member.name: Entry(member.preset, member.about, "§A.1, §A.2") for member in members()}
    return {
        **{f"{FAMILY}{e}x": named[f"{FAMILY}{e}x-{USUAL}M"] for e in EXPANSIONS},
        **named,
    }


PRESETS: dict[str, Entry] = {
    **_ours(),
    **{f"ablate/{entry.name}": _of(entry) for entry in ABLATIONS},
    **_family(),
}


def get_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: there is none; the message names the closest, or says why there cannot be one.
    """
    if name.startswith(FAMILY):
        return family(name)
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; {near_misses(name, PRESETS)}")
    return PRESETS[name].build()
