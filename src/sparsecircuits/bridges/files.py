"""A finished bridge as a file beside its sparse model, and the pair of models that it joins.

``RUN/model/bridge.safetensors`` has the maps, and in its header their shape and a hash, so that one flipped
bit is noticed. Which dense model they lead to stands in ``RUN/run.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.config import BridgeConfig
from sparsecircuits.bridges.dense import DenseModel, fingerprint, load_dense
from sparsecircuits.bridges.sides import Ours
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model.checkpoint import load_tensors, save_tensors
from sparsecircuits.train.run import Run

BRIDGE_FILE = "bridge.safetensors"
FORMAT, VERSION = "sparsecircuits.bridge", 1
#: Where in the file's header its facts are; in one entry, as the order of several is not kept.
HEADER = "bridge"
_SHAPE = ("dense", "sparse", "locations", "fraction")


def save_bridge(bridge: Bridge, folder: Path) -> None:
    """Write a bridge into the folder of its sparse model.

    Raises:
        SaveError: it could not be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: one.detach().cpu().contiguous() for name, one in bridge.named_parameters()}
    shape = {key: getattr(bridge, key) for key in _SHAPE}
    facts = {"format": FORMAT, "version": VERSION, "sha256": fingerprint(tensors), "shape": shape}
    save_tensors(tensors, folder / BRIDGE_FILE, {HEADER: json.dumps(facts)})


def load_bridge(folder: Path) -> Bridge:
    """Read the bridge in the folder of its sparse model, frozen.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    path = folder / BRIDGE_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder}: no bridge here: it holds no {BRIDGE_FILE}")
    tensors = load_tensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})[HEADER])
        if facts["format"] != FORMAT or facts["version"] != VERSION:
            raise CheckpointError(f"{path}: not a bridge of this release (version {facts['version']!r})")
        bridge = Bridge(**{key: facts["shape"][key] for key in _SHAPE})
        bridge.load_state_dict(tensors)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged, or no bridge: {error}") from error
    if fingerprint(tensors) != facts.get("sha256"):
        raise CheckpointError(f"{path}: damaged: its content does not match the hash in its header")
    return bridge.requires_grad_(False).eval()


@dataclass(frozen=True)
class Pair:
    """A sparse model, a dense one, and the bridge between them; all frozen."""

    run: Run
    """The sparse model's."""
    dense: DenseModel
    sparse: Ours
    bridge: Bridge
    settings: BridgeConfig
    """What it was trained for."""

    def to(self, device: torch.device | str) -> Pair:
        """Moved to a device."""
        for module in (self.dense.side.module, self.sparse.module, self.bridge):
            module.to(device)
        return self


def load_pair(run: Run, dense: str | Path | None = None) -> Pair:
    """What ``sparsecircuits train RUN --bridge DENSE`` made.

    Args:
        run: the sparse model's.
        dense: where the dense model is, if not where it was in training.

    Raises:
        CheckpointError: the run has no bridge, or has not finished; a file is damaged; or the dense model is
            not there, or not the one of the training.
    """
    if run.beside is None:
        raise CheckpointError(
            f"{run.folder}: trained without a bridge; sparsecircuits train NAME --bridge DENSE makes one"
        )
    model = run.model()
    bridge = load_bridge(run.folder / "model")
    source = dense if dense is not None else run.beside.found(run.folder)
    try:
        other = load_dense(source)
    except CheckpointError as error:
        if dense is not None:
            raise
        raise CheckpointError(
            f"{run.folder}: its dense model is not there any more ({error}); say where it is with --dense"
        ) from error
    if other.sha256 != run.beside.sha256:
        raise CheckpointError(
            f"{source}: not the dense model that {run.folder} has a bridge to: its weights are other ones"
        )
    other.side.module.requires_grad_(False).eval()
    sparse = Ours(model.requires_grad_(False))
    return Pair(run, other, sparse, bridge, BridgeConfig.from_dict(run.beside.settings))
