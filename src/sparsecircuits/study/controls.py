"""Controls of a run's task: circuits of nonsense and of random weights. (T8, T9.)

In ``RUN/controls/TASK`` there is a folder for each control, such as ``nonsense-pair-0`` or
``shuffled-weights-2``, and ``real`` for the task itself, pruned likewise
(:mod:`sparsecircuits.validate.prune_controls`). Each has its figures in ``result.json`` and, where the target
was reached, its circuit. What is there of the same model, settings and task is not pruned again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsecircuits.circuit import save_circuit
from sparsecircuits.circuit.files import CIRCUIT_FILE, VALUES_FILE
from sparsecircuits.errors import ConfigError
from sparsecircuits.files import write_atomic
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.tasks import Task
from sparsecircuits.tasks.own import version_of
from sparsecircuits.validate.controls import ControlResult, nonsense_control, random_weights_control
from sparsecircuits.validate.nonsense import MAPS
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.prune_controls import (
    SCALES,
    WEIGHTS,
    Control,
    Pruned,
    Watch,
    controls_of,
    prune_controls,
    real_one,
    rounds,
    settings,
    trained_scale,
)

RESULT_FILE = "result.json"
#: What can be asked for by name.
NAMES = ("nonsense", *WEIGHTS)
#: What each test consists of in full.
COUNTS: dict[str, dict[str, int]] = {"T8": {"nonsense": len(MAPS)}, "T9": dict.fromkeys(WEIGHTS, 3)}


@dataclasses.dataclass(frozen=True)
class ControlStudy:
    """The real task and its controls.

    Attributes:
        real: the task itself, pruned like its controls.
        controls: in the order of the folders that they lie in, nonsense first.
        folder: of all of them.
        target: that all were pruned to, in nats.
    """

    real: ControlResult
    controls: tuple[ControlResult, ...]
    folder: Path
    target: float

    @property
    def outcomes(self) -> tuple[Outcome, Outcome]:
        """T8 and T9."""
        return (
            nonsense_control(self.real, self.controls, target=self.target),
            random_weights_control(self.real, self.controls, target=self.target),
        )


def parse_controls(words: Sequence[str]) -> dict[str, int]:
    """What is asked for: ``KIND:COUNT`` each, kind by count.

    >>> parse_controls(["nonsense:3", "shuffled-weights:1"])
    {'nonsense': 3, 'shuffled-weights': 1}

    Raises:
        ConfigError: a word of another form, an unknown kind, one that was named before, or a count that there
            is not.
    """
    counts: dict[str, int] = {}
    for word in words:
        kind, _, count = word.partition(":")
        if kind not in NAMES:
            raise ConfigError(f"unknown control {kind!r}; known: {', '.join(NAMES)}")
        if kind in counts:
            raise ConfigError(f"two counts of the control {kind!r}; give one")
        most = len(MAPS) if kind == "nonsense" else None
        if not count.isdecimal() or not 1 <= int(count) <= (most or int(count)):
            allowed = f"1 to {most}" if most else "1 or more"
            raise ConfigError(f"{word!r} is not {kind}:COUNT, such as {kind}:3; the count is {allowed}")
        counts[kind] = int(count)
    return counts


def run_controls(
    pruner: RunPruner, task: Task, counts: Mapping[str, int], watch: Watch | None = None
) -> ControlStudy:
    """Prune what is not there yet, the real task too, and give all that was asked for.

    Args:
        pruner: of the run, with its settings; the objective is ``task`` whatever they say.
        task: the real one.
        counts: as :func:`parse_controls` gives them, or one of :data:`COUNTS`.
        watch: told of every mask step and every circuit that is tried, with the control's name.

    Raises:
        TaskError: the task does not fit the tokenizer.
        PruneError: the model itself misses the target on the real task.
    """
    config = settings(pruner.config)
    wanted = [real_one(task), *controls_of(task, counts)]
    found = {one.name: _read(pruner, one, task) for one in wanted}
    missing = [one for one in wanted if found[one.name] is None]
    scale = trained_scale(pruner.model, task, pruner.tokenizer, config) if missing else 1.0
    for some in rounds(missing):
        pruned = prune_controls(
            some[0].model(pruner.model),
            some,
            pruner.tokenizer,
            pruner.run.corpus().train,
            config,
            scale=scale,
            means=pruner.means if some[0].of_trained else None,
            watch=watch,
        )
        for one, each in zip(some, pruned, strict=True):
            _write(pruner, one, task, each)
            found[one.name] = each.result
    real, *controls = [result for one in wanted if (result := found[one.name]) is not None]
    return ControlStudy(real, tuple(controls), folder_of(pruner, task), config.target)


def missing_controls(pruner: RunPruner, task: Task, counts: Mapping[str, int]) -> list[Control]:
    """What :func:`run_controls` would have to prune."""
    wanted = [real_one(task), *controls_of(task, counts)]
    return [one for one in wanted if _read(pruner, one, task) is None]


def control_outcomes(pruner: RunPruner, task: Task) -> list[Outcome]:
    """T8 and T9 from what is there of this model, task and settings; none of a test that was not made.

    A test that lacks one of its kinds (all maps of T8, both kinds of weights of T9) is open.
    """
    folder, asked = folder_of(pruner, task), _settings(pruner, task)
    told = [one for path in sorted(folder.glob(f"*/{RESULT_FILE}")) if (one := _told_at(path)) is not None]
    results = [ControlResult.from_dict(one["result"]) for one in told if one["settings"] == asked]
    real = [one for one in results if one.kind == "real"]
    if not real:
        return []
    controls = tuple(one for one in results if one.kind != "real")
    study = ControlStudy(real[0], controls, folder, pruner.config.target)
    needed = {"T8": {str(one) for one in MAPS}, "T9": {f"{kind}-0" for kind in WEIGHTS}}
    there = {one.name for one in controls}
    return [
        outcome if needed[outcome.test] <= there else _lacking(outcome, needed[outcome.test] - there)
        for outcome in study.outcomes
        if needed[outcome.test] & there
    ]


def _lacking(outcome: Outcome, names: set[str]) -> Outcome:
    """Open, unless what is there fails already."""
    if outcome.passed is False:
        return outcome
    note = f"not pruned yet: {', '.join(sorted(names))}"
    return dataclasses.replace(outcome, passed=None, open=True, note=note)


def folder_of(pruner: RunPruner, task: Task) -> Path:
    """Where the controls of a task lie; a variant's ``:`` becomes ``_``."""
    return pruner.run.folder / "controls" / task.name.replace(":", "_")


