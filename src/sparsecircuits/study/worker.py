"""Workers of a fan-out (:mod:`.fanout`): take a job, do it, keep its result; in processes, or on Slurm."""

from __future__ import annotations

import dataclasses
import multiprocessing
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsecircuits.circuit import save_circuit
from sparsecircuits.errors import SparseCircuitsError
from sparsecircuits.prune import PruneJob, PruneResult
from sparsecircuits.prune.attribution import IMPORTANCES, prune_by_importance
from sparsecircuits.study.extras import need
from sparsecircuits.study.fanout import PruneTask, Study
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.tasks.own import resolve_task, version_of
from sparsecircuits.train import Run
from sparsecircuits.validate import Necessity

if TYPE_CHECKING:
    import submitit

#: ``watch(job's name, mask steps done, loss)``.
Watch = Callable[[str, int, float], None]
#: ``tell(jobs done or failed, jobs in all)``.
Tell = Callable[[int, int], None]
#: Seconds between two looks at how far the workers are.
LOOK = 0.5


def work(folder: str | Path, watch: Watch | None = None) -> int:
    """Take jobs and do them until nobody is needed any more; how many were done here.

    Ctrl-C gives the job back and goes through.
    """
    study, count = Study(folder), 0
    pruners: dict[str, RunPruner] = {}
    while (taken := study.take()) is not None:
        task, claim = taken
        try:
            with study.claims.beating(claim):
                row = _outcome(study, task, pruners, watch)
        except BaseException:
            study.claims.give_back(claim)
            raise
        study.finish(row)
        count += 1
    return count


def _outcome(
    study: Study, task: PruneTask, pruners: dict[str, RunPruner], watch: Watch | None
) -> dict[str, Any]:
    """The row of a job, whatever happens: nothing that goes wrong in one may stop the others."""
    began = time.monotonic()
    try:
        figures = _prune(study, task, pruners, watch)
    except SparseCircuitsError as error:
        figures = {"error": str(error)}
    except Exception as error:  # noqa: BLE001  # a fault of ours in one job: told in its row, with where
        figures = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    return {**task.facts, **figures, "seconds": round(time.monotonic() - began, 2)}


def _prune(
    study: Study, task: PruneTask, pruners: dict[str, RunPruner], watch: Watch | None
) -> dict[str, Any]:
    if task.run not in pruners:
        pruners.clear()  # one model at a time
        pruners[task.run] = RunPruner(Run.open(task.run), task.config)
    pruner = pruners[task.run]
    config = pruner.configure(task.config)
    what = resolve_task(task.task, pruner.run.folder)

    def heard(_job: int, stage: str, done: int, _of: int, loss: float) -> None:
        if stage == "masks" and watch is not None:
            watch(task.name, done, loss)

    if task.method in IMPORTANCES:
        tokens = pruner.run.corpus().train
        found = prune_by_importance(
            pruner.model, what, pruner.tokenizer, tokens, task.method, config, means=pruner.means
        )
    else:
        (found,) = pruner.search([PruneJob(what, config)], heard)
        if not isinstance(found, PruneResult):
            raise found
    tests = pruner.tested(what, found.circuit, config)
    info = {**found.circuit.info, **version_of(what), **tests}
    save_circuit(dataclasses.replace(found.circuit, info=info), study.circuits / task.name)
    needed, others = Necessity(**tests["necessity"]), tests["tests"]
    return {
        **{key: getattr(found, key) for key in ("nodes", "edges", "loss", "raw_loss", "accuracy", "met")},
        "full_loss": found.full.loss,
        "necessity": {key: getattr(needed, key) for key in ("accuracy", "refitted_accuracy", "necessary")},
        "stochastic": {key: others["stochastic_ablation"][key] for key in ("mean", "worst", "passed")},
        "before_edges": _before_edges(found.circuit.info.get("before_edges"), others),
        "sufficiency": {key: others["sufficiency"][key] for key in ("loss", "passed")},
        "error": None,
    }


