"""Replay: a saved circuit, loaded in another process, gives the same loss (T24).

Published circuits have failed this: without their frozen values or calibration nobody could run them. Here
model, circuit and prompts are written as files, a new Python process reads them, and its losses are compared:

1. on the subject's held-out prompts, with the loss measured in this process;
2. on the prompts that the circuit's own figures were measured on, drawn anew from its settings, with the loss
   that its file states.

``python -m sparsecircuits.validate.replay FOLDER`` is that other process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from sparsecircuits.circuit import load_circuit, save_circuit
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.checkpoint import load_model, load_tensors, save_tensors
from sparsecircuits.prune.splits import Splits
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import pair_logits, score
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

_TENSORS = ("tokens", "last", "target", "other")
#: Sets of prompts.
_HELDOUT, _STATED = "heldout", "stated"


def replay(subject: Subject, *, model: Path | None = None, circuit: Path | None = None) -> Outcome:
    """T24: the largest difference of a loss, here and in a new process.

    Args:
        subject: what is tested.
        model: folder of the saved model; None: it is saved for the purpose.
        circuit: folder of the saved circuit; None: likewise.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {_HELDOUT: subject.heldout}
        here = {_HELDOUT: _loss(subject, subject.heldout)}
        stated = _stated(subject)
        if stated is not None:
            sets[_STATED], here[_STATED] = stated, float(subject.circuit.info["loss"])
        if model is None:
            model = folder / "model"
            subject.model.save_pretrained(model)
        if circuit is None:
            circuit = folder / "circuit"
            save_circuit(subject.circuit, circuit)
        for key, pairs in sets.items():
            tensors = {part: getattr(pairs, part).contiguous() for part in _TENSORS}
            save_tensors(tensors, folder / f"{key}.safetensors")
        spec = {
            "model": str(model),
            "circuit": str(circuit),
            "form": subject.heldout.form,
            "sets": list(sets),
        }
        (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        there = _in_new_process(folder)
    if isinstance(there, str):
        failed = f"a new process cannot run it: {there}"
        return Outcome(test="T24", estimate=None, passed=False, note=failed)
    changes = {key: abs(there["losses"][key] - here[key]) for key in sets}
    same = {key: there["hashes"][key] == pairs.hash for key, pairs in sets.items()}
    worst = max(changes.values())
    return Outcome(
        test="T24",
        estimate=worst,
        passed=worst <= THRESHOLDS.replay and all(same.values()),
        figures={
            "loss_here": here,
            "loss_there": there["losses"],
            "prompts_sha256": {key: pairs.hash for key, pairs in sets.items()},
            "prompts_equal": all(same.values()),
        },
        settings=subject.settings(subject.heldout, ablated="all other nodes", to="their means"),
        note="" if stated is not None else "the circuit's file states no loss of its own",
    )


def _stated(subject: Subject) -> TokenPairs | None:
    """The held-out prompts that the loss in the circuit's file was measured on, drawn anew."""
    info = subject.circuit.info
    if "loss" not in info or "config" not in info:
        return None
    config = subject.config.from_dict(dict(info["config"]))
    return Splits.draw(subject.task, subject.tokenizer, config, subject.model.config.n_ctx).heldout


@torch.no_grad()
def _loss(subject: Subject, pairs: TokenPairs) -> float:
    with subject.circuit.installed(subject.model):
        return score(pair_logits(subject.model, pairs), pairs, subject.circuit.calibration).loss


def _in_new_process(folder: Path) -> dict[str, Any] | str:
    """What it says; or the last line of what went wrong."""
    words = [sys.executable, "-m", "sparsecircuits.validate.replay", str(folder)]
    told = subprocess.run(words, check=False, capture_output=True, encoding="utf-8")
    if told.returncode:
        return (told.stderr.strip().splitlines() or [f"exit code {told.returncode}"])[-1]
    return json.loads(told.stdout)


@torch.no_grad()
def _main(folder: Path) -> None:
    """The other process: read everything from files, print losses and hashes as JSON."""
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    model: SparseGPT = load_model(Path(spec["model"])).to_sparse()
    circuit = load_circuit(spec["circuit"])
    losses, hashes = {}, {}
    for key in spec["sets"]:
        tensors = load_tensors(folder / f"{key}.safetensors")
        tokens, last, target, other = (tensors[part] for part in _TENSORS)
        pairs = TokenPairs(
            tokens,
            last,
            target,
            other,
            form=spec["form"],
            texts=tuple([None] * (len(tensors["last"]) // 2)),  # type: ignore[arg-type]
            task=circuit.task,
            split="heldout",
            seed=0,
        )
        with circuit.installed(model):
            losses[key] = score(pair_logits(model, pairs), pairs, circuit.calibration).loss
        hashes[key] = pairs.hash
    sys.stdout.write(json.dumps({"losses": losses, "hashes": hashes}))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