def _settings(pruner: RunPruner, task: Task) -> str:
    """Tells prunings apart that cannot be compared: model, task, settings, scales."""
    return "-".join([pruner.digest(task, settings(pruner.config)), *(f"{scale:g}" for scale in SCALES)])


def _read(pruner: RunPruner, control: Control, task: Task) -> ControlResult | None:
    """None where there is none, or one of something else."""
    told = _told_at(folder_of(pruner, task) / control.name / RESULT_FILE)
    if told is None or told["settings"] != _settings(pruner, task):
        return None
    return ControlResult.from_dict(told["result"])


def _told_at(path: Path) -> dict[str, Any] | None:
    """A whole result, or None."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        ControlResult.from_dict(told["result"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told if {"settings", "model_sha256", "target"} <= told.keys() else None


def _write(pruner: RunPruner, control: Control, task: Task, pruned: Pruned) -> None:
    """The circuit first: where there is a result, there is its circuit."""
    folder = folder_of(pruner, task) / control.name
    for name in (RESULT_FILE, CIRCUIT_FILE, VALUES_FILE):
        (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    if pruned.circuit is not None:
        info = {**pruned.circuit.info, "control": pruned.result.to_dict()}
        save_circuit(dataclasses.replace(pruned.circuit, info=info), folder)
    told = {
        "settings": _settings(pruner, task),
        "model_sha256": pruner.hash,
        "task": control.task.name,
        **version_of(task),
        "target": pruner.config.target,
        "result": pruned.result.to_dict(),
    }
    write_atomic(folder / RESULT_FILE, (json.dumps(told, indent=2) + "\n").encode())