def _before_edges(sizes: dict[str, Any] | None, tests: dict[str, Any]) -> dict[str, Any] | None:
    """Size and stochastic ablation of the circuit before single edges were cut."""
    if not sizes:
        return None
    stochastic = tests["stochastic_before_edges"]
    return {
        **{key: sizes[key] for key in ("nodes", "edges")},
        **{k: stochastic[k] for k in ("mean", "worst")},
    }


def run_workers(folder: str | Path, workers: int, tell: Tell | None = None) -> None:
    """Work the list off with so many local processes of one thread each, until nothing is left to take.

    A process that dies stops no other; its job is taken by one that lives, or in another pass. A pass without
    any result is the last.

    Args:
        folder: of the study.
        workers: processes; this one does the work itself where it is 1.
        tell: told now and then how many jobs are over.
    """
    study = Study(folder)
    while (left := _left(study)) > 0:
        done = _over(study, tell)
        if workers == 1:
            work(folder, lambda name, steps, loss: None if tell is None else tell(_over(study), _all(study)))
        else:
            _one_pass(study, min(workers, left), tell)
        if _over(study, tell) == done:
            break
    study.merge()


def _one_pass(study: Study, workers: int, tell: Tell | None) -> None:
    context = multiprocessing.get_context("spawn")
    team = [context.Process(target=_serve, args=(str(study.folder),), daemon=True) for _ in range(workers)]
    try:
        for process in team:
            process.start()
        while any(process.is_alive() for process in team):
            time.sleep(LOOK)
            _over(study, tell)
    finally:
        for process in team:
            process.terminate()
        for process in team:
            process.join()


def _serve(folder: str) -> None:
    """A worker process: one thread; Ctrl-C is the parent's to handle, which then has it give its job back."""
    import signal
    import sys

    import torch

    from sparsecircuits.ops.memory import keep_freed_memory

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    torch.set_num_threads(1)
    keep_freed_memory()
    work(folder)


def _over(study: Study, tell: Tell | None = None) -> int:
    """How many jobs have a result."""
    over = sum(study.result(task.name) is not None for task in study.tasks())
    if tell is not None:
        tell(over, _all(study))
    return over


def _all(study: Study) -> int:
    return len(study.tasks())


def _left(study: Study) -> int:
    """How many jobs could be taken now."""
    return sum(row["state"] in ("waiting", "stopped") for row in study.rows())


class SlurmWorker:
    """What a cluster runs: :func:`work`; sent again where its time is over."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self) -> int:
        return work(self.folder)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Called when the time is nearly over: the same worker again."""
        return need("submitit", "cluster").helpers.DelayedSubmission(self)


def submit(
    folder: str | Path, workers: int, *, partition: str, minutes: int = 240, cluster: str = "slurm"
) -> list[submitit.Job[int]]:
    """Send so many workers to a cluster, and do not wait for them; fewer where fewer jobs are left.

    Args:
        folder: of the study, on a file system that the machines share.
        workers: how many.
        partition: Slurm's.
        minutes: time limit of each; a worker whose time is over is sent again.
        cluster: ``slurm``, or ``local`` for processes of this machine.

    Raises:
        ConfigError: submitit is not installed.
        SparseCircuitsError: the cluster does not take them, such as where there is no Slurm.
    """
    package = need("submitit", "cluster")
    study = Study(folder)
    try:
        executor = package.AutoExecutor(folder=study.folder / "slurm", cluster=cluster)
        more = {"slurm_partition": partition} if cluster == "slurm" else {}
        executor.update_parameters(name="sparsecircuits", timeout_min=minutes, cpus_per_task=1, **more)
        count = min(workers, _left(study))
        return [executor.submit(SlurmWorker(str(study.folder.resolve()))) for _ in range(count)]
    except (RuntimeError, package.core.utils.FailedJobError) as error:
        raise SparseCircuitsError(f"{cluster}: {str(error).splitlines()[0]}") from error
