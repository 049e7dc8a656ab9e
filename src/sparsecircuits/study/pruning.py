"""Prune a run's model for a task, test the circuit, and keep it in the run's folder.

A circuit that is there already, of this model, these settings and this task, is loaded instead. A task of a
user's own is kept beside its circuit, as it was then (:mod:`sparsecircuits.tasks.own.kept`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from sparsecircuits.circuit import Circuit, load_circuit, model_hash, save_circuit
from sparsecircuits.circuit.files import CIRCUIT_FILE
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.prune import PruneConfig, Splits, pretraining_means, prune
from sparsecircuits.tasks import Task
from sparsecircuits.tasks.own import is_of, keep_task, version_of
from sparsecircuits.train import Run
from sparsecircuits.validate import necessity, output_match, stochastic_ablation, sufficiency

#: ``watch(mask steps done, loss)``.
Watch = Callable[[int, float], None]


class Loaded(NamedTuple):
    """A saved circuit, or None and why it cannot be used (None too if there was none)."""

    circuit: Circuit | None
    why: str | None


class RunPruner:
    """Prunings of one run; the model's means are measured once, when they are first needed."""

    def __init__(self, run: Run, config: PruneConfig) -> None:
        self.run = run
        self.config = config.replace(max_tokens=min(config.max_tokens, run.config.model.n_ctx))
        self.model, self.tokenizer = run.model().to_sparse(), run.tokenizer()
        self.hash = model_hash(self.model)
        self._means: dict[str, Tensor] | None = None

    def load(self, task: Task) -> Loaded:
        """The circuit that is there already, if it is of this model, these settings and this very task."""
        folder = self.run.circuits / task.name
        if not (folder / CIRCUIT_FILE).is_file():
            return Loaded(None, None)
        try:
            circuit = load_circuit(folder)
            stored = PruneConfig.from_dict(circuit.info.get("config", {}))
        except (CheckpointError, ConfigError) as error:
            return Loaded(None, str(error))
        if circuit.info.get("model_sha256") != self.hash:
            return Loaded(None, "the circuit there was of another model")
        if not is_of(circuit.info, task):
            return Loaded(None, "the circuit there was of another version of the task")
        if stored != self.config:
            return Loaded(None, "the circuit there had other settings")
        if not {"necessity", "tests"} <= circuit.info.keys():
            return Loaded(None, "the circuit there was not put to all of today's tests")
        return Loaded(circuit, None)

    def prune(self, task: Task, watch: Watch) -> Circuit:
        """Prune, test, save into ``RUN/circuits/TASK``.

        Raises:
            TaskError: the task does not fit the tokenizer (TaskFileError: one of a user's own).
            PruneError: the model itself misses the target.
        """
        tokens = self.run.corpus().train
        if self._means is None:
            self._means = pretraining_means(
                self.model, tokens, count=self.config.mean_tokens, seed=self.config.seed
            )
        steps, planned = 0, self.config.steps * len(self.config.penalties)

        def count(stage: str, done: int, of: int, loss: float) -> None:
            nonlocal steps
            steps += stage == "masks"
            watch(min(steps, planned), loss)  # a second mask run is not planned for

        found = prune(self.model, task, self.tokenizer, tokens, self.config, means=self._means, watch=count)
        pairs = Splits.draw(task, self.tokenizer, self.config, self.model.config.n_ctx)
        info = {**found.circuit.info, **self._tested(found.circuit, pairs), **version_of(task)}
        circuit = dataclasses.replace(found.circuit, info=info)
        keep_task(task, self.run.folder)
        save_circuit(circuit, self.run.circuits / task.name)
        return circuit

    def _tested(self, circuit: Circuit, pairs: Splits) -> dict[str, Any]:
        """What the tests say, as plain data: necessity, and the others below ``tests``."""
        scale, target = circuit.info["full_scale"], self.config.target
        needed = necessity(self.model, circuit, pairs.train, pairs.heldout, seed=self.config.seed)
        tests = {
            "sufficiency": sufficiency(self.model, circuit, pairs.heldout, target=target),
            "output_match": output_match(self.model, circuit, pairs.heldout, full_scale=scale),
            "stochastic_ablation": stochastic_ablation(
                self.model, circuit, pairs.heldout, full_scale=scale, target=target, seed=self.config.seed
            ),
        }
        told = {name: {**dataclasses.asdict(test), "passed": test.passed} for name, test in tests.items()}
        return {"necessity": dataclasses.asdict(needed), "tests": told}
