"""A circuit's figures: as pruning stored them in ``circuit.info``, or measured where they do not fit it."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import SparseGPT
from sparsecircuits.tasks import TokenPairs
from sparsecircuits.tasks.score import Calibration, fit_scale, pair_logits, score
from sparsecircuits.validate import Necessity
from sparsecircuits.viz.schema import load_schema

_MEASURED = ("loss", "raw_loss", "accuracy", "full_loss", "edges")


def metrics(
    model: SparseGPT, circuit: Circuit, pairs: TokenPairs, necessity: Necessity | None = None
) -> dict[str, Any]:
    """The document's ``metrics``.

    Args:
        model: the model that the circuit was cut out of.
        circuit: its info is used if it speaks of as many nodes and edges.
        pairs: held-out pairs, for what has to be measured.
        necessity: None: what ``circuit.info["necessity"]`` holds, if anything.
    """
    info = circuit.info
    size = (len(circuit.nodes), circuit.edge_count(model))
    if (info.get("nodes"), info.get("edges")) == size and all(key in info for key in _MEASURED):
        figures = {key: info[key] for key in _MEASURED}
        count = setting(circuit, "heldout_pairs", len(pairs))
        needed = dataclasses.asdict(necessity) if necessity else info.get("necessity")
        met = bool(info.get("met", figures["loss"] <= info.get("target", 0.15)))
    else:  # made or edited by hand
        figures, count = _measure(model, circuit, pairs), len(pairs)
        needed = dataclasses.asdict(necessity) if necessity else None
        met = figures["loss"] <= info.get("target", 0.15)
    keys = load_schema()["$defs"]["necessity"]["required"]
    return {
        **figures,
        "target": info.get("target", 0.15),
        "met": met,
        "scale": circuit.scale,
        "nodes": len(circuit.nodes),
        "heldout_pairs": count,
        "necessity": {key: needed[key] for key in keys} if needed else None,
    }


def _measure(model: SparseGPT, circuit: Circuit, pairs: TokenPairs) -> dict[str, float | int]:
    with circuit.installed(model):
        logits = pair_logits(model, pairs)
    scaled, raw = score(logits, pairs, circuit.calibration), score(logits, pairs)
    full = pair_logits(model, pairs)
    with torch.enable_grad():
        scale = circuit.info.get("full_scale") or fit_scale(full, pairs)
    return {
        "loss": scaled.loss,
        "raw_loss": raw.loss,
        "accuracy": scaled.accuracy,
        "full_loss": score(full, pairs, Calibration(scale, 0.0)).loss,
        "edges": circuit.edge_count(model),
    }


def setting(circuit: Circuit, key: str, default: int) -> int:
    """A setting that the circuit was found with."""
    return circuit.info.get("config", {}).get(key, default)
