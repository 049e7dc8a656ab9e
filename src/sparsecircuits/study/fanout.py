"""Fan-out: many prunings as a list of jobs, worked off by any number of processes on any number of machines.

Everything is in one folder, and nothing else is state:

=======================  ==============================================================================
``jobs/JOB.json``        what to do (:class:`PruneTask`)
``claims/JOB.N``         who does it (:mod:`.claims`)
``circuits/JOB/``        the circuit
``results/JOB.json``     the figures, or the error: the job is done
``results.jsonl``        all results, a line each, in the order of the jobs; written anew after each job
=======================  ==============================================================================

A worker (:mod:`.worker`) takes jobs that nobody has until there are none. A killed worker leaves a claim that
the next one sees to be stale; only that job begins anew. A job that killed its worker :data:`ATTEMPTS` times
counts as failed. A job that fails leaves its error as its result and stops no other.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from sparsecircuits.config import Config
from sparsecircuits.errors import CheckpointError
from sparsecircuits.files import write_atomic
from sparsecircuits.prune import PruneConfig
from sparsecircuits.study.claims import Claim, Claims

Method = Literal["task", "faithful", "paper", "attribution", "integrated", "magnitude", "random"]
METHODS: tuple[Method, ...] = get_args(Method)
State = Literal["waiting", "running", "stopped", "done", "failed"]
#: A job that was begun so many times without an end is given up.
ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class PruneTask(Config):
    """One job: prune this run for that task."""

    run: str
    """The run's folder."""
    task: str
    """A task's name, or its file."""
    method: Method = "faithful"
    """How: learned masks (task, faithful, paper), or a ranking that is bisected."""
    config: PruneConfig = PruneConfig()
    """Target, seed and all else."""

    @property
    def name(self) -> str:
        """What its files are called: what people look for, and a digest of all of it."""
        digest = hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:8]
        words = (Path(self.run).name, Path(self.task).stem, self.method, f"t{self.config.target:g}")
        told = "-".join((*words, f"s{self.config.seed}"))
        return re.sub(r"[^\w-]", "_", told) + "-" + digest

    @property
    def facts(self) -> dict[str, Any]:
        """What a row of results begins with."""
        config = self.config
        told = {"run": self.run, "task": self.task, "method": self.method}
        return {"job": self.name, **told, "target": config.target, "seed": config.seed}


def plan(
    runs: Iterable[str],
    tasks: Iterable[str],
    *,
    methods: Iterable[Method] = ("faithful",),
    targets: Iterable[float] = (0.15,),
    seeds: Iterable[int] = (0,),
    config: PruneConfig | None = None,
) -> list[PruneTask]:
    """Every run with every task, method, target and seed, in this order.

    Args:
        runs: folders.
        tasks: names, or files.
        methods: see :data:`METHODS`.
        targets: losses to reach, in nats.
        seeds: of pairs and masks.
        config: all other settings. ``paper`` takes from it only what differs from the defaults, and else
            :meth:`PruneConfig.paper`.
    """
    return [
        PruneTask(
            run=run,
            task=task,
            method=method,
            config=config_for(method, config or PruneConfig()).replace(target=target, seed=seed),
        )
        for run in runs
        for task in tasks
        for method in methods
        for target in targets
        for seed in seeds
    ]


def config_for(method: Method, config: PruneConfig) -> PruneConfig:
    """The settings of a method."""
    if method == "faithful":
        return config.replace(objective="faithful")
    if method != "paper":
        return config.replace(objective="task")
    standard = PruneConfig().to_dict()
    changed = {key: value for key, value in config.to_dict().items() if value != standard[key]}
    return PruneConfig.paper().replace(**changed | {"objective": "task"})


class Study:
    """The folder of a study."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.jobs, self.results = self.folder / "jobs", self.folder / "results"
        self.circuits = self.folder / "circuits"

    @property
    def claims(self) -> Claims:
        """Who works on what."""
        return Claims(self.folder / "claims")

    def add(self, tasks: Sequence[PruneTask]) -> None:
        """Put jobs on the list; those that are on it stay as they are."""
        for folder in (self.jobs, self.results, self.circuits):
            folder.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            path = self.jobs / f"{task.name}.json"
            if not path.exists():
                _write(path, task.to_dict())

    def tasks(self) -> list[PruneTask]:
        """All jobs by name.

        Raises:
            CheckpointError: there is no study here.
            ConfigError: a job's file is damaged.
        """
        if not self.jobs.is_dir():
            raise CheckpointError(f"{self.folder}: no study here; sparsecircuits study prune makes one")
        found = [PruneTask.from_json(path) for path in self.jobs.glob("*.json")]
        return sorted(found, key=_order)

    def result(self, name: str) -> dict[str, Any] | None:
        """The row of a job that is done or failed."""
        try:
            return json.loads((self.results / f"{name}.json").read_text())
        except FileNotFoundError:
            return None

    def rows(self) -> list[dict[str, Any]]:
        """Every job with its ``state``, and its figures if it has any, or who works on it since when."""
        rows = []
        for task in self.tasks():
            result = self.result(task.name)
            if result is not None:
                rows.append({**result, "state": "failed" if result.get("error") else "done"})
                continue
            claim = self.claims.latest(task.name)
            rows.append({**task.facts, **_state_of(claim)})
        return rows

    def merge(self) -> list[dict[str, Any]]:
        """Write ``results.jsonl`` from all results, and give them back."""
        found = [row for task in self.tasks() if (row := self.result(task.name)) is not None]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        _replace(self.folder / "results.jsonl", text)
        return found

    def retry(self) -> int:
        """Forget the results of failed jobs, so that they are done again; how many there were."""
        failed = [row["job"] for row in self.rows() if row["state"] == "failed"]
        for name in failed:
            self.claims.clear(name)
            (self.results / f"{name}.json").unlink(missing_ok=True)
        return len(failed)

    def take(self) -> tuple[PruneTask, Claim] | None:
        """A job that nobody has, claimed; None if there is none."""
        claims = self.claims
        for task in self.tasks():
            if self.result(task.name) is not None:
                continue
            claim = claims.take(task.name)
            if claim is None:
                continue
            if self.result(task.name) is not None:  # it was finished in between
                claims.give_back(claim)
            elif claim.number > ATTEMPTS:
                died = f"its worker died {ATTEMPTS} times; --retry begins anew"
                self.finish({**task.facts, "error": died})
            else:
                return task, claim
        return None

    def finish(self, row: dict[str, Any]) -> None:
        """Keep the result of a job."""
        _write(self.results / f"{row['job']}.json", row)
        self.claims.clear(row["job"])
        self.merge()


def _order(task: PruneTask) -> tuple[Any, ...]:
    config = task.config
    return task.run, task.task, METHODS.index(task.method), config.target, config.seed, task.name


def _state_of(claim: Claim | None) -> dict[str, Any]:
    if claim is None:
        return {"state": "waiting"}
    owner = claim.owner
    by = None if owner is None else f"{owner.host}:{owner.pid}"
    return {"state": "stopped" if claim.stale else "running", "by": by, "attempt": claim.number}


def _write(path: Path, data: dict[str, Any]) -> None:
    _replace(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _replace(path: Path, text: str) -> None:
    """As :func:`write_atomic`, where several processes may write the same file at once."""
    own = path.with_name(f".{path.name}.{os.getpid()}")
    write_atomic(own, text.encode())
    os.replace(own, path)
