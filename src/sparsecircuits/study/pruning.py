"""Prune a run's model for a task, test the circuit, and keep it in the run's folder.

A circuit that is there already, of this model, these settings and this task, is loaded instead. A task of a
user's own is kept beside its circuit, as it was then (:mod:`sparsecircuits.tasks.own.kept`). Tuning, sweeps,
consensus and studies take what they need from here: many prunings at once, and the tests of what they found.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from sparsecircuits.circuit import Circuit, Labels, load_circuit, model_hash, save_circuit
from sparsecircuits.circuit.files import CIRCUIT_FILE
from sparsecircuits.errors import CheckpointError, ConfigError, SparseCircuitsError
from sparsecircuits.model import Node
from sparsecircuits.prune import PruneConfig, PruneJob, PruneResult, Splits, pretraining_means, prune_many
from sparsecircuits.prune.edits import undo_all
from sparsecircuits.tasks import Task
from sparsecircuits.tasks.own import is_of, keep_task, version_of
from sparsecircuits.tasks.score import fit_scale, pair_logits
from sparsecircuits.train import Run
from sparsecircuits.validate import necessity, output_match, stochastic_ablation, sufficiency

#: ``watch(mask steps done, loss, nodes)``: nodes of the latest circuit that holds; None while masks learn.
Watch = Callable[[int, float, int | None], None]
#: ``watch(job, stage, done, of, loss)``: of several prunings which, and how far it is.
WatchMany = Callable[[int, str, int, int, float], None]
#: Where a circuit's ``info`` says that it is the best of several prunings, and of which.
TUNING = "tuning"


class Loaded(NamedTuple):
    """A saved circuit, or None and why it cannot be used (None too if there was none)."""

    circuit: Circuit | None
    why: str | None


class RunPruner:
    """Prunings of one run; the model's means are measured once, when they are first needed."""

    def __init__(self, run: Run, config: PruneConfig) -> None:
        self.run = run
        self.model, self.tokenizer = run.model().to_sparse(), run.tokenizer()
        self.hash = model_hash(self.model)
        self._means: dict[tuple[int, int], dict[str, Tensor]] = {}
        self.config = self.configure(config)

    def configure(self, config: PruneConfig) -> PruneConfig:
        """Go on with other settings; gives them back with prompts no longer than the model's context."""
        self.config = config.replace(max_tokens=min(config.max_tokens, self.run.config.model.n_ctx))
        return self.config

    def load(self, task: Task) -> Loaded:
        """The circuit that is there already, if it is of this model, these settings and this very task."""
        folder = self.run.circuits / task.name
        if not (folder / CIRCUIT_FILE).is_file():
            return Loaded(None, None)
        try:
            circuit = load_circuit(folder)
            tuned = circuit.info.get(TUNING, circuit.info)  # around which settings it was looked for
            stored = PruneConfig.from_dict(tuned.get("config", {}))
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
        steps, planned = 0, self.config.steps * len(self.config.penalties)

        def count(job: int, stage: str, done: int, of: int, loss: float) -> None:
            nonlocal steps
            steps += stage == "masks"
            # A second mask run is not planned for.
            watch(min(steps, planned), loss, done if stage == "nodes" else None)

        (found,) = self.search([PruneJob(task, self.config)], count)
        if not isinstance(found, PruneResult):
            raise found
        return self.keep(task, found.circuit, self.run.circuits / task.name)

    def search(
        self, jobs: Sequence[PruneJob], watch: WatchMany | None = None
    ) -> list[PruneResult | SparseCircuitsError]:
        """Prune the model for all jobs side by side, with the same frozen values; nothing is saved.

        Args:
            jobs: tasks and settings.
            watch: told of the progress; a PruneError that it raises while nodes are chosen ends that job.

        Returns:
            One for each job: its result, or the PruneError or TaskError that says why there is none.
        """
        return list(
            prune_many(
                self.model, jobs, self.tokenizer, self.run.corpus().train, means=self.means, watch=watch
            )
        )

    @property
    def means(self) -> dict[str, Tensor]:
        """Site name -> [width] what deleted nodes are frozen to: means over the run's training text."""
        count, seed = key = self.config.mean_tokens, self.config.seed
        if key not in self._means:
            tokens = self.run.corpus().train
            self._means = {key: pretraining_means(self.model, tokens, count=count, seed=seed)}
        return self._means[key]

    def digest(self, task: Task, config: PruneConfig | None = None) -> str:
        """Twelve hex digits of everything that decides a pruning: model, task and settings."""
        told = {"model": self.hash, "config": (config or self.config).to_dict(), "task": task.name}
        return hashlib.sha256(json.dumps({**told, **version_of(task)}).encode()).hexdigest()[:12]

    def keep(
        self,
        task: Task,
        circuit: Circuit,
        folder: Path,
        config: PruneConfig | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> Circuit:
        """Put a circuit to all tests and save it, with their results, into ``folder``.

        Where it takes the place of an older circuit of this model, the nodes that are in both keep their
        labels.

        Args:
            task: what it does; one of a user's own is kept in the run too.
            circuit: as pruning gives it.
            folder: of the circuit, such as ``RUN/circuits/TASK``.
            config: it was found with; None: this pruner's.
            more: joins the circuit's ``info``.
        """
        tested = self.tested(task, circuit, config or self.config)
        info = {**circuit.info, **tested, **version_of(task), **(more or {})}
        circuit = dataclasses.replace(
            circuit, info=info, labels=circuit.labels or self._labels(circuit, folder)
        )
        keep_task(task, self.run.folder)
        save_circuit(circuit, folder)
        return circuit

    def _labels(self, circuit: Circuit, folder: Path) -> Labels:
        """Those of the circuit that is there already, for the nodes that both have."""
        try:
            old = load_circuit(folder)
        except CheckpointError:  # none, or none that can be read
            return Labels()
        same = old.info.get("model_sha256") == self.hash
        return old.labels.keeping(circuit.nodes) if same else Labels()

    def tested(self, task: Task, circuit: Circuit, config: PruneConfig) -> dict[str, Any]:
        """What the tests say, as plain data: necessity, and the others below ``tests``."""
        pairs = Splits.draw(task, self.tokenizer, config, self.model.config.n_ctx)
        target, seed = config.target, config.seed
        scale = circuit.info.get("full_scale")
        if scale is None:  # a baseline's circuit does not say
            scale = fit_scale(pair_logits(self.model, pairs.train), pairs.train)
        needed = necessity(self.model, circuit, pairs.train, pairs.heldout, seed=seed)
        tests = {
            "sufficiency": sufficiency(self.model, circuit, pairs.heldout, target=target),
            "output_match": output_match(self.model, circuit, pairs.heldout, full_scale=scale),
            "stochastic_ablation": stochastic_ablation(
                self.model, circuit, pairs.heldout, full_scale=scale, target=target, seed=seed
            ),
        }
        if circuit.info.get("before_edges"):
            tests["stochastic_before_edges"] = stochastic_ablation(
                self.model, before_edges(circuit), pairs.heldout, full_scale=scale, target=target, seed=seed
            )
        told = {name: {**dataclasses.asdict(test), "passed": test.passed} for name, test in tests.items()}
        return {"necessity": dataclasses.asdict(needed), "tests": told}


def before_edges(circuit: Circuit) -> Circuit:
    """The circuit as it was before single edges were cut and it was simplified."""
    nodes = frozenset(Node.parse(name) for name in circuit.info["before_edges"]["names"])
    labels = circuit.labels.keeping(nodes)
    return dataclasses.replace(undo_all(circuit), nodes=nodes, cut=frozenset(), gain={}, labels=labels)
