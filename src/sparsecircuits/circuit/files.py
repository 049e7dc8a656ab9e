"""A circuit's files: ``circuit.json`` for people and other tools, ``circuit.safetensors`` for numbers.

The JSON holds task, nodes by name, absent edges, gains, calibration, provenance and labels; the safetensors
file the frozen values of every site, exactly. The JSON holds its own SHA-256 and that of the other, so that
neither can be damaged nor the two mixed up without notice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparsecircuits.circuit.circuit import Circuit
from sparsecircuits.circuit.labels import Labels
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.files import write_atomic
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.model.checkpoint import load_tensors, save_tensors

CIRCUIT_FILE = "circuit.json"
VALUES_FILE = "circuit.safetensors"
FORMAT = "sparsecircuits.circuit"
FORMAT_VERSION = 2
#: What a circuit without cuts, gains and bias is written as, so that earlier releases read it too. (They
#: would pass over these, and take the circuit for another; so with any of them it is version 2. Labels they
#: may pass over: the circuit is the same without.)
PLAIN_VERSION = 1


def save_circuit(circuit: Circuit, folder: str | Path) -> None:
    """Write a circuit into ``folder``; losses are means over both sides of the pairs (the paper's)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    frozen = {name: values.float().contiguous() for name, values in circuit.frozen.items()}
    save_tensors(frozen, folder / VALUES_FILE)
    more = {
        "cut": [[str(source), str(target)] for source, target in sorted(circuit.cut)],
        "gain": {str(node): circuit.gain[node] for node in sorted(circuit.gain)},
        "bias": circuit.bias,
    }
    more = {key: value for key, value in more.items() if value}
    data = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION if more else PLAIN_VERSION,
        "task": circuit.task,
        "loss_convention": "mean of the two sides",
        "nodes": [str(node) for node in sorted(circuit.nodes)],
        "scale": circuit.scale,
        **more,
        "values_sha256": _sha256(folder / VALUES_FILE),
        "info": dict(circuit.info),
    }
    _write(data, circuit.labels, folder)


def save_labels(folder: str | Path, labels: Labels) -> Circuit:
    """Give the circuit in ``folder`` these labels in place of those that it has; nothing else changes.

    The file is replaced in one step, so whoever reads it meanwhile finds the old labels or the new.

    Returns:
        The circuit with its new labels.

    Raises:
        CheckpointError: no sound circuit there, or a label of a node that it lacks.
    """
    circuit = replace(load_circuit(folder), labels=labels)
    _write(json.loads((Path(folder) / CIRCUIT_FILE).read_text()), labels, Path(folder))
    return circuit


def _write(data: dict[str, Any], labels: Labels, folder: Path) -> None:
    """Write the JSON, with these labels and no others, and with its hash."""
    data = {key: value for key, value in data.items() if key not in ("labels", "content_sha256")}
    if labels:
        data["labels"] = labels.to_dict()
    data["content_sha256"] = _content_sha256(data)
    write_atomic(folder / CIRCUIT_FILE, (json.dumps(data, indent=2) + "\n").encode())


def load_circuit(folder: str | Path) -> Circuit:
    """Read a circuit that :func:`save_circuit` wrote.

    Raises:
        CheckpointError: missing or damaged, naming the file and what is wrong; in a run's folder, naming
            the run's circuits.
    """
    path = Path(folder) / CIRCUIT_FILE
    if not path.exists():
        raise CheckpointError(
            f"{folder}: no circuit here: it holds no {CIRCUIT_FILE}{_elsewhere(path.parent)}"
        )
    try:
        data = json.loads(path.read_text())
        if data["format"] != FORMAT or data["format_version"] not in (PLAIN_VERSION, FORMAT_VERSION):
            raise CheckpointError(f"{path}: format {data['format']!r} {data['format_version']!r} is not ours")
        nodes = frozenset(Node.parse(name) for name in data["nodes"])
        task, scale, info = str(data["task"]), float(data["scale"]), dict(data["info"])
        cut = frozenset((Node.parse(one), Node.parse(other)) for one, other in data.get("cut", ()))
        gain = {Node.parse(name): float(value) for name, value in data.get("gain", {}).items()}
        bias = float(data.get("bias", 0.0))
        labels = Labels.from_dict(data.get("labels", {}))
        expected, own = data["values_sha256"], data.pop("content_sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: damaged: {error}") from error
    values = path.with_name(VALUES_FILE)
    if not values.is_file():
        raise CheckpointError(f"{values}: missing")
    if _sha256(values) != expected:
        raise CheckpointError(f"{values}: its content does not match the hash in {path.name}")
    frozen = load_tensors(values)
    try:
        circuit = Circuit(task, nodes, frozen, scale, info, cut, gain, bias, labels)
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if own != _content_sha256(data):
        raise CheckpointError(f"{path}: its content does not match its own hash")
    return circuit


def model_hash(model: SparseGPT) -> str:
    """SHA-256 over names, shapes and values of all parameters: which model a circuit belongs to.

    -0.0 counts as 0.0: a sparse form keeps neither.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update((tensor.detach().float() + 0.0).cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def circuit_hash(circuit: Circuit) -> str:
    """SHA-256 of all that decides what a circuit does: nodes, cuts, gains, frozen values, calibration.

    Labels and provenance are not in it.
    """
    told = {
        "task": circuit.task,
        "nodes": [str(node) for node in sorted(circuit.nodes)],
        "cut": [[str(source), str(target)] for source, target in sorted(circuit.cut)],
        "gain": {str(node): gain for node, gain in sorted(circuit.gain.items())},
        "scale": circuit.scale,
        "bias": circuit.bias,
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, values in sorted(circuit.frozen.items()):
        digest.update(name.encode())
        digest.update(values.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _elsewhere(folder: Path) -> str:
    """A sentence end that names the circuits of a run, where a run's folder was taken for a circuit's."""
    for place in (folder / "circuits", folder):
        if names := sorted(path.parent.name for path in place.glob(f"*/{CIRCUIT_FILE}")):
            return f"; those in {place}: {', '.join(names)}"
    return ""


def _content_sha256(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
