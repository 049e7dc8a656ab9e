"""``sparsecircuits study``: many prunings as a list of jobs, in processes or on Slurm, and how far it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from sparsecircuits.cli.arguments import open_run
from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.cli.task_rows import brief, with_notes
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError
from sparsecircuits.prune.config import PruneConfig

if TYPE_CHECKING:
    from sparsecircuits.study.fanout import PruneTask, Study

MethodName = Literal["task", "faithful", "paper", "attribution", "integrated", "magnitude", "random"]

COLUMNS = (
    Column("run_name", "run"),
    Column("task", "task"),
    Column("method", "method"),
    Column("target", "target", ".3g"),
    Column("seed", "seed", "d"),
    Column("state", "state"),
    Column("nodes", "nodes", ",d"),
    Column("edges", "edges", ",d"),
    Column("loss", "loss", ".3f"),
    Column("accuracy", "accuracy", ".1%"),
    Column("necessity.accuracy", "without it", ".1%"),
    Column("stochastic.mean", "restored", ".3f"),
    Column("stochastic.worst", "worst", ".3f"),
    Column("seconds", "seconds", ".1f"),
    Column("note", "note"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Prune many models, for many tasks, targets, seeds and methods: each combination is a job.

    "study prune OUT" puts the jobs on OUT's list and works it off; the same command again does what is left.
    Several processes and machines may work on one OUT at once. Results are OUT/results.jsonl, a line for each
    job; circuits are in OUT/circuits. A job that fails says why and stops no other; a worker that is killed
    loses its job's progress only. "study status OUT" shows what is done, running, stopped (its worker was
    killed), waiting and failed. Exit code 1: a job has failed, or there are some left.

    Examples: sparsecircuits study prune out --run mine --run other --task bracket_counting --seed 0 --seed 1

    sparsecircuits study prune out --run mine --task if_equals --method task --method attribution --workers 2

    sparsecircuits study prune out --run mine --task if_equals --slurm cpu --workers 8

    sparsecircuits study status out
    """

    action: Annotated[Positional[Literal["prune", "status"]], arg(metavar="prune|status")]
    """Put jobs on the list and do them, or show how far they are."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The study's folder."""
    run: UseAppendAction[tuple[str, ...]] = ()
    """A run: its folder, or its name in runs/. All of --run, --task, --target, --seed and
    --method may be given several times."""
    task: UseAppendAction[tuple[str, ...]] = ()
    """A task: its name, or the file of one of your own."""
    target: UseAppendAction[tuple[float, ...]] = ()
    """A target loss, in nats; 0.15 if none is given."""
    seed: UseAppendAction[tuple[int, ...]] = ()
    """A seed of pairs and masks; 0 if none is given."""
    method: Annotated[UseAppendAction[tuple[MethodName, ...]], arg(aliases=("--objective",))] = ()
    """Learned masks (task, faithful, paper), or a ranking that is bisected; faithful if none is given."""
    workers: int = 1
    """Processes of one thread each, here or on Slurm; 1: this process."""
    slurm: str | None = None
    """Send the workers to this partition of Slurm, and return. Needs submitit."""
    minutes: int = 240
    """--slurm: time limit of a worker; one whose time is over is sent again."""
    retry: bool = False
    """Do failed jobs again, too."""
    json: bool = False
    """Print JSON instead of a table."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Another setting of pruning, such as steps=200; sparsecircuits prune --help lists them."""

    def validate(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"--workers is {self.workers}; it must be at least 1")
        if self.action == "status" and (self.run or self.task or self.retry or self.slurm):
            raise ConfigError("study status takes nothing but OUT and --json")
        if self.action == "prune" and bool(self.run) != bool(self.task):
            raise ConfigError("give --run and --task; or neither, to work on what is on OUT's list already")


def run(options: Options) -> int:
    """Plan, work, show; 1 if a job has failed or is left."""
    from sparsecircuits.study.fanout import Study
    from sparsecircuits.study.worker import run_workers, submit

    study = Study(options.out)
    sent: list[str] = []
    if options.action == "prune":
        if options.run:
            study.add(_jobs(options))
        if options.retry:
            study.retry()
        if options.slurm is not None:
            jobs = submit(options.out, options.workers, partition=options.slurm, minutes=options.minutes)
            sent = [job.job_id for job in jobs]
        else:
            with Progress() as progress:
                bar = progress.add("study", len(study.tasks()))
                run_workers(options.out, options.workers, lambda done, of: bar.update(done))
    study.merge()
    return _show(study, options, sent)


def _jobs(options: Options) -> list[PruneTask]:
    from sparsecircuits.cli.settings import override
    from sparsecircuits.study.fanout import plan
    from sparsecircuits.tasks.own import is_path, resolve_task

    for word in options.set:
        if word.partition("=")[0] in ("target", "seed", "objective"):
            raise ConfigError(f"--set {word}: give it as --{word.partition('=')[0]}")
    runs = [open_run(name).folder.resolve() for name in options.run]
    for word in options.task:
        resolve_task(word, runs[0])  # a mistyped name is said at once, not once for each job
    tasks = [str(Path(word).resolve()) if is_path(word) else word for word in options.task]
    return plan(
        [str(folder) for folder in runs],
        tasks,
        methods=options.method or ("faithful",),
        targets=options.target or (PruneConfig().target,),
        seeds=options.seed or (0,),
        config=override(PruneConfig(), options.set),
    )


def _show(study: Study, options: Options, sent: list[str]) -> int:
    rows = [
        {**row, "run_name": Path(row["run"]).name, "note": brief(row["error"]) if row.get("error") else None}
        for row in study.rows()
    ]
    states = ("done", "running", "stopped", "waiting", "failed")
    counts = {state: sum(row["state"] == state for row in rows) for state in states}
    if options.json:
        print_json({"out": str(study.folder), "counts": counts, "sent": sent, "jobs": rows})
    else:
        print_table(rows, with_notes(COLUMNS, rows))
        print(", ".join(f"{count} {state}" for state, count in counts.items() if count))
        if sent:
            print(f"sent to Slurm: {', '.join(sent)}; sparsecircuits study status {study.folder}")
        else:
            print(f"results: {study.folder / 'results.jsonl'}")
    left = counts["stopped"] + counts["waiting"]
    return int(bool(counts["failed"] or (left and options.action == "prune" and not sent)))
