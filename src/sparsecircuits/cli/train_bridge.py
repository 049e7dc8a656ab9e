"""What ``train --bridge DENSE`` adds to a training: the dense model, and the settings of the bridge."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparsecircuits.cli.arguments import RUNS, dense_place
from sparsecircuits.cli.settings import override
from sparsecircuits.errors import CheckpointError, ConfigError, near_misses

if TYPE_CHECKING:
    from sparsecircuits.bridges.config import BridgeConfig
    from sparsecircuits.bridges.dense import DenseModel
    from sparsecircuits.bridges.training import Bridged
    from sparsecircuits.presets import Preset

_PREFIX = "bridge."


def bridge_settings(words: Sequence[str], *, asked: bool) -> tuple[list[str], BridgeConfig]:
    """Words of ``--set`` without those of the bridge, and what these come to.

    >>> bridge_settings(["train.lr=0.01", "bridge.mixtures=2"], asked=True)[1].mixtures
    2

    Raises:
        ConfigError: there are some although no bridge is asked for; or what they set does not fit.
    """
    from sparsecircuits.bridges.config import NamedBridgeConfig

    own = [word for word in words if word.startswith(_PREFIX)]
    if own and not asked:
        raise ConfigError(
            f"{own[0].partition('=')[0]} is a setting of a bridge; say to which model: --bridge"
        )
    return [word for word in words if word not in own], override(NamedBridgeConfig(), own).bridge


def open_dense(name: str) -> DenseModel:
    """The dense model by its name: a folder, a run in ``runs/``, a name on the Hub, ``transformers:NAME``.

    Raises:
        CheckpointError: there is none; the message names the runs that sound like it.
        ConfigError: it is not built like GPT-2.
    """
    from sparsecircuits.bridges.dense import load_dense
    from sparsecircuits.train.run import RUN_FILE

    place = dense_place(name)
    assert place is not None
    if isinstance(place, Path):
        return load_dense(place)
    try:
        return load_dense(place)
    except CheckpointError as error:
        found = [path.parent for depth in ("*", "*/*") for path in RUNS.glob(f"{depth}/{RUN_FILE}")]
        known = [path.relative_to(RUNS).as_posix() for path in found]
        raise CheckpointError(f"--bridge {name}: {error}; in {RUNS}: {near_misses(name, known)}") from error


def dense_corpus(dense: DenseModel) -> Path | None:
    """The corpus of the dense run, which the sparse model is trained on unless told otherwise; says so.

    Raises:
        ConfigError: the dense model is no run of ours, so that nothing says which tokens it reads.
    """
    from sparsecircuits.bridges.dense import corpus_of

    found = corpus_of(dense)
    if found is None:
        raise ConfigError(
            f"--bridge {dense.source}: no corpus comes with it; build one of the same tokens (sparsecircuits "
            f"data --tokenizer FILE) and name it with --data"
        )
    print(f"on the dense run's corpus, {found}", file=sys.stderr)
    return found


def require_same_tokens(dense: DenseModel, preset: Preset) -> None:
    """Refuse to build a corpus with a tokenizer of its own: the dense model would not read it.

    Raises:
        ConfigError: the preset names no tokenizer.
    """
    if preset.data.tokenizer is None:
        file = "TOKENIZER" if dense.folder is None else dense.folder / "tokenizer.json"
        raise ConfigError(
            f"--bridge {dense.source}: both models must read the same tokens; build the corpus with its "
            f"tokenizer: --set data.tokenizer={file}"
        )


def bridged(dense: DenseModel, settings: BridgeConfig, preset: Preset) -> Bridged:
    """The method to train by.

    Raises:
        ConfigError: the two models do not fit together.
    """
    from sparsecircuits.bridges.training import Bridged

    return Bridged(dense, settings, preset.run)
